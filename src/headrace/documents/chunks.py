"""Chunks of document stores. A loader's chunks are replaced as a whole: the new ones count once all of them are there.

Each time that a loader is processed is an attempt with a number of its own, and only the newest one can finish. So a
process that is killed leaves the chunks as they were, and what it left behind is swept by the next attempt.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence, Set
from itertools import groupby
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, or_, select, update

from headrace.documents.stores import StoreRow, columns, touch
from headrace.engine.ports import LoadFailure, unread
from headrace.errors import Conflict, NotFound
from headrace.events import Document
from headrace.schema import is_id
from headrace.storage.database import Database
from headrace.storage.dialect import among, member
from headrace.storage.load_failures import kept
from headrace.storage.storage import timestamp
from headrace.storage.tables import document_chunk, document_loader, document_store

PAGE = 50
_SOME = 1000
_READ = 512
_current = and_(
    document_chunk.c.docId == document_loader.c.id, document_chunk.c.generation == document_loader.c.generation
)
_source = member(document_chunk.c.metadata, "source")


class StoredChunk(msgspec.Struct):
    """A chunk, in Flowise's shape: `metadata` is JSON text."""

    id: str
    docId: str
    storeId: str
    chunkNo: int
    pageContent: str
    metadata: str


class Attempt(NamedTuple):
    """One time that a loader is processed."""

    store: str
    loader: str
    number: int


