"""The embedded vector store: a collection of passages in the data folder's database, and upserts into it.

An upsert brings a collection to what a loader says, by content hash, in batches of one transaction each. Whatever ends
it early, what was stored stays, and the same upsert again does only what is missing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Literal, TypeAlias

import msgspec

from headrace.engine.ports import Embeddings, LoadFailure, Scored, Search, Upserted, unread
from headrace.errors import FlowError
from headrace.events import Document
from headrace.retrieval.embedded import passages
from headrace.retrieval.embedded.cached import fitting
from headrace.retrieval.embedded.filters import condition
from headrace.retrieval.embedded.passages import CollectionRow, IndexedPassage
from headrace.retrieval.embedded.searcher import CollectionInfo, Searcher, info
from headrace.retrieval.embedded.vector_bytes import packed
from headrace.storage.database import Database
from headrace.storage.storage import timestamp

Cleanup: TypeAlias = Literal["none", "incremental", "full"]
"""Passages absent from this upsert: keep, delete for its sources, or delete all."""

_BATCH = 512
_BATCH_TEXT = 2_000_000  # characters
_DELETED = 1000
_TOLD = 1000
_encode = msgspec.json.Encoder(order="deterministic").encode


class Collection:
    """Implements `headrace.engine.ports.VectorStore`. Without embeddings only words are looked at: `lexical`."""

    def __init__(
        self,
        database: Database,
        searcher: Searcher,
        lock: asyncio.Lock,
        name: str,
        embeddings: Embeddings | None = None,
    ) -> None:
        self.name, self.embeddings, self.database, self.lock = name, embeddings, database, lock
        self._searcher = searcher

    @property
    def lexical(self) -> bool:
        """True when searches use words alone, since no model makes vectors."""
        return self.embeddings is None

    async def add(self, documents: Sequence[Document]) -> int:
        """Stores passages and says how many are new."""
        return (await Upsert(self).run(stream_of(documents))).numAdded

    async def search(self, search: Search) -> list[Scored]:
        """The best hits, best first. Raises FlowError, ProviderError and StorageError."""
        if self.embeddings and search.vector is None and search.mode != "lexical":
            (vector,) = await fitting(self.embeddings, [search.text], await self.dimensions())
            search = msgspec.structs.replace(search, vector=vector)
        made_by = self.embeddings.name if self.embeddings else None
        return await self.database.scan(lambda c: self._searcher.search(c, self.name, search, made_by))

    async def delete(self, ids: Sequence[str]) -> int:
        """Deletes passages and says how many."""
        numbers = [int(number) for number in ids if number.isdecimal() and len(number) < 20]

        def work(c: passages.Connection) -> int:
            row = passages.find_collection(c, self.name)
            return passages.delete_chunks(c, row, numbers) if row else 0

        return await self.database.write(work)

    async def delete_where(self, wanted: Mapping[str, Any]) -> int:
        """Deletes passages whose metadata fulfil a condition, and says how many."""

        def matching(c: passages.Connection) -> list[str]:
            row = passages.find_collection(c, self.name)
            return [str(number) for number in passages.matching(c, row, condition(c, wanted))] if row else []

        found = await self.database.scan(matching)
        return sum([await self.delete(found[n : n + _DELETED]) for n in range(0, len(found), _DELETED)])

    async def exists(self) -> bool:
        """True once anything was upserted into it."""
        return await self.database.read(lambda c: passages.find_collection(c, self.name)) is not None

    async def info(self) -> CollectionInfo:
        """The collection's counts and mode."""
        return await self.database.scan(partial(info, name=self.name))

    async def dimensions(self) -> int | None:
        """The length of its vectors; None while it has none."""

        def work(c: passages.Connection) -> int | None:
            row = passages.find_collection(c, self.name)
            return row.dimensions if row and passages.any_chunk(c, row) else None

        return await self.database.read(work)

    async def fingerprint(self) -> str | None:
        """The fingerprint of the last complete upsert; None while one is at work, and after one that failed."""

        def work(c: passages.Connection) -> str | None:
            row = passages.find_collection(c, self.name)
            made_by = self.embeddings.name if self.embeddings else None
            return row.fingerprint if row and row.embedding == made_by else None

        return await self.database.read(work)

    async def drop(self) -> None:
        """Deletes the collection with all that it holds, some chunks at a time: other writes wait only for those."""
        row = await self.database.read(lambda c: passages.find_collection(c, self.name))
        if row is None:
            return
        while await self.database.write(lambda c: passages.delete_some(c, row, _DELETED)):
            pass
        await self.database.write(lambda c: passages.delete_collection(c, row))
        await self.database.scan(lambda _: self._searcher.forget(row.id))


