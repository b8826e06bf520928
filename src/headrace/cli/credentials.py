"""`headrace credentials`: what nodes need to reach their services."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from rich.table import Table

from headrace.cli.terminal import command, find, id_column, out, storing
from headrace.engine.credentials import check_complete, check_fields, kinds_of
from headrace.engine.flow_credentials import with_credential
from headrace.errors import InvalidRequest, NotFound
from headrace.nodes import built_in
from headrace.schema import CredentialRow
from headrace.settings import Settings
from headrace.storage.storage import Storage


@click.group(invoke_without_command=True)
@click.pass_context
def credentials(ctx: click.Context) -> None:
    """List credentials; `add` makes one, `attach` gives one to a node of a flow."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_credentials)


@credentials.command("list")
@click.pass_obj
@command
async def list_credentials(settings: Settings) -> None:
    """List credentials without their secrets."""
    table = Table("name", id_column(), "type", "changed")
    with storing(settings) as storage:
        for row in await storage.credentials():
            table.add_row(row.name, row.id, row.credentialName, row.updatedDate)
    out.print(table)


@credentials.command("add")
@click.argument("name")
@click.argument("kind", metavar="TYPE")
@click.option(
    "--field",
    "fields",
    metavar="FIELD[=VALUE]",
    multiple=True,
    required=True,
    help="Without a value it is asked for, or read as a line of standard input. May be given several times.",
)
@click.pass_obj
@command
async def add_credential(settings: Settings, name: str, kind: str, fields: Sequence[str]) -> None:
    """Store a credential of a TYPE such as openAIApi, sealed, and show its id."""
    known = kinds_of(built_in())
    if kind not in known:
        raise InvalidRequest(f"there are no credentials of the type {kind!r}: use one of {', '.join(sorted(known))}")
    if not name.strip():
        raise InvalidRequest("a credential needs a name")
    values = dict(_field(field) for field in fields)
    check_fields(known[kind], values)
    check_complete(known[kind], values)
    with storing(settings) as storage:
        row = await storage.add_credential(name, kind, values)
    out.print(row.id)


def _field(given: str) -> tuple[str, str]:
    """A field's name and value. What stands on the command line can be seen by others, so it may be asked for."""
    name, stated, value = given.partition("=")
    if not name:
        raise InvalidRequest(f"{given!r} is no field: write it as FIELD or FIELD=VALUE")
    if not stated:
        value = click.prompt(name, hide_input=True) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not value:
        raise InvalidRequest(f"the field {name!r} is empty")
    return name, value


@credentials.command("attach")
@click.argument("flow")
@click.argument("node")
@click.argument("credential")
@click.pass_obj
@command
async def attach(settings: Settings, flow: str, node: str, credential: str) -> None:
    """Give a flow's NODE, by id or label, a CREDENTIAL, by id or name."""
    with storing(settings) as storage:
        row, given = await find(storage, flow), await _found(storage, credential)
        data = with_credential(row.flowData, node, given.id, given.credentialName, built_in())
        await storage.change_flow(row.id, {"flowData": data})


async def _found(storage: Storage, wanted: str) -> CredentialRow:
    found = [row for row in await storage.credentials() if wanted in (row.id, row.name)]
    if not found:
        raise NotFound(f"there is no credential {wanted!r}: `headrace credentials` lists them")
    if len(found) > 1:
        raise InvalidRequest(f"several credentials are named {wanted!r}: use an id that `headrace credentials` lists")
    return found[0]
