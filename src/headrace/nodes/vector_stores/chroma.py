"""The vector store Chroma."""

from __future__ import annotations

from headrace.engine.annotations import Additional, NodeInfo
from headrace.engine.node import Context, Templated
from headrace.nodes.accounts import secrets
from headrace.nodes.vector_stores.served import ServedNode, server_address
from headrace.vectors import chroma
from headrace.vectors.served import ServedStore, Site


class Chroma(ServedNode, frozen=True, kw_only=True, tag="chroma"):
    """A collection of a Chroma server, version 0.6 or newer."""

    info = NodeInfo(version=2, credentials=("chromaApi",))

    way = "HTTP"
    filters = '`{"source": {"$eq": "a.txt"}}`'

    collectionName: str
    chromaURL: str = "http://localhost:8000"
    chromaMetadataFilter: Additional[Templated] = {}

    async def _store(self, ctx: Context) -> ServedStore:
        given = await secrets(ctx, self.credential)
        key = given.get("chromaApiKey", "").strip()
        headers = {"x-chroma-token": key, "Authorization": f"Bearer {key}"} if key else {}
        return chroma.ChromaStore(
            Site(ctx.http, server_address(self.chromaURL, "Chroma"), headers, key, "Chroma"),
            given.get("chromaTenant") or "default_tenant",
            given.get("chromaDatabase") or "default_database",
            self.collectionName,
            **self._how(self.chromaMetadataFilter),
        )


NODES = (Chroma,)