async def stream_of(documents: Sequence[Document | LoadFailure]) -> AsyncGenerator[Document | LoadFailure]:
    """Documents that are here already, as an upsert takes them."""
    for document in documents:
        yield document


def content_hash(document: Document) -> str:
    """Tells whether text or metadata of a passage have changed."""
    return hashlib.sha256(_encode([document.pageContent, document.metadata])).hexdigest()


class Upsert:
    """One upsert into a collection. Others into the same one wait for it."""

    def __init__(
        self,
        collection: Collection,
        *,
        cleanup: Cleanup = "none",
        source_key: str = "source",
        fingerprint: str | None = None,
        progress: Callable[[Upserted], None] | None = None,
    ) -> None:
        self._collection, self._cleanup, self._source_key = collection, cleanup, source_key
        self._fingerprint, self._progress = fingerprint, progress
        self._done = Upserted()
        self._sources: set[str] = set()

    async def run(self, documents: AsyncGenerator[Document | LoadFailure]) -> Upserted:
        """Does it. Raises FlowError, ProviderError and StorageError; the batches before stay stored."""
        async with self._collection.lock, aclosing(documents):
            if self._fingerprint and await self._collection.fingerprint() == self._fingerprint:
                return self._done  # whoever had the lock has done it
            row, number, first = await self._begin()
            batch: dict[tuple[str, str], IndexedPassage] = {}
            size = 0
            async for document in documents:
                if isinstance(document, LoadFailure):
                    batch = {key: chunk for key, chunk in batch.items() if chunk.source != document.source}
                    await self._take_back(row, first, document)
                    continue
                chunk = self._chunk(document)
                if batch.setdefault((chunk.source, chunk.key), chunk) is not chunk:
                    self._done.numSkipped += 1
                size += len(document.pageContent)
                if len(batch) >= _BATCH or size >= _BATCH_TEXT:
                    await self._store(row, number, list(batch.values()))
                    batch, size = {}, 0
            await self._store(row, number, list(batch.values()))
            await self._clean(row, number)
            return self._done

    async def _take_back(self, row: CollectionRow, first: int, failure: LoadFailure) -> None:
        """Keeps of a document that failed what was there before, and nothing of its readable half."""
        self._done.failures.append(failure)
        if failure.source not in self._sources:
            return
        self._done.numAdded -= await self._collection.database.write(
            lambda c: passages.delete_since(c, row, failure.source, first)
        )
        self._done.addedDocs = [one for one in self._done.addedDocs if self._source(one) != failure.source]

    def _source(self, document: Document) -> str:
        return str(document.metadata.get(self._source_key) or "")

    def _chunk(self, document: Document) -> IndexedPassage:
        found = content_hash(document)
        source = self._source(document)
        self._sources.add(source)
        return IndexedPassage(source, document.id or found, found, document)

    async def _begin(self) -> tuple[CollectionRow, int, int]:
        collection, embeddings = self._collection, self._collection.embeddings
        made_by = embeddings.name if embeddings else None
        row = await collection.database.write(lambda c: passages.open_collection(c, collection.name, timestamp()))
        if row.embedding != made_by and await collection.database.scan(lambda c: passages.any_chunk(c, row)):
            await self._change_model(row, embeddings)
        while not await collection.database.write(lambda c: passages.claim(c, row.name, made_by, _DELETED)):
            pass
        number, first = await collection.database.write(lambda c: passages.begin_upsert(c, row.id))
        return row, number, first

    async def _change_model(self, row: CollectionRow, embeddings: Embeddings | None) -> None:
        """Raises FlowError and ProviderError, while the vectors of the model before are still there."""
        if self._cleanup != "full":
            raise FlowError(
                f"the collection {row.name!r} was embedded with {row.embedding or 'no model'!r}, not with "
                f"{embeddings.name if embeddings else 'no model'!r}: upsert all of its documents with the cleanup "
                "'full', or delete it first"
            )
        if embeddings:
            await embeddings.embed(["Does this model answer?"])

    async def _store(self, row: CollectionRow, number: int, chunks: Sequence[IndexedPassage]) -> None:
        if not chunks:
            return
        database = self._collection.database
        wanted = [(chunk.source, chunk.key) for chunk in chunks]
        there = await database.scan(lambda c: passages.known(c, row.id, wanted))
        fresh = [chunk for chunk in chunks if there.get((chunk.source, chunk.key)) != chunk.hash]
        made = {(chunk.source, chunk.key): chunk for chunk in await self._embedded(row, fresh)}
        ready = [made.get((chunk.source, chunk.key), chunk) for chunk in chunks]
        made_by = self._collection.embeddings.name if self._collection.embeddings else None

        def work(c: passages.Connection) -> int:
            now = passages.find_collection(c, row.name)
            if now is None or (now.id, now.embedding) != (row.id, made_by):
                raise FlowError(f"the collection {row.name!r} was deleted or given another model: upsert again")
            return len(passages.add_chunks(c, row.id, number, ready))

        added = await database.write(work)
        self._count(len(chunks), added, there, fresh)

    def _count(
        self, total: int, added: int, there: dict[tuple[str, str], str], fresh: Sequence[IndexedPassage]
    ) -> None:
        updated = sum((chunk.source, chunk.key) in there for chunk in fresh)
        self._done.numUpdated += updated
        self._done.numAdded += added - updated
        self._done.numSkipped += total - added
        room = _TOLD - len(self._done.addedDocs)
        self._done.addedDocs += [chunk.document for chunk in fresh[:room]]
        if self._progress:
            self._progress(self._done)

    async def _embedded(self, row: CollectionRow, chunks: Sequence[IndexedPassage]) -> list[IndexedPassage]:
        embeddings = self._collection.embeddings
        if embeddings is None or not chunks:
            return list(chunks)
        known = await self._collection.dimensions()
        found = await fitting(embeddings, [chunk.document.pageContent for chunk in chunks], known)
        stream_of = len(found[0])
        dimensions = await self._collection.database.write(lambda c: passages.fix_dimensions(c, row.name, stream_of))
        for chunk, vector in zip(chunks, found, strict=True):
            if len(vector) != dimensions:
                raise FlowError(
                    f"{chunk.document.metadata.get('source') or 'a document'!r} could not be embedded: "
                    f"{embeddings.name!r} gave "
                    f"{len(vector)} dimensions, and the collection {row.name!r} has {dimensions}; the model has "
                    "changed, so delete the collection and upsert its documents again"
                )
        return [chunk._replace(vector=packed(vector)) for chunk, vector in zip(chunks, found, strict=True)]

    async def _clean(self, row: CollectionRow, number: int) -> None:
        """Deletes what the cleanup mode says, but nothing of a source that could not be read."""
        if self._cleanup != "none":
            known = await self._collection.database.scan(lambda c: passages.sources(c, row))
            reached = set(known) if self._cleanup == "full" else self._sources
            kept = unread(reached, self._sources, self._done.failures)
            self._done.numDeleted += await self._delete(row, number, sorted(reached - kept))
        whole = None if self._done.failures else self._fingerprint
        await self._collection.database.write(lambda c: passages.finish_upsert(c, row.id, number, whole))

    async def _delete(self, row: CollectionRow, before: int, sources: Sequence[str]) -> int:
        total = 0
        while count := await self._collection.database.write(
            lambda c: passages.delete_unseen(c, row, before, sources, _DELETED)
        ):
            total += count
        return total
