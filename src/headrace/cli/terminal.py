"""The shared part of all commands: consoles, coroutine functions as commands, errors of one line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

import click
from rich.console import Console
from rich.table import Column

from headrace.errors import FlowNotFound, HeadraceError, InvalidRequest
from headrace.schema import FlowRow
from headrace.settings import Settings
from headrace.storage.postgres import UnusableDatabase
from headrace.storage.storage import Storage

_P = ParamSpec("_P")
_WIDE = None if sys.stdout.isatty() else 240  # columns: what is piped is not cut
out = Console(highlight=False, emoji=False, markup=False, width=_WIDE)
err = Console(stderr=True, highlight=False, emoji=False, markup=False)


def id_column() -> Column:
    """The column with ids, which are never cut."""
    return Column("id", no_wrap=True)


def command(work: Callable[_P, Awaitable[None]]) -> Callable[_P, None]:
    """A command from a coroutine function."""

    @wraps(work)
    def started(*args: _P.args, **kwargs: _P.kwargs) -> None:
        asyncio.run(_awaited(work(*args, **kwargs)))

    return started


async def _awaited(work: Awaitable[None]) -> None:
    await work


class Refused(click.ClickException):
    """A refusal to begin, until something is changed."""

    exit_code = 2


class Commands(click.Group):
    """Shows our own errors as one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. Raises ClickException for an error of ours."""
        try:
            return super().invoke(ctx)
        except UnusableDatabase as error:
            raise Refused(str(error)) from None
        except HeadraceError as error:
            raise click.ClickException(str(error)) from None


@contextmanager
def storing(settings: Settings) -> Generator[Storage]:
    """The store of the data folder, for the time of the block."""
    storage = Storage(settings.folder, settings.database_url, settings.secret_key)
    try:
        yield storage
    finally:
        storage.close()


async def find(storage: Storage, wanted: str) -> FlowRow:
    """The flow with this id or name. Raises FlowNotFound, and InvalidRequest when several have the name."""
    found = [row for row in await storage.flows() if wanted in (row.id, row.name)]
    if not found:
        raise FlowNotFound(f"there is no flow {wanted!r}: `headrace flows` lists them")
    if len(found) > 1:
        raise InvalidRequest(f"several flows are named {wanted!r}: use an id that `headrace flows` lists")
    return found[0]
