"""API keys and credentials. Old keys go on working though only their hashes are kept; credentials are sealed anew."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import select

from headrace.errors import InvalidRequest
from headrace.migration import cipher, row_kinds
from headrace.migration.context import MoveContext
from headrace.migration.merge import Target
from headrace.migration.sources import Row, Wanted
from headrace.storage import tables

_NO_KEY: Final = "give its key file with --key, or set FLOWISE_SECRETKEY_OVERWRITE as the old server had it"
_KEYS: Final = Target(tables.api_key, unique="hash")
_CREDENTIALS: Final = Target(tables.credential)


async def check_key(context: MoveContext) -> None:
    """Raises InvalidRequest unless the key opens a credential, where there is one."""
    if "credential" not in context.source.columns:
        return
    sealed = 0
    async for rows in context.source.rows(Wanted("credential")):
        for row in rows:
            if _opens(context, str(row.get("encryptedData") or "")):
                return
            sealed += not cipher.held_by_aws(str(row.get("encryptedData") or ""))
    if sealed and not context.install.keys:
        raise InvalidRequest(f"there are {sealed} credentials, and no key to open them: {_NO_KEY}")
    if sealed:
        raise InvalidRequest(f"this key opens none of the {sealed} credentials, nothing was moved: {_NO_KEY}")


def _opens(context: MoveContext, text: str) -> bool:
    try:
        cipher.opened(text, context.install.keys)
    except InvalidRequest:
        return False
    return True


async def move_keys(context: MoveContext) -> dict[str, str]:
    """Moves API keys; returns for each old key's id the id that it has here."""
    tally = context.report.tally("API keys")
    found = [*context.install.api_keys]
    async for rows in context.rows(Wanted("apikey")):
        found += rows
    values = context.read(tally, [{**row, "createdDate": _first_date(row)} for row in found], row_kinds.api_key)
    await context.merge_rows(tally, _KEYS, values)
    if values and not any("permissions" in row for row in found):
        context.report.notes.append("the API keys have no permissions there: each may do everything, as it could")
    statement = select(tables.api_key.c.hash, tables.api_key.c.id)
    here = dict(await context.storage.database.read(lambda c: c.execute(statement).tuples().all()))
    return {row["id"]: here.get(row["hash"], row["id"]) for row in values}


def _first_date(row: Row) -> Any:
    """`api.json` has dates as `05-Jan-24`; PostgreSQL's table has only the date of the last change."""
    if known := row.get("createdDate") or row.get("updatedDate"):
        return known
    try:
        return datetime.strptime(str(row.get("createdAt")), "%d-%b-%y").replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


async def move_credentials(context: MoveContext) -> None:
    """Opens credentials with the old key and seals them with that of the data folder, under the same ids."""
    tally = context.report.tally("credentials")
    async for rows in context.rows(Wanted("credential", "createdDate")):
        await context.merge_rows(tally, _CREDENTIALS, context.read(tally, rows, lambda row: _credential(context, row)))


def _credential(context: MoveContext, row: Row) -> dict[str, Any]:
    text = str(row.get("encryptedData") or "")
    if cipher.held_by_aws(text):
        raise InvalidRequest("its fields are held in AWS Secrets Manager: enter them again")
    fields = {name: _field(value) for name, value in cipher.opened(text, context.install.keys).items()}
    named, kind = row_kinds.named(row), str(row.get("credentialName") or "")
    return {**named, "credentialName": kind, "sealed": context.storage.sealed(fields, named["id"])}


def _field(value: Any) -> str:
    """A credential's fields are texts here; there they are numbers, switches and JSON now and then."""
    return value if isinstance(value, str) else "" if value is None else msgspec.json.encode(value).decode()
