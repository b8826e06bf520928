"""The vector store Qdrant."""

from __future__ import annotations

from typing import Any

from headrace.engine.node import Context, Templated
from headrace.nodes.accounts import secrets
from headrace.nodes.vector_stores.served import ServedNode, server_address
from headrace.vectors import qdrant
from headrace.vectors.served import ServedStore


class Qdrant(ServedNode, frozen=True, kw_only=True, tag="qdrant"):
    """A collection of Qdrant. It is made with as many dimensions as the embeddings have."""

    label = "Qdrant"
    way = "qdrant-client, extra `qdrant`"
    filters = '`{"must": [{"key": "metadata.source", "match": {"value": "a.txt"}}]}`'

    qdrantServerUrl: str
    qdrantCollection: str
    qdrantVectorDimension: int | None = None
    """Not used: the embeddings know."""
    contentPayloadKey: str = "content"
    metadataPayloadKey: str = "metadata"
    qdrantSimilarity: qdrant.Distance = "Cosine"
    qdrantCollectionConfiguration: dict[str, Any] = {}
    qdrantFilter: Templated = {}

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
