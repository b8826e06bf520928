"""Retrievers over a vector store, and the collections that a flow's own documents go into."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from headrace.engine.ports import Documents, Embeddings, LoadFailure, Narrowing, Retriever, Scored, Search, VectorStore
from headrace.errors import FlowError
from headrace.events import Document
from headrace.retrieval.embedded.collection import Collection, Upsert
from headrace.retrieval.library import Library
from headrace.retrieval.loading import fingerprint

_logger = logging.getLogger("headrace.retrieval")
_KEPT = 64
"""Collections of a flow: overrides can make as many as there are requests."""
_DEPTH = 4


def depth(store: VectorStore, wanted: int | None = None) -> int:
    """The number of passages that a retriever asks for: its own, else the store node's."""
    return wanted or getattr(store, "k", _DEPTH)


class StoreRetriever:
    """Implements `headrace.engine.ports.Retriever` with one search of a vector store."""

    name: str
    description: str

    def __init__(self, store: VectorStore, search: Search, name: str = "", description: str = "") -> None:
        """`search` says how to look; its text is replaced. `name` and `description` are for chains that choose."""
        self.name, self.description = name, description
        self._store, self._search = store, search

    def narrowed(self, condition: Mapping[str, Any]) -> StoreRetriever:
        """See Narrowing."""
        narrower = (*self._search.narrower, condition)
        search = msgspec.structs.replace(self._search, narrower=narrower)
        return StoreRetriever(self._store, search, self.name, self.description)

    async def find(self, query: str) -> list[Document]:
        """The best passages, best first."""
        hits = await self._store.search(msgspec.structs.replace(self._search, text=query))
        return [Document(hit.document.pageContent, hit.document.metadata) for hit in hits]


class NarrowedStore:
    """Implements `headrace.engine.ports.VectorStore`: searches a store for what fulfils a condition."""

    def __init__(self, store: VectorStore, condition: Mapping[str, Any]) -> None:
        self._store, self._condition, self.k = store, condition, depth(store)

    async def add(self, documents: Sequence[Document]) -> int:
        """Stores passages and says how many are new."""
        return await self._store.add(documents)

    async def search(self, search: Search) -> list[Scored]:
        """The best hits."""
        narrower = (*search.narrower, self._condition)
        return await self._store.search(msgspec.structs.replace(search, narrower=narrower))

    async def delete(self, ids: Sequence[str]) -> int:
        """Deletes passages and says how many."""
        return await self._store.delete(ids)


def narrowed(retriever: Retriever, condition: Mapping[str, Any]) -> Retriever:
    """The retriever for what fulfils a condition too. Raises FlowError for one that would look at everything."""
    if not condition:
        return retriever
    if not isinstance(retriever, Narrowing):
        raise FlowError("this kind of retriever takes no metadata filter: connect one that searches a vector store")
    return retriever.narrowed(condition)


async def flow_collection(
    library: Library, flow: str, documents: Sequence[Documents], embeddings: Embeddings | None
) -> Collection:
    """The collection of a flow's own documents, upserted once as long as they stay the same.

    Other documents make another collection, so that runs which override them never see each other's. Raises
    FlowError when none of the documents can be read, ProviderError and StorageError.
    """
    marks = [one.fingerprint for one in documents]
    content = fingerprint(embeddings.name if embeddings else "", *marks)
    collection = library.collection(f"flow/{flow}/{content}", embeddings)
    if await collection.fingerprint() == content and all(marks):
        return collection
    await library.forget_oldest(f"flow/{flow}/", _KEPT)
    done = await Upsert(collection, cleanup="full", fingerprint=content).run(all_documents(documents))
    for failure in done.failures:
        _logger.warning("flow %s: %s", flow, failure)
    if done.failures and not (await collection.info()).chunks:
        raise FlowError(str(done.failures[0]))
    return collection


async def all_documents(documents: Sequence[Documents]) -> AsyncGenerator[Document | LoadFailure]:
    """The documents of several loaders, one loader after the other. Close the iterator."""
    for one in documents:
        async with aclosing(one.read()) as read:
            async for document in read:
                yield document
