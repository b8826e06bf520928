"""Vector stores on other servers. Documents that are connected to one are stored by an upsert, never by a prediction.

A credential goes where the flow says; what the server's environment holds goes only where the environment says.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from headrace.engine.annotations import STORE_OUTPUTS, Additional, NodeInfo
from headrace.engine.node import Context, Sink
from headrace.engine.ports import Embeddings, Search, SearchMode, Upserted, UpsertProgress
from headrace.errors import FlowError
from headrace.nodes.record_managers import RecordManager
from headrace.retrieval.retriever import StoreRetriever, all_documents
from headrace.vectors.served import ServedStore
from headrace.vectors.upsert import ServedUpsert

_AT_ONCE: Final = 256


class ServedNode(Sink, frozen=True, kw_only=True):
    """The shared part of all of them. The output is the retriever, or for `vectorStore` the store."""

    info = NodeInfo(category="Vector Stores", outputs=STORE_OUTPUTS)

    upserted: ClassVar[frozenset[str]] = frozenset({"document", "recordManager"})
    way: ClassVar[str]
    """How it is reached, for the docs."""
    filters: ClassVar[str]
    """An example of a condition on metadata, for the docs."""

    embeddings: Embeddings
    recordManager: RecordManager | None = None
    topK: Additional[int] = 4
    credential: str = ""
    output: str = ""

    async def build(self, ctx: Context) -> object:
        """The retriever, or the store."""
        store = await self._store(ctx)
        return store if self.output == "vectorStore" else StoreRetriever(store, self._search)

    @property
    def _search(self) -> Search:
        return Search(text="", k=self.topK)

    def _how(self, condition: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that every store gets."""
        return {"embeddings": self.embeddings, "k": self.topK, "condition": condition}

    @abstractmethod
    async def _store(self, ctx: Context) -> ServedStore: ...

    async def upsert(self, ctx: Context, progress: UpsertProgress) -> Upserted:
        """Stores the connected documents; the record manager decides which earlier ones are deleted."""
        manager = self.recordManager
        records = await manager.records(ctx, self.node) if manager else None
        how = manager or RecordManager()
        upsert = ServedUpsert(
            await self._store(ctx), records, cleanup=how.cleanup, source_key=how.sourceIdKey, progress=progress
        )
        return await upsert.run(all_documents(self.document))

    async def remove(self, ctx: Context, loaders: Sequence[str]) -> int:
        """By the records: without a record manager, those that document stores keep."""
        records = await (self.recordManager or RecordManager()).records(ctx, self.node)
        store, total = await self._store(ctx), 0
        while keys := await records.of_loaders(loaders, _AT_ONCE):
            total += await store.delete(keys)
            await records.forget(keys)
        return total


class SpreadNode(ServedNode, frozen=True, kw_only=True):
    """A store whose node may ask for passages that differ from each other (`mmr`)."""

    searchType: Additional[Literal["similarity", "mmr"]] = "similarity"
    fetchK: Additional[int] = 20
    nearness: Additional[Annotated[float, msgspec.Meta(ge=0, le=1)]] = msgspec.field(default=0.5, name="lambda")
    """0 looks only at how the passages differ, 1 only at the question."""

    @property
    def _search(self) -> Search:
        mode: SearchMode = self.searchType
        return Search(text="", k=self.topK, mode=mode, fetch=self.fetchK, diversity=1 - self.nearness)


def server_address(url: str, label: str) -> str:
    """A server's address. Raises FlowError: some clients take a path for a folder to keep data in."""
    if not url.startswith(("http://", "https://")):
        raise FlowError(f"the {label} node needs an address that begins with http:// or https://, not {url!r}")
    return url.rstrip("/")