class DocumentChunks:
    """The table `document_chunk`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Processing

    async def begin(self, store_id: str, loader_id: str, owner: str) -> Attempt:
        """A new attempt; those before can no longer finish. Raises NotFound."""
        statement = (
            update(document_loader)
            .where(document_loader.c.id == loader_id, document_loader.c.storeId == store_id)
            .values(
                attempt=document_loader.c.attempt + 1, status="SYNCING", processed=0, owner=owner, **_failures_json(())
            )
            .returning(document_loader.c.attempt)
        )
        number = await self._database.write(lambda c: c.execute(statement).scalar_one_or_none())
        if number is None:
            raise NotFound(f"the document store {store_id!r} has no loader {loader_id!r}")
        await self._sweep(loader_id)
        return Attempt(store_id, loader_id, number)

    async def add(self, attempt: Attempt, first: int, documents: Sequence[Document]) -> None:
        """Keeps chunks, numbered from `first`. Raises Conflict when the attempt is no longer the newest."""
        rows = [
            {
                "id": str(uuid4()),
                "docId": attempt.loader,
                "generation": attempt.number,
                "chunkNo": number,
                "pageContent": document.pageContent.replace("\0", ""),
                "metadata": msgspec.json.encode(document.metadata).decode(),
            }
            for number, document in enumerate(documents, first)
        ]

        def work(c: Connection) -> None:
            _still(c, attempt, processed=document_loader.c.processed + len(rows))
            c.execute(insert(document_chunk), rows)

        if rows:
            await self._database.write(work)

    async def take_back(self, attempt: Attempt, source: str) -> bool:
        """Forgets the chunks that this attempt has of a document, which turned out to be unreadable.

        Says whether the attempt has any others.
        """
        left = select(document_chunk.c.position).where(_of(attempt.loader, attempt.number)).limit(1)

        def work(c: Connection) -> bool:
            c.execute(delete(document_chunk).where(_of(attempt.loader, attempt.number), _source == source))
            return c.execute(left).first() is not None

        return await self._database.write(work)

    async def finish(self, attempt: Attempt, failures: Sequence[LoadFailure]) -> None:
        """Puts the attempt's chunks in the place of those before; of documents that failed those before stay.

        Raises Conflict when the attempt is no longer the newest.
        """

        def work(c: Connection) -> None:
            old = select(document_loader.c.generation).where(document_loader.c.id == attempt.loader)
            before = c.execute(old).scalar_one_or_none() or 0
            if failures:
                _take_over(c, attempt, before, failures)
            status = "STALE" if failures else "SYNC"
            _still(c, attempt, generation=attempt.number, status=status, owner=None, **_failures_json(failures))
            count_chunks(c, attempt.loader)
            touch(c, attempt.store, attempt.loader)

        await self._database.write(work)
        await self._sweep(attempt.loader)

    async def fail(self, attempt: Attempt, failures: Sequence[LoadFailure]) -> None:
        """Ends an attempt that brought nothing: the chunks stay as they were."""
        here = (document_loader.c.id == attempt.loader, document_loader.c.attempt == attempt.number)
        statement = update(document_loader).where(*here).values(status="STALE", owner=None, **_failures_json(failures))
        await self._database.write(lambda c: c.execute(statement))
        await self._sweep(attempt.loader, attempt.number)

    async def _sweep(self, loader_id: str, failed: int = 0) -> None:
        """Deletes chunks that no longer count, some at a time: other writes wait only for those.

        Those of the newest attempt may count soon, unless it is the one that failed.
        """
        number = document_chunk.c.generation
        stale = (
            select(document_chunk.c.position)
            .join(document_loader, document_chunk.c.docId == document_loader.c.id)
            .where(document_chunk.c.docId == loader_id, number != document_loader.c.generation)
            .where(or_(number != document_loader.c.attempt, number == failed))
            .limit(_SOME)
        )
        statement = delete(document_chunk).where(document_chunk.c.position.in_(stale))
        while await self._database.write(lambda c: c.execute(statement).rowcount):
            pass

    async def clear(self, loader_id: str) -> None:
        """Deletes the chunks of a loader, some at a time; attempts at work can no longer finish."""
        number = document_loader.c.attempt + 1
        values = {"attempt": number, "generation": number, "totalChunks": 0, "totalChars": 0}
        statement = update(document_loader).where(document_loader.c.id == loader_id).values(**values)
        await self._database.write(lambda c: c.execute(statement))
        await self._sweep(loader_id)

    async def restore(self, store: StoreRow, chunks: Sequence[StoredChunk], *, anew: bool = False) -> bool:
        """Stores a whole store with its loaders and chunks; says whether it did. One with its id stays, or goes when it
        is to be made `anew`."""
        here = _restored({loader.id for loader in store.loaders}, chunks)
        now = timestamp()
        new = msgspec.structs.replace(store, createdDate=store.createdDate or now, updatedDate=store.updatedDate or now)
        same = document_store.c.id == store.id

        def work(c: Connection) -> bool:
            if anew:
                c.execute(delete(document_store).where(same))
            if c.execute(select(document_store.c.id).where(same)).first():
                return False
            c.execute(insert(document_store), columns(new, "loaders"))
            for loader in store.loaders:
                c.execute(insert(document_loader), columns(loader))
            own = _with_own_ids(c, here)
            for first in range(0, len(own), _SOME):
                c.execute(insert(document_chunk), own[first : first + _SOME])
            for loader in store.loaders:
                count_chunks(c, loader.id)
            return True

        return await self._database.write(work)

    # Reading

    async def page(self, store_id: str, loader_id: str | None, number: int) -> tuple[list[StoredChunk], int]:
        """A page of a loader's chunks, or of all of the store, and how many there are."""
        wanted = _chunks(store_id)
        wanted = wanted.where(document_loader.c.id == loader_id) if loader_id else wanted
        order = (document_loader.c.position, document_chunk.c.chunkNo)
        rows = wanted.order_by(*order).offset((number - 1) * PAGE).limit(PAGE)

        def work(c: Connection) -> tuple[list[StoredChunk], int]:
            count = c.execute(select(func.count()).select_from(wanted.subquery())).scalar_one()
            return [StoredChunk(*row) for row in c.execute(rows)], count

        return await self._database.scan(work)

    async def places(self, store_id: str, documents: Sequence[Document]) -> list[tuple[str, int] | None]:
        """Id and number of the chunk with each document's text; None for a document without a chunk."""

        texts = [document.pageContent for document in documents]
        alike = _chunks(store_id).where(among(document_chunk.c.pageContent, texts))  # one look at all chunks
        found: dict[tuple[str, str], tuple[str, int]] = {}
        for chunk, loader, _, number, text, _ in await self._database.scan(lambda c: c.execute(alike).all()):
            for known in (loader, ""):
                found.setdefault((text, known), (chunk, number))
        return [found.get((one.pageContent, str(one.metadata.get("docId") or ""))) for one in documents]

    # Changing

    async def edit(self, store_id: str, loader_id: str, chunk_id: str, content: str, metadata: dict[str, Any]) -> None:
        """Changes a chunk. Raises NotFound."""
        values = {"pageContent": content.replace("\0", ""), "metadata": msgspec.json.encode(metadata).decode()}
        await self._changed(store_id, loader_id, chunk_id, values)

    async def remove(self, store_id: str, loader_id: str, chunk_id: str) -> None:
        """Deletes a chunk. Raises NotFound."""
        await self._changed(store_id, loader_id, chunk_id, None)

    async def _changed(self, store_id: str, loader_id: str, chunk_id: str, values: dict[str, Any] | None) -> None:
        known = _chunks(store_id).where(document_loader.c.id == loader_id, document_chunk.c.id == chunk_id)
        here = document_chunk.c.id == chunk_id

        def work(c: Connection) -> None:
            if (chunk := c.execute(known).first()) is None:
                raise NotFound(f"the loader {loader_id!r} has no chunk {chunk_id!r}")
            totals = {"totalChars": document_loader.c.totalChars - len(chunk.pageContent)}
            if values is None:
                c.execute(delete(document_chunk).where(here))
                totals["totalChunks"] = document_loader.c.totalChunks - 1
            else:
                c.execute(update(document_chunk).where(here).values(**values))
                totals["totalChars"] += len(values["pageContent"])
            c.execute(update(document_loader).where(document_loader.c.id == loader_id).values(**totals))
            touch(c, store_id, loader_id)

        await self._database.write(work)


