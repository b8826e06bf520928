"""`headrace flows`: what is stored."""

from __future__ import annotations

import click
from rich.table import Table

from headrace.cli.terminal import command, id_column, out, storing
from headrace.engine.flow_file import read_flow
from headrace.engine.graph import coverage
from headrace.nodes import built_in
from headrace.settings import Settings


@click.command()
@click.pass_obj
@command
async def flows(settings: Settings) -> None:
    """List the flows."""
    with storing(settings) as store:
        rows = await store.flows()
    catalog = built_in()
    table = Table("name", id_column(), "type", "changed", "nodes that are missing")
    for row in rows:
        missing = coverage(read_flow(row.flowData), catalog).missing
        table.add_row(row.name, row.id, row.type, row.updatedDate, ", ".join(missing) or "none")
    out.print(table)
