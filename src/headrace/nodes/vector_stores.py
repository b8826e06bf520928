"""Vector stores on the embedded one. A store's output is its retriever, or itself."""

from __future__ import annotations

from headrace.engine.node import Context, Node
from headrace.engine.ports import Documents, Embeddings, Search
from headrace.errors import FlowError
from headrace.retrieval.collection import Collection
from headrace.retrieval.library import library
from headrace.retrieval.retriever import StoreRetriever, flow_collection


class _Embedded(Node, frozen=True, kw_only=True):
    """Without embeddings only words are looked at."""

    document: list[Documents] = []
    embeddings: Embeddings | None = None
    topK: int = 4
    output: str = ""

    async def build(self, ctx: Context) -> object:
        """The retriever, or for the output `vectorStore` the store."""
        store = await self._store(ctx)
        return store if self.output == "vectorStore" else StoreRetriever(store, Search(text="", k=self.topK))

    async def _store(self, ctx: Context) -> Collection:
        """The documents' collection. Those that are stored already are not read or embedded again."""
        return await flow_collection(library(ctx), ctx.flow, self.document, self.embeddings)


class MemoryVectorStore(_Embedded, frozen=True, kw_only=True, tag="memoryVectorStore"):
    """The flow's documents, embedded once and kept in the data folder. Without embeddings only words are looked at."""


class Faiss(_Embedded, frozen=True, kw_only=True, tag="faiss"):
    """The same; without documents, what was upserted under the name `basePath`, which is no folder here."""

    basePath: str = ""

    async def _store(self, ctx: Context) -> Collection:
        if self.document:
            return await flow_collection(library(ctx), ctx.flow, self.document, self.embeddings)
        store = library(ctx).collection(f"faiss/{self.basePath}", self.embeddings)
        if not (await store.info()).chunks:
            raise FlowError(f"nothing was upserted under {self.basePath!r}: connect documents to the Faiss node")
        return store


NODES = (MemoryVectorStore, Faiss)