class StoredDocuments:
    """Implements `headrace.engine.ports.Documents`: the chunks of a store, or of some of its loaders."""

    fingerprint: str

    def __init__(
        self, database: Database, store: StoreRow, loaders: Iterable[str] | None = None, *, named: bool = False
    ) -> None:
        """`named` puts the loader's id into the metadata, as `docId`."""
        wanted = None if loaders is None else set(loaders)
        self.fingerprint = f"document store {store.id} {store.version}"
        self._database, self._named = database, named
        self._loaders = [loader for loader in store.loaders if wanted is None or loader.id in wanted]

    async def read(self) -> AsyncGenerator[Document | LoadFailure]:
        """The chunks. Raises Conflict when they are replaced meanwhile."""
        for loader in self._loaders:
            last = 0
            while rows := await self._some(loader.id, loader.generation, last):
                for _, content, metadata in rows:
                    found = msgspec.json.decode(metadata, type=dict[str, Any])
                    yield Document(content, {**found, "docId": loader.id} if self._named else found)
                last = rows[-1][0]
            await self._unchanged(loader.id, loader.generation)

    async def _some(self, loader: str, generation: int, last: int) -> list[tuple[int, str, str]]:
        table = document_chunk.c
        statement = (
            select(table.chunkNo, table.pageContent, table.metadata)
            .where(_of(loader, generation), table.chunkNo > last)
            .order_by(table.chunkNo)
            .limit(_READ)
        )
        return await self._database.scan(lambda c: [(row[0], row[1], row[2]) for row in c.execute(statement)])

    async def _unchanged(self, loader: str, generation: int) -> None:
        statement = select(document_loader.c.generation).where(document_loader.c.id == loader)
        now = await self._database.scan(lambda c: c.execute(statement).scalar_one_or_none())
        if now != generation:
            what = "the chunks were deleted" if now is None else "the chunks were replaced"
            raise Conflict(f"{what} while they were read: do it again")


