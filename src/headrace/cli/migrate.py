"""`headrace migrate`: moves a whole install of Flowise into the data folder, and says what became of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from headrace.assembly import opened as opened_here
from headrace.cli.imports import tell_flows
from headrace.cli.terminal import Refused, command, err, out, storing
from headrace.engine.findings import Inventory
from headrace.errors import HeadraceError, InvalidRequest
from headrace.migration.install import Install, find, opened
from headrace.migration.move import move, size
from headrace.migration.report import Report
from headrace.runtime.inventory import inventory
from headrace.runtime.local import Local
from headrace.schema import UpsertRequest
from headrace.settings import Settings, load
from headrace.storage import dialect
from headrace.storage.storage import Storage

_COUNTS = ("found", "new", "changed", "same", "ours", "left", "unreadable")
_HEADS = ("found", "new", "changed", "as before", "ours kept", "left behind", "unreadable")


@click.command("migrate")
@click.argument("source")
@click.option("--key", type=click.Path(path_type=Path), help="The old install's key file; `encryption.key` beside it.")
@click.option("--storage", type=click.Path(path_type=Path), help="Its folder with files; `storage` beside it.")
@click.option("--data-dir", metavar="FOLDER", help="Folder for everything that the server keeps.")
@click.option("--dry-run", is_flag=True, help="Say what would come, and write nothing.")
@click.option("--no-upsert", is_flag=True, help="Leave what was in the old server's memory to be upserted later.")
@click.pass_obj
@command
async def migrate(
    settings: Settings,
    source: str,
    *,
    key: Path | None,
    storage: Path | None,
    data_dir: str | None,
    dry_run: bool,
    no_upsert: bool,
) -> None:
    """Move a whole Flowise install in: SOURCE is its home folder, its database (file or URL), or an export."""
    settings = load(data_dir=data_dir) if data_dir else settings
    try:
        with _scratch(settings) if dry_run else storing(settings) as opened:
            report = await _move(find(source, key, storage), opened, dry=dry_run)
            has = await inventory(opened)
    except HeadraceError as error:
        raise Refused(str(error)) from None
    if report.to_upsert and not dry_run:
        await _upsert(settings, report, wanted=not no_upsert)
    _tell(report, has, dry=dry_run)


@contextmanager
def _scratch(settings: Settings) -> Generator[Storage]:
    """A copy of the data folder's rows, to be thrown away: a dry run does what a real one does.

    Raises InvalidRequest on PostgreSQL.
    """
    if settings.database_url:
        raise InvalidRequest("a dry run needs a copy of the database: make one on PostgreSQL and migrate into it")
    with tempfile.TemporaryDirectory(prefix="headrace-migrate-") as name:
        folder = Path(name)
        if (settings.folder / "headrace.sqlite").exists():
            shutil.copy(settings.folder / "secret.key", folder)
            dialect.copy(settings.folder / "headrace.sqlite", folder / "headrace.sqlite")
        with storing(msgspec.structs.replace(settings, data_dir=name)) as storage:
            yield storage


async def _move(install: Install, storage: Storage, *, dry: bool) -> Report:
    shown = Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    async with opened(install.place) as source:
        with shown:
            bar = shown.add_task("moving", total=await size(source))
            return await move(install, source, storage, lambda rows: shown.advance(bar, rows), dry=dry)


async def _upsert(settings: Settings, report: Report, *, wanted: bool) -> None:
    """Reads into the vector stores of this data folder what was in the old server's memory."""
    if not wanted:
        report.notes += [f"to be upserted again: {kind} {name}" for kind, name in report.to_upsert]
        return
    async with opened_here(settings) as here:
        for kind, name in report.to_upsert:
            try:
                report.notes += await _upserted(here, kind, name)
            except HeadraceError as error:
                report.notes.append(f"the {kind} {name} has to be upserted again, which failed now: {error}")


async def _upserted(here: Local, kind: str, name: str) -> list[str]:
    if kind == "store":
        done = await here.documents.upsert(name)
    else:
        done = await here.upserts.run(await here.flows.get(name), UpsertRequest())
    failed = [f"the {kind} {name} has to be upserted again, where this failed now: {one}" for one in done.failures]
    return failed or [f"upserted again: {kind} {name}, {done.numAdded} passages"]


def _tell(report: Report, has: Inventory, *, dry: bool) -> None:
    table = Table(f"{'would come' if dry else 'came'} from {report.source}", *_HEADS)
    for tally in report.tallies:
        table.add_row(tally.kind, *(str(getattr(tally, name) or "") for name in _COUNTS))
    out.print(table)
    for kind, count in report.homeless.items():
        out.print(f"no place here yet: {count} x {kind}")
    tell_flows(report.flows, has)
    for key in [] if dry else report.keys:
        out.print(f"API key {key.keyName!r}, shown only now: {key.apiKey}", soft_wrap=True)
    for note in report.notes:
        err.print(note, soft_wrap=True)
