"""`headrace keys`: API keys."""

from __future__ import annotations

import click
from rich.table import Table

from headrace.cli.terminal import command, id_column, out, storing
from headrace.errors import InvalidRequest, NotFound
from headrace.settings import Settings
from headrace.storage.key_uses import KeyUses
from headrace.storage.storage import ADMIN


@click.group(invoke_without_command=True)
@click.pass_context
def keys(ctx: click.Context) -> None:
    """List API keys; `add` makes one, `rotate` gives one another secret, `remove` deletes one."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_keys)


@keys.command("list")
@click.pass_obj
@command
async def list_keys(settings: Settings) -> None:
    """List API keys. The keys themselves are not stored."""
    with storing(settings) as storage:
        table = Table("name", id_column(), "permissions", "made", "last used")
        used = await KeyUses(storage.database).dates()
        for key in await storage.keys():
            table.add_row(key.keyName, key.id, ", ".join(key.permissions), key.createdDate, used.get(key.id, "never"))
    out.print(table)


@keys.command("add")
@click.argument("name")
@click.option("--permission", "permissions", multiple=True, help="May be given several times; all without it.")
@click.pass_obj
@command
async def add_key(settings: Settings, name: str, permissions: tuple[str, ...]) -> None:
    """Make an API key and show it, once."""
    with storing(settings) as storage:
        key = await storage.add_key(name, permissions or [ADMIN])
    out.print(key.apiKey, soft_wrap=True)


@keys.command("rotate")
@click.argument("key", metavar="KEY")
@click.pass_obj
@command
async def rotate_key(settings: Settings, key: str) -> None:
    """Give KEY, by id or name, another secret and show it, once. The old one works no more.

    Flows that are bound to the key stay bound to it.
    """
    with storing(settings) as storage:
        found = [row.id for row in await storage.keys() if key in (row.id, row.keyName)]
        if not found:
            raise NotFound(f"there is no API key {key!r}: `headrace keys` lists them")
        if len(found) > 1:
            raise InvalidRequest(f"several keys are named {key!r}: use an id that `headrace keys` lists")
        secret = await storage.rotate_key(found[0])
    out.print(secret, soft_wrap=True)


@keys.command("remove")
@click.argument("key_id", metavar="ID")
@click.pass_obj
@command
async def remove_key(settings: Settings, key_id: str) -> None:
    """Delete an API key."""
    with storing(settings) as storage:
        await storage.delete_key(key_id)
