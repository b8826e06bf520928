"""Stores what exports hold. Nothing that closes a door is lost: a flow that was bound to a key stays bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec

from headrace.documents.chunks import DocumentChunks
from headrace.exports import Export
from headrace.schema import ApiKey, CustomTool, FlowRow, is_id
from headrace.storage.storage import Storage

Existing = Literal["new", "replace"]
"""The fate of a flow whose id is here already: it gets a new id, or takes the other one's place."""
_DOORS: Final = ("id", "workspaceId", "apikeyid", "isPublic", "deployed", "createdDate", "updatedDate")


class Imported(msgspec.Struct):
    """The result of an import: stored rows and notes on them."""

    flows: list[FlowRow] = []
    tools: list[CustomTool] = []
    variables: list[str] = []
    """Names."""
    stores: list[str] = []
    """Names of document stores."""
    keys: list[ApiKey] = []
    """New keys, each shown here and never again."""
    notes: list[str] = []
    skipped: dict[str, int] = {}
    """Sections that are not taken over, with how many entries each."""


async def known(storage: Storage, exports: Sequence[Export]) -> list[FlowRow]:
    """The stored flows whose ids the exports have too."""
    ids = {row.id for export in exports for row in export.flows}
    return [row for row in await storage.flows() if row.id in ids]


def renewed(row: FlowRow) -> dict[str, Any]:
    """The values that a replaced flow takes over: all that are set, but not who may call it."""
    values = msgspec.structs.asdict(row).items()
    return {name: value for name, value in values if value is not None and name not in _DOORS}


async def take(storage: Storage, exports: Sequence[Export], existing: Existing = "new") -> Imported:
    """Flows get new ids where theirs are taken, or replace what is there. Variables, tools and document stores that are
    there already stay as they are.

    Of a key only its id is in an export: flows that were bound to one are bound to a new key, which may do nothing
    else, or to the key with that id where there is one.
    """
    done = Imported()
    replaceable = {row.id: row for row in await known(storage, exports)} if existing == "replace" else {}
    for export in exports:
        await _flows(storage, export, done, replaceable)
        await _variables(storage, export, done)
        await _tools(storage, export, done)
        chunks = DocumentChunks(storage.database)
        for documents in export.stores:
            await chunks.restore(documents, export.chunks)
            done.stores.append(documents.name)
        done.notes += export.notes
        for section, count in export.skipped.items():
            done.skipped[section] = done.skipped.get(section, 0) + count
    return done


async def _flows(storage: Storage, export: Export, done: Imported, replaceable: dict[str, FlowRow]) -> None:
    taken = {row.id for row in await storage.flows()}
    keys = {key.id: key for key in await storage.keys()}
    for row in export.flows:
        if before := replaceable.pop(row.id, None):  # a second one with its id is another flow
            done.flows.append(await storage.change_flow(before.id, renewed(row)))
            done.notes.append(f"the flow {before.name!r} was replaced; its key, chats and files stay")
            continue
        row.id = row.id if row.id and row.id not in taken else str(uuid4())
        taken.add(row.id)
        await bind(storage, row, keys, done)
        done.flows.append(await storage.add_flow(row))


async def bind(storage: Storage, row: FlowRow, keys: dict[str, ApiKey], done: Imported) -> None:
    """Binds a flow that was bound to a key: to the one with its id in `keys`, or to a new one, which is put there."""
    if old := row.apikeyid or "":
        if old not in keys:
            keys[old] = await storage.add_key(f"{row.name} (imported)", [], key_id=old if is_id(old) else None)
            done.keys.append(keys[old])
        row.apikeyid = keys[old].id
        done.notes.append(_locked(row, keys[old]))
    else:
        row.apikeyid = None


def _locked(row: FlowRow, key: ApiKey) -> str:
    how = (
        "shown only now"
        if key.apiKey
        else "which is here already (the flow's `apikeyid` names the key that it asks for)"
    )
    return f"the flow {row.name!r} was bound to an API key and is locked: it asks for the key {key.keyName!r}, {how}"


async def _variables(storage: Storage, export: Export, done: Imported) -> None:
    names = {variable.name for variable in await storage.variables()}
    for variable in export.variables:
        if variable.name not in names:
            names.add(variable.name)
            await storage.add_variable(
                variable.name, variable.value, variable.type, variable.createdDate, variable.updatedDate
            )
            done.variables.append(variable.name)


async def _tools(storage: Storage, export: Export, done: Imported) -> None:
    ids = {tool.id for tool in await storage.tools()}
    for tool in export.tools:
        if tool.id not in ids:
            added = await storage.add_tool(tool)
            ids.add(added.id)
            done.tools.append(added)
