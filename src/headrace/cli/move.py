"""`headrace move`: from the database in a data folder to one on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.terminal import command, out
from headrace.migration.relocation import counted, relocate
from headrace.settings import Settings


@click.command()
@click.option("--from", "folder", metavar="FOLDER", type=click.Path(path_type=Path), help="The data folder.")
@click.option("--to", "url", metavar="URL", required=True, help="An empty PostgreSQL database.")
@click.pass_obj
@command
async def move(settings: Settings, folder: Path | None, url: str) -> None:
    """Copy the database of a data folder into PostgreSQL. Stop the server first; run it again if it was interrupted."""
    place, counts = folder or settings.folder, dict[str, int]()
    await relocate(place, url, settings.secret_key, counts.__setitem__)
    out.print(f"Moved and counted: {counted(counts)}.", soft_wrap=True)
    out.print(f"Files stay in {place}: serve with this data folder and --database-url.", soft_wrap=True)
