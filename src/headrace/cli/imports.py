"""`headrace import`: stores the flows and other rows of export files, and reports each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.progress import track
from rich.table import Table

from headrace.cli.terminal import command, err, id_column, out, storing
from headrace.engine.coverage import Coverage, coverage
from headrace.engine.findings import Inventory
from headrace.engine.flow_file import read_flow
from headrace.errors import InvalidRequest
from headrace.exports import Export, flow_files, read_exports
from headrace.imports import Existing, Imported, known, take
from headrace.nodes import built_in
from headrace.runtime.inventory import inventory
from headrace.schema import FlowRow
from headrace.settings import Settings
from headrace.storage.storage import Storage


async def take_files(storage: Storage, paths: list[Path], existing: Existing | None = None) -> Imported:
    """Stores what the files hold. All files are read before anything is written.

    Where flows are here already and `existing` does not say what to do, the person at the terminal does.
    """
    watched = track(flow_files(paths), "reading", console=err, transient=True, disable=not err.is_terminal)
    exports = read_exports(watched)
    return await take(storage, exports, existing or await _asked(storage, exports))


async def _asked(storage: Storage, exports: Sequence[Export]) -> Existing:
    """Raises InvalidRequest when there is nobody to ask."""
    rows = await known(storage, exports)
    if not rows:
        return "new"
    names = ", ".join(repr(row.name) for row in rows)
    if not sys.stdin.isatty():
        raise InvalidRequest(
            f"here already: {names}. Say --replace to put the file's in their place, or --new for copies"
        )
    replace = click.confirm(f"Here already: {names}. Replace? (No makes copies.)", default=True, err=True)
    return "replace" if replace else "new"


@click.command("import")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--replace", "existing", flag_value="replace", help="Flows replace those that have their ids.")
@click.option("--new", "existing", flag_value="new", help="Flows get new ids where theirs are here already.")
@click.pass_obj
@command
async def import_(settings: Settings, paths: tuple[Path, ...], existing: Existing | None) -> None:
    """Store flows, tools and document stores: exported files, folders of them, or a builder's ExportData.json."""
    with storing(settings) as storage:
        done = await take_files(storage, list(paths), existing)
        has = await inventory(storage)
    _report(done, has)


def _report(done: Imported, has: Inventory) -> None:
    """Says what has been imported, and what has not. A new key is written nowhere else."""
    tell_flows(done.flows, has)
    for key in done.keys:
        out.print(f"API key {key.keyName!r}, shown only now: {key.apiKey}", soft_wrap=True)
    for tool in done.tools:
        out.print(f"tool: {tool.name}")
    for documents in done.stores:
        out.print(f"document store: {documents}")
    for note in done.notes:
        err.print(note, soft_wrap=True)
    for section, count in done.skipped.items():
        err.print(f"not imported: {count} x {section}")


def tell_flows(rows: Sequence[FlowRow], has: Inventory) -> None:
    """Says of each flow whether it can answer here, and what it lacks."""
    catalog = built_in()
    table = Table("flow", id_column(), "nodes that run", "nodes that are missing", "can answer")
    found: list[tuple[str, Coverage]] = []
    for row in rows:
        one = coverage(read_flow(row.flowData), catalog, kind=row.type, flow_id=row.id, has=has)
        answers = "not yet" if one.stops else "yes"
        table.add_row(row.name, row.id, ", ".join(one.runs), ", ".join(one.missing) or "none", answers)
        found.append((row.name, one))
    if rows:
        out.print(table)
    for name, one in found:
        _print_findings(name, one)


def _print_findings(name: str, found: Coverage) -> None:
    """A line for each finding, those that keep the flow from answering first."""
    for finding in found.findings:
        mark = "cannot answer" if finding.stops else "note"
        out.print(f"{name}: {mark}: {finding.message}", soft_wrap=True, markup=False)
