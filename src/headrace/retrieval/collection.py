"""The embedded vector store: a collection of passages in the data folder's database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from headrace.engine.ports import Embeddings, Scored, Search
from headrace.events import Document
from headrace.retrieval.cached import fitting
from headrace.retrieval.embedded import passages
from headrace.retrieval.embedded.filters import condition
from headrace.retrieval.embedded.shelf import CollectionInfo, Shelf, info
from headrace.retrieval.upsert import Upsert, given
from headrace.store.database import Database

_DELETED = 1000


class Collection:
    """Implements `headrace.engine.ports.VectorStore`. Without embeddings only words are looked at: `lexical`."""

    def __init__(
        self, database: Database, shelf: Shelf, lock: asyncio.Lock, name: str, embeddings: Embeddings | None = None
    ) -> None:
        self.name, self.embeddings, self.database, self.lock = name, embeddings, database, lock
        self._shelf = shelf

    @property
    def lexical(self) -> bool:
        """Whether searches can only look at words, since no model makes vectors."""
        return self.embeddings is None

    async def add(self, documents: Sequence[Document]) -> int:
        """Stores passages and says how many are new."""
        return (await Upsert(self).run(given(documents))).numAdded

    async def search(self, search: Search) -> list[Scored]:
        """The best hits, best first. Raises FlowError, ProviderError and StorageError."""
        if self.embeddings and search.vector is None and search.mode != "lexical":
            (vector,) = await fitting(self.embeddings, [search.text], await self.dimensions())
            search = msgspec.structs.replace(search, vector=vector)
        made_by = self.embeddings.name if self.embeddings else None
        return await self.database.scan(lambda c: self._shelf.search(c, self.name, search, made_by))

    async def delete(self, ids: Sequence[str]) -> int:
        """Deletes passages and says how many."""
        numbers = [int(number) for number in ids if number.isdecimal() and len(number) < 20]

        def work(c: passages.Connection) -> int:
            row = passages.find_collection(c, self.name)
            return passages.delete_chunks(c, row, numbers) if row else 0

        return await self.database.write(work)

    async def delete_where(self, wanted: Mapping[str, Any]) -> int:
        """Deletes passages whose metadata fulfil a condition, and says how many."""
        where = condition(wanted)

        def matching(c: passages.Connection) -> list[str]:
            row = passages.find_collection(c, self.name)
            return [str(number) for number in passages.matching(c, row, where)] if row else []

        found = await self.database.scan(matching)
        return sum([await self.delete(found[n : n + _DELETED]) for n in range(0, len(found), _DELETED)])

    async def exists(self) -> bool:
        """Whether anything was ever upserted into it."""
        return await self.database.read(lambda c: passages.find_collection(c, self.name)) is not None

    async def info(self) -> CollectionInfo:
        """What the collection holds."""
        return await self.database.scan(partial(info, name=self.name))

    async def dimensions(self) -> int | None:
        """How long its vectors are; None as long as it has none."""

        def work(c: passages.Connection) -> int | None:
            row = passages.find_collection(c, self.name)
            return row.dimensions if row and passages.any_chunk(c, row) else None

        return await self.database.read(work)

    async def fingerprint(self) -> str | None:
        """What was completely upserted last; None while an upsert is at work, and after one that failed."""

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
        await self.database.scan(lambda _: self._shelf.forget(row.id))
