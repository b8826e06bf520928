"""`headrace import`: stores what files hold, and says what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.progress import track
from rich.table import Table

from headrace.cli.terminal import command, err, id_column, out, storing
from headrace.engine.coverage import Coverage, coverage
from headrace.engine.findings import Inventory
from headrace.engine.flow_file import read_flow
from headrace.exports import flow_files, read_exports
from headrace.imports import Imported, take
from headrace.nodes import built_in
from headrace.runtime.inventory import inventory
from headrace.schema import FlowRow
from headrace.settings import Settings
from headrace.store.store import Store


async def take_files(store: Store, paths: list[Path]) -> Imported:
    """Stores what the files hold. All files are read before anything is written."""
    watched = track(flow_files(paths), "reading", console=err, transient=True, disable=not err.is_terminal)
    return await take(store, read_exports(watched))


@click.command("import")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.pass_obj
@command
async def import_(settings: Settings, paths: tuple[Path, ...]) -> None:
    """Store flows, tools and document stores: exported files, folders of them, or a builder's ExportData.json."""
    with storing(settings) as store:
        done = await take_files(store, list(paths))
        has = await inventory(store)
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