def _restored(loaders: Set[str], chunks: Sequence[StoredChunk]) -> list[dict[str, Any]]:
    """The chunks of these loaders as rows of the first generation, numbered anew: other servers may number twice."""
    own = sorted((chunk for chunk in chunks if chunk.docId in loaders), key=lambda chunk: (chunk.docId, chunk.chunkNo))
    return [
        {
            "id": chunk.id,
            "docId": loader,
            "generation": 1,
            "chunkNo": number,
            "pageContent": chunk.pageContent.replace("\0", ""),
            "metadata": chunk.metadata,
        }
        for loader, group in groupby(own, key=lambda chunk: chunk.docId)
        for number, chunk in enumerate(group, 1)
    ]


def _with_own_ids(c: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, of which those get another id whose own one is no id or is taken."""
    found = select(document_chunk.c.id).where(among(document_chunk.c.id, [row["id"] for row in rows]))
    taken, own = set(c.execute(found).scalars()), list[dict[str, Any]]()
    for row in rows:
        own.append({**row, "id": row["id"] if is_id(row["id"]) and row["id"] not in taken else str(uuid4())})
        taken.add(own[-1]["id"])
    return own


def _chunks(store_id: str) -> Select[str, str, str, int, str, str]:
    table = document_chunk.c
    columns = (table.id, table.docId, document_loader.c.storeId, table.chunkNo, table.pageContent, table.metadata)
    return select(*columns).join(document_loader, _current).where(document_loader.c.storeId == store_id)


def _of(loader: str, generation: int) -> ColumnElement[bool]:
    return and_(document_chunk.c.docId == loader, document_chunk.c.generation == generation)


def _sources(c: Connection, loader: str, generation: int) -> set[str]:
    """The documents that the chunks of one generation come from, as far as they say."""
    found = c.execute(select(_source).where(_of(loader, generation)).distinct()).scalars()
    return {source for source in found if isinstance(source, str)}


def _take_over(c: Connection, attempt: Attempt, before: int, failures: Sequence[LoadFailure]) -> None:
    """Puts the chunks of what could not be read this time behind those of the attempt."""
    brought = _of(attempt.loader, attempt.number)
    top = c.execute(select(func.coalesce(func.max(document_chunk.c.chunkNo), 0)).where(brought)).scalar_one()
    names = unread(_sources(c, attempt.loader, before), _sources(c, attempt.loader, attempt.number), failures)
    same = and_(_of(attempt.loader, before), among(_source, sorted(names)))
    values = {"generation": attempt.number, "chunkNo": document_chunk.c.chunkNo + top}
    c.execute(update(document_chunk).where(same).values(**values))


def _failures_json(failures: Sequence[LoadFailure]) -> dict[str, Any]:
    """Failures as columns of a loader."""
    return {"failures": msgspec.json.encode(kept(failures)).decode(), "failed": len(failures)}


def _still(c: Connection, attempt: Attempt, **values: Any) -> None:
    here = (document_loader.c.id == attempt.loader, document_loader.c.attempt == attempt.number)
    if not c.execute(update(document_loader).where(*here).values(**values)).rowcount:
        raise Conflict("the loader was deleted, changed, or processed again, meanwhile")


def count_chunks(c: Connection, loader_id: str) -> None:
    """Writes down how many chunks and characters a loader has now."""
    length = func.coalesce(func.sum(func.length(document_chunk.c.pageContent)), 0)
    counted = select(func.count(), length).join(document_loader, _current).where(document_loader.c.id == loader_id)
    chunks, characters = c.execute(counted).one()
    totals = {"totalChunks": chunks, "totalChars": characters}
    c.execute(update(document_loader).where(document_loader.c.id == loader_id).values(**totals))
