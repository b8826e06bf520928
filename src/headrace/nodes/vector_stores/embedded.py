"""Vector stores on the embedded one. A store's output is its retriever, or itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from headrace.engine.annotations import STORE_OUTPUTS, Additional, Input, NodeInfo, Output
from headrace.engine.node import Context, NothingGiven, Sink
from headrace.engine.ports import ChatModel, Embeddings, Search, Upserted, UpsertProgress, VectorStore
from headrace.errors import FlowError
from headrace.nodes.model_retriever import WithModel
from headrace.nodes.record_managers import RecordManager
from headrace.retrieval.embedded.collection import Collection, Upsert
from headrace.retrieval.faiss_folder import folder_collection, folder_of
from headrace.retrieval.library import library
from headrace.retrieval.merged import MergedCollections
from headrace.retrieval.retriever import StoreRetriever, all_documents, flow_collection


class _Embedded(Sink, frozen=True, kw_only=True):
    """Without embeddings only words are looked at. Once something was upserted, that is what is searched."""

    info = NodeInfo(category="Vector Stores", outputs=STORE_OUTPUTS)

    embeddings: Embeddings | None = None
    recordManager: RecordManager | None = None
    topK: Additional[int] = 4
    output: str = ""

    async def build(self, ctx: Context) -> object:
        """The retriever, or for the output `vectorStore` the store."""
        store = await self._with_chats(ctx)
        return store if self.output == "vectorStore" else StoreRetriever(store, Search(text="", k=self.topK))

    async def upsert(self, ctx: Context, progress: UpsertProgress) -> Upserted:
        """By content hash, with the cleanup of the record manager, or none."""
        records = self.recordManager or RecordManager()
        into = self._chats(ctx) if ctx.chat else self._upserted(ctx)
        upsert = Upsert(into, cleanup=records.cleanup, source_key=records.sourceIdKey, progress=progress)
        return await upsert.run(all_documents(self.document))

    async def remove(self, ctx: Context, loaders: Sequence[str]) -> int:
        """By metadata; of the chunks that an upsert brings while this is at work, some may stay."""
        return await self._upserted(ctx).delete_where({"docId": list(loaders)})

    async def _with_chats(self, ctx: Context) -> VectorStore:
        """The store together with what was upserted for this chat alone, which may be all that there is."""
        chat = self._chats(ctx)
        if not await chat.exists():
            return await self._store(ctx)
        nothing_else = all(isinstance(one, NothingGiven) for one in self.document)
        if nothing_else and not await self._upserted(ctx).exists():
            return chat
        return MergedCollections(await self._store(ctx), chat)

    async def _store(self, ctx: Context) -> Collection:
        """The upserted collection, or else that of the flow's own documents.

        Those that are stored already are not read or embedded again.
        """
        upserted = self._upserted(ctx)
        if await upserted.exists():
            return upserted
        return await flow_collection(library(ctx), ctx.flow, self.document, self.embeddings)

    def _chats(self, ctx: Context) -> Collection:
        """The collection that was upserted for this chat alone."""
        return library(ctx).collection(f"upserted/{ctx.flow}/{self.node}/{ctx.chat}", self.embeddings)

    def _upserted(self, ctx: Context) -> Collection:
        return library(ctx).collection(f"upserted/{ctx.flow}/{self.node}", self.embeddings)


class MemoryVectorStore(_Embedded, frozen=True, kw_only=True, tag="memoryVectorStore"):
    """The flow's documents, embedded once and kept in the data folder. Without embeddings only words are looked at."""

    info = NodeInfo(label="In-Memory Vector Store", type="Memory")


class Faiss(_Embedded, frozen=True, kw_only=True, tag="faiss"):
    """The same; without documents, what was upserted under the name `basePath`, or an index of Flowise in that folder.

    The folder is one inside `files` of the data folder.
    """

    basePath: str = ""

    async def _store(self, ctx: Context) -> Collection:
        if await self._upserted(ctx).exists():
            return await super()._store(ctx)
        if folder := folder_of(library(ctx).files, self.basePath):
            if self.embeddings is None:
                raise FlowError("a Faiss index holds vectors only: connect the embeddings that made them")
            return await folder_collection(library(ctx), folder, self.embeddings)
        if not self.document:
            raise FlowError(f"nothing was upserted under {self.basePath!r}: connect documents to the Faiss node")
        return await super()._store(ctx)

    def _upserted(self, ctx: Context) -> Collection:
        return library(ctx).collection(f"faiss/{self.basePath}", self.embeddings)


class SimpleStore(_Embedded, frozen=True, kw_only=True, tag="simpleStoreLlamaIndex"):
    """The embedded store for engines, which answer with the model that is connected here."""

    info = NodeInfo(
        label="SimpleStore",
        type="SimpleVectorStore",
        bases=("VectorIndexRetriever",),
        outputs=(
            Output("retriever", "SimpleStore Retriever", ("SimpleVectorStore", "VectorIndexRetriever")),
            Output("vectorStore", "SimpleStore Vector Store Index", ("SimpleVectorStore", "VectorStoreIndex")),
        ),
    )

    model: Annotated[ChatModel, Input(type="BaseChatModel_LlamaIndex", label="Chat Model")]
    embeddings: Annotated[Embeddings | None, Input(type="BaseEmbedding_LlamaIndex")] = None
    basePath: Annotated[
        str, Input(label="Base Path to store", unread="what is upserted is kept in this server's data folder")
    ] = ""

    async def build(self, ctx: Context) -> object:
        """The retriever with its model, or the store."""
        built = await super().build(ctx)
        return WithModel(built, self.model) if isinstance(built, StoreRetriever) else built


NODES = (MemoryVectorStore, Faiss, SimpleStore)
