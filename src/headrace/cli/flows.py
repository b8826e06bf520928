"""`headrace flows`, and what changes one of them: export, delete, rename, replace."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec
from rich.table import Table

from headrace.assembly import opened
from headrace.cli.terminal import command, find, id_column, out, storing
from headrace.engine.coverage import coverage
from headrace.engine.flow_file import read_flow
from headrace.errors import InvalidRequest
from headrace.exports import exported, read_export
from headrace.imports import renewed
from headrace.nodes import built_in
from headrace.runtime.inventory import inventory
from headrace.settings import Settings


@click.command()
@click.pass_obj
@command
async def flows(settings: Settings) -> None:
    """List the flows."""
    with storing(settings) as storage:
        rows, has = await storage.flows(), await inventory(storage)
    catalog = built_in()
    table = Table("name", id_column(), "type", "changed", "nodes that are missing", "can answer")
    for row in rows:
        found = coverage(read_flow(row.flowData), catalog, kind=row.type, flow_id=row.id, has=has)
        answers = "not yet" if found.stops else "yes"
        table.add_row(row.name, row.id, row.type, row.updatedDate, ", ".join(found.missing) or "none", answers)
    out.print(table)


@click.command("export")
@click.argument("flow")
@click.option("--out", "file", metavar="FILE", type=click.Path(path_type=Path), help="Write it here; shown without it.")
@click.pass_obj
@command
async def export_(settings: Settings, flow: str, file: Path | None) -> None:
    """Write a flow, by id or name, with its settings as JSON. `headrace import` takes it."""
    with storing(settings) as storage:
        text = exported(await find(storage, flow))
    if file is None:
        click.echo(text)
        return
    _write(file, text + b"\n")


def _write(file: Path, text: bytes) -> None:
    try:
        file.write_bytes(text)
    except OSError as error:
        raise InvalidRequest(f"cannot write {str(file)!r}: {error.strerror}") from None


@click.command()
@click.argument("flow")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
@command
async def delete(settings: Settings, flow: str, *, yes: bool) -> None:
    """Delete a flow, by id or name, with its chats and files."""
    async with opened(settings) as here:
        row = await find(here.storage, flow)
        if not yes:
            if not sys.stdin.isatty():
                raise InvalidRequest(f"the flow {row.name!r} would be deleted with its chats and files: say --yes")
            click.confirm(f"Delete {row.name!r} ({row.id}) with its chats and files?", abort=True)
        await here.storage.delete_flow(row.id)
        await here.uploads.forget(row.id)
        await here.library.sweep()


@click.command()
@click.argument("flow")
@click.argument("name")
@click.pass_obj
@command
async def rename(settings: Settings, flow: str, name: str) -> None:
    """Give a flow, by id or name, another name. Its id stays."""
    if not name.strip():
        raise InvalidRequest("a flow needs a name")
    with storing(settings) as storage:
        await storage.change_flow((await find(storage, flow)).id, {"name": name})


@click.command()
@click.argument("flow")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
@command
async def replace(settings: Settings, flow: str, file: Path) -> None:
    """Put the flow in FILE in the place of a stored one. Its id, name, key, chats and files stay."""
    found = read_export(file).flows
    if len(found) != 1:
        raise InvalidRequest(f"{file} holds {len(found)} flows: name a file with one")
    with storing(settings) as storage:
        row = await find(storage, flow)
        changes = renewed(msgspec.structs.replace(found[0], name=row.name))
        await storage.change_flow(row.id, changes)
