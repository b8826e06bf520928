"""`headrace flows`: what is stored."""

from __future__ import annotations

import click
from rich.table import Table

from headrace.cli.terminal import command, id_column, out, storing
from headrace.engine.coverage import coverage
from headrace.engine.flow_file import read_flow
from headrace.nodes import built_in
from headrace.runtime.inventory import inventory
from headrace.settings import Settings


@click.command()
@click.pass_obj
@command
async def flows(settings: Settings) -> None:
    """List the flows."""
    with storing(settings) as store:
        rows, has = await store.flows(), await inventory(store)
    catalog = built_in()
    table = Table("name", id_column(), "type", "changed", "nodes that are missing", "can answer")
    for row in rows:
        found = coverage(read_flow(row.flowData), catalog, kind=row.type, flow_id=row.id, has=has)
        answers = "not yet" if found.stops else "yes"
        table.add_row(row.name, row.id, row.type, row.updatedDate, ", ".join(found.missing) or "none", answers)
    out.print(table)
