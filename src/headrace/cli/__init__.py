"""The command line: one module for each group of commands; `brand` is in headrace.brand."""

from __future__ import annotations

import click

from headrace import __version__
from headrace.brand.command import brand
from headrace.cli import backup, chat, credentials, flows, imports, keys, mcp, migrate, move, new, runs, serve
from headrace.cli.terminal import Commands
from headrace.settings import load


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headrace")
@click.option("--data-dir", metavar="FOLDER", help="Folder for everything that the server keeps.")
@click.option("--database-url", metavar="URL", help="PostgreSQL database in place of the data folder's own.")
@click.pass_context
def cli(ctx: click.Context, data_dir: str | None, database_url: str | None) -> None:
    """Runs LLM flows and streams every answer so that no token is lost."""
    ctx.obj = load(data_dir=data_dir, database_url=database_url)


for _each in (
    brand,
    serve.serve,
    imports.import_,
    migrate.migrate,
    move.move,
    runs.run,
    chat.chat,
    mcp.mcp,
    new.new,
    runs.upsert,
    flows.flows,
    flows.export_,
    flows.rename,
    flows.replace,
    flows.delete,
    credentials.credentials,
    keys.keys,
    backup.backup,
    backup.restore,
):
    cli.add_command(_each)
