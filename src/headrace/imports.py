"""Stores what exports hold. Nothing that closes a door is lost: a flow that was bound to a key stays bound."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

import msgspec

from headrace.documents.chunks import DocumentChunks
from headrace.exports import Export
from headrace.schema import ApiKey, CustomTool, FlowRow, is_id
from headrace.store.store import Store


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


async def take(store: Store, exports: Sequence[Export]) -> Imported:
    """Flows get new ids where theirs are taken; variables, tools and document stores that are there already stay as
    they are. Of a key only its id is in an export: flows that were bound to one are bound to a new key, which may do
    nothing else, or to the key with that id where there is one."""
    done = Imported()
    for export in exports:
        await _flows(store, export, done)
        await _variables(store, export, done)
        await _tools(store, export, done)
        chunks = DocumentChunks(store.database)
        for documents in export.stores:
            await chunks.restore(documents, export.chunks)
            done.stores.append(documents.name)
        done.notes += export.notes
        for section, count in export.skipped.items():
            done.skipped[section] = done.skipped.get(section, 0) + count
    return done


async def _flows(store: Store, export: Export, done: Imported) -> None:
    taken = {row.id for row in await store.flows()}
    keys = {key.id: key for key in await store.keys()}
    for row in export.flows:
        row.id = row.id if row.id and row.id not in taken else str(uuid4())
        taken.add(row.id)
        await bind(store, row, keys, done)
        done.flows.append(await store.add_flow(row))


async def bind(store: Store, row: FlowRow, keys: dict[str, ApiKey], done: Imported) -> None:
    """Binds a flow that was bound to a key: to the one with its id in `keys`, or to a new one, which is put there."""
    if old := row.apikeyid or "":
        if old not in keys:
            keys[old] = await store.add_key(f"{row.name} (imported)", [], key_id=old if is_id(old) else None)
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


async def _variables(store: Store, export: Export, done: Imported) -> None:
    names = {variable.name for variable in await store.variables()}
    for variable in export.variables:
        if variable.name not in names:
            names.add(variable.name)
            await store.add_variable(
                variable.name, variable.value, variable.type, variable.createdDate, variable.updatedDate
            )
            done.variables.append(variable.name)


async def _tools(store: Store, export: Export, done: Imported) -> None:
    ids = {tool.id for tool in await store.tools()}
    for tool in export.tools:
        if tool.id not in ids:
            added = await store.add_tool(tool)
            ids.add(added.id)
            done.tools.append(added)
