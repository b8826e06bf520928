"""Upserts into vector stores on other servers: by content hash, with the records of a record manager if there is one.

A passage is stored first and written down after, and deleted first and forgotten after. So whatever ends an upsert
early, the same upsert again does what is missing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from headrace.engine.ports import LoadFailure, Upserted, UpsertProgress, unread
from headrace.events import Document
from headrace.retrieval.embedded.collection import Cleanup
from headrace.retrieval.records import Record, Records
from headrace.vectors.served import ServedStore, point_id

_BATCH = 256
_TOLD = 1000


class ServedUpsert:
    """One upsert. Without records nothing is ever deleted."""

    def __init__(
        self,
        store: ServedStore,
        records: Records | None,
        *,
        cleanup: Cleanup = "none",
        source_key: str = "source",
        progress: UpsertProgress = lambda _: None,
    ) -> None:
        self._store, self._records, self._cleanup = store, records, cleanup
        self._source_key, self._progress = source_key, progress
        self._done = Upserted()
        self._batch: list[Document] = []
        self._moment = 0.0
        self._sources: set[str] = set()
        self._last: tuple[str, list[Document]] = ("", [])
        """Of the document that is being read: its source, and what of it is new."""

    async def run(self, documents: AsyncGenerator[Document | LoadFailure]) -> Upserted:
        """Does it. A document that fails stops no other. Raises FlowError, ProviderError and StorageError."""
        async with aclosing(documents):
            self._moment = await self._records.begin() if self._records else 0.0
            async for one in documents:
                if isinstance(one, LoadFailure):
                    await self._take_back(one)
                    continue
                self._batch.append(one)
                if len(self._batch) == _BATCH:
                    await self._add()
            await self._add()
            await self._clean()
            return self._done

    async def _add(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        added = await self._store.add_new(batch)
        self._done.numAdded += len(added)
        self._done.numSkipped += len(batch) - len(added)
        self._done.addedDocs += added[: max(0, _TOLD - len(self._done.addedDocs))]
        last = self._source(batch[-1])
        kept = self._last[1] if self._last[0] == last else []
        self._last = last, [*kept, *(one for one in added if self._source(one) == last)]
        await self._write_down(batch)
        self._progress(self._done)

    async def _write_down(self, batch: Sequence[Document]) -> None:
        self._sources.update(map(self._source, batch))
        if self._records:
            records = {key: self._record(key, one) for one in batch if (key := point_id(one))}
            await self._records.saw(self._moment, list(records.values()))

    def _record(self, key: str, document: Document) -> Record:
        return Record(key, self._source(document), str(document.metadata.get("docId") or ""))

    def _source(self, document: Document) -> str:
        return str(document.metadata.get(self._source_key) or "")

    async def _take_back(self, failure: LoadFailure) -> None:
        """Keeps of a document that failed what was there before, and nothing of its readable half."""
        self._done.failures.append(failure)
        self._batch = [one for one in self._batch if self._source(one) != failure.source]
        source, added = self._last
        if source != failure.source or not added:
            return
        keys = [point_id(one) for one in added]
        self._done.numAdded -= await self._store.delete(keys)
        if self._records:
            await self._records.forget(keys)
        self._done.addedDocs = [one for one in self._done.addedDocs if one not in added]

    async def _clean(self) -> None:
        """Deletes what the cleanup mode says, but nothing of a document that could not be read."""
        if self._records is None or self._cleanup == "none":
            return
        reached = set(await self._records.sources()) if self._cleanup == "full" else self._sources
        wanted = sorted(reached - unread(reached, self._sources, self._done.failures))
        while keys := await self._records.unseen(self._moment, wanted, _BATCH):
            await self._store.delete(keys)
            await self._records.forget(keys)
            self._done.numDeleted += len(keys)
            self._progress(self._done)
