"""The vector store Qdrant."""

from __future__ import annotations

from typing import Annotated, Any

from headrace.engine.annotations import Additional, Input, NodeInfo, Package
from headrace.engine.node import Context, Templated
from headrace.nodes.accounts import secrets
from headrace.nodes.vector_stores.served import ServedNode, server_address
from headrace.vectors import qdrant
from headrace.vectors.served import ServedStore


class Qdrant(ServedNode, frozen=True, kw_only=True, tag="qdrant"):
    """A collection of Qdrant. It is made with as many dimensions as the embeddings have."""

    info = NodeInfo(version=5, credentials=("qdrantApi",), packages=(Package("qdrant_client", "qdrant"),))

    way = "qdrant-client, extra `qdrant`"
    filters = '`{"must": [{"key": "metadata.source", "match": {"value": "a.txt"}}]}`'

    qdrantServerUrl: str
    qdrantCollection: Annotated[str, Input(acceptVariable=True)]
    qdrantVectorDimension: Annotated[int | None, Input(additionalParams=True, default=1536)] = None
    """Not used: the embeddings know."""
    contentPayloadKey: Additional[str] = "content"
    metadataPayloadKey: Additional[str] = "metadata"
    qdrantSimilarity: Additional[qdrant.Distance] = "Cosine"
    qdrantCollectionConfiguration: Additional[dict[str, Any]] = {}
    qdrantFilter: Additional[Templated] = {}

    async def _store(self, ctx: Context) -> ServedStore:
        key = (await secrets(ctx, self.credential)).get("qdrantApiKey", "").strip()
        shape = qdrant.Shape(
            content=self.contentPayloadKey,
            metadata=self.metadataPayloadKey,
            distance=self.qdrantSimilarity,
            configuration=self.qdrantCollectionConfiguration,
        )
        return qdrant.QdrantStore(
            qdrant.server(server_address(self.qdrantServerUrl, "Qdrant"), key),
            self.qdrantCollection,
            shape,
            key,
            **self._how(self.qdrantFilter),
        )


NODES = (Qdrant,)
