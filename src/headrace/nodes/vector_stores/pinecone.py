"""The vector store Pinecone."""

from __future__ import annotations

from typing import Annotated, Final

from headrace.engine.annotations import Additional, Input, NodeInfo, Output
from headrace.engine.node import Context, Templated
from headrace.engine.ports import ChatModel, Embeddings
from headrace.nodes.accounts import account
from headrace.nodes.model_retriever import WithModel
from headrace.nodes.providers import Provider
from headrace.nodes.vector_stores.served import SpreadNode
from headrace.retrieval.retriever import StoreRetriever
from headrace.vectors import pinecone
from headrace.vectors.served import ServedStore

_PINECONE: Final = Provider("Pinecone", "OpenAI", pinecone.BASE, "pineconeApi")


class Pinecone(SpreadNode, frozen=True, kw_only=True, tag="pinecone"):
    """An index of Pinecone, which must exist. `PINECONE_BASE_URL` names another address for all flows."""

    info = NodeInfo(version=5, credentials=("pineconeApi",))

    way = "HTTP"
    filters = '`{"source": {"$eq": "a.txt"}}`'

    pineconeIndex: str
    pineconeNamespace: Additional[str] = ""
    pineconeTextKey: Additional[str] = "text"
    pineconeMetadataFilter: Additional[Templated] = {}

    async def _store(self, ctx: Context) -> ServedStore:
        at = await account(ctx, _PINECONE, credential=self.credential)
        return pinecone.PineconeStore(
            pinecone.site(ctx.http, at.base, at.key),
            ctx.kept.setdefault(f"pinecone {at.base} {self.credential}", {}),
            self.pineconeIndex,
            self.pineconeNamespace,
            self.pineconeTextKey,
            **self._how(self.pineconeMetadataFilter),
        )


class PineconeForEngines(Pinecone, frozen=True, kw_only=True, tag="pineconeLlamaIndex"):
    """The same for engines, which answer with the model that is connected here."""

    info = NodeInfo(
        label="Pinecone",
        type="Pinecone",
        credentials=("pineconeApi",),
        bases=("VectorIndexRetriever",),
        outputs=(
            Output("retriever", "Pinecone Retriever", ("Pinecone", "VectorIndexRetriever")),
            Output("vectorStore", "Pinecone Vector Store Index", ("Pinecone", "VectorStoreIndex")),
        ),
    )

    model: Annotated[ChatModel, Input(type="BaseChatModel_LlamaIndex")]
    embeddings: Annotated[Embeddings, Input(type="BaseEmbedding_LlamaIndex")]

    async def build(self, ctx: Context) -> object:
        """The retriever with its model, or the store."""
        store = await self._store(ctx)
        return store if self.output == "vectorStore" else WithModel(StoreRetriever(store, self._search), self.model)


NODES = (Pinecone, PineconeForEngines)
