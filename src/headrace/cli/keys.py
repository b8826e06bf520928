"""`headrace keys`: API keys."""

from __future__ import annotations

import click
from rich.table import Table

from headrace.cli.terminal import command, id_column, out, storing
from headrace.settings import Settings
from headrace.storage.storage import ADMIN


@click.group(invoke_without_command=True)
@click.pass_context
def keys(ctx: click.Context) -> None:
    """List API keys; `add` makes one, `remove` deletes one."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_keys)


@keys.command("list")
@click.pass_obj
@command
async def list_keys(settings: Settings) -> None:
    """List API keys. The keys themselves are not stored."""
    with storing(settings) as storage:
        table = Table("name", id_column(), "permissions", "made")
        for key in await storage.keys():
            table.add_row(key.keyName, key.id, ", ".join(key.permissions), key.createdDate)
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


@keys.command("remove")
@click.argument("key_id", metavar="ID")
@click.pass_obj
@command
async def remove_key(settings: Settings, key_id: str) -> None:
    """Delete an API key."""
    with storing(settings) as storage:
        await storage.delete_key(key_id)
