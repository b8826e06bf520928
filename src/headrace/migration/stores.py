"""Document stores, each whole with its loaders, chunks and files, or as it is here; and the history of upserts."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final

from sqlalchemy import Connection, select

from headrace.documents.chunks import DocumentChunks, StoredChunk
from headrace.documents.files import StoreFiles
from headrace.documents.graph import EMBEDDED
from headrace.documents.stores import StoreRow
from headrace.errors import InvalidRequest
from headrace.migration import row_kinds
from headrace.migration.context import MoveContext, utf8
from headrace.migration.folders import Folders, with_files
from headrace.migration.merge import Target, compared, merge_rows
from headrace.migration.report import Outcome, Tally
from headrace.migration.sources import Row, Wanted
from headrace.storage import tables

_OF_FLOWS: Final = Target(tables.upsert_history, ("chatflowid", tables.flow))
_OF_STORES: Final = Target(tables.store_upsert_history, ("chatflowid", tables.document_store))


async def move_document_stores(context: MoveContext, folders: Folders | None) -> None:
    """Moves document stores. Vectors on other servers stay where they are."""
    tally, chunks = context.report.tally("document stores"), context.report.tally("chunks")
    async for rows in context.rows(Wanted("document_store", "createdDate")):
        for row in rows:
            try:
                store = row_kinds.store(utf8(row))
            except InvalidRequest as error:
                context.unreadable(tally, row, str(error))
            else:
                found = await _chunks(context, store, chunks)
                outcome = await _move(context, store, found, folders, upserted=row.get("status") == "UPSERTED")
                context.count(tally, {"name": store.name}, outcome)
                chunks.add(outcome, len(found))


async def _move(
    context: MoveContext, store: StoreRow, chunks: Sequence[StoredChunk], folders: Folders | None, *, upserted: bool
) -> Outcome:
    statement = select(tables.document_store.c.updatedDate).where(tables.document_store.c.id == store.id)
    here = await context.storage.database.read(lambda c: c.execute(statement).scalar_one_or_none())
    outcome = compared(here, store.updatedDate)
    if outcome in ("new", "changed"):
        _bring_files(context, store, folders)
        await DocumentChunks(context.storage.database).restore(store, chunks, anew=True)
    if outcome != "ours" and upserted and store.status == "SYNC":
        context.report.to_upsert.append(("store", store.id))
    return outcome


def _bring_files(context: MoveContext, store: StoreRow, folders: Folders | None) -> None:
    files = StoreFiles(context.storage.folder / "files")
    folder = folders.of_store(store.id) if folders else None
    found = [with_files(files, loader, folder) for loader in store.loaders]
    store.loaders = [loader for loader, _ in found]
    for loader, missing in found:
        if missing:
            context.report.notes.append(f"the loader {loader.loaderName!r} of the store {store.name!r}: {missing}")


async def _chunks(context: MoveContext, store: StoreRow, tally: Tally) -> list[StoredChunk]:
    found: list[StoredChunk] = []
    async for rows in context.rows(Wanted("document_store_file_chunk", "", "storeId", store.id)):
        for row in rows:
            try:
                found.append(row_kinds.chunk(utf8(row)))
            except InvalidRequest as error:
                context.unreadable(tally, row, str(error))
    return found


async def move_upserts(context: MoveContext) -> None:
    """The history of upserts: one table for flows and document stores there, two here."""
    tally, embedded = context.report.tally("upserts"), _embedded(context)
    async for rows in context.rows(Wanted("upsert_history", "date")):
        values = context.read(tally, rows, row_kinds.upsert)
        for outcome in await context.storage.database.write(lambda c, v=values: _either(c, v)):
            tally.add(outcome)
        for row in values:
            embedded.get(row["chatflowid"], set()).add(row["id"])
    for flow, ids in embedded.items():
        if ids and not await context.storage.database.read(lambda c, f=flow, i=ids: _upserted_since(c, f, i)):
            context.report.to_upsert.append(("flow", flow))


def _either(c: Connection, rows: Sequence[Row]) -> list[Outcome]:
    outcomes = merge_rows(c, _OF_FLOWS, rows)
    others = [row for row, outcome in zip(rows, outcomes, strict=True) if outcome == "left"]
    return [*(outcome for outcome in outcomes if outcome != "left"), *merge_rows(c, _OF_STORES, others)]


def _embedded(context: MoveContext) -> dict[str, set[str]]:
    """The flows with a vector store that was in the old server's memory, each with room for its upserts."""
    marks = (f'"name":"{EMBEDDED}"', f'"name": "{EMBEDDED}"')
    return {flow.id: set() for flow in context.report.flows if any(mark in flow.flowData for mark in marks)}


def _upserted_since(c: Connection, flow: str, before: Set[str]) -> bool:
    """True when the flow was upserted here too."""
    table = tables.upsert_history.c
    return bool(set(c.execute(select(table.id).where(table.chatflowid == flow)).scalars()) - before)
