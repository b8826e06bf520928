"""The vector store Pinecone."""

from __future__ import annotations

from typing import Final

from headrace.engine.annotations import Additional, NodeInfo
from headrace.engine.node import Context, Templated
from headrace.nodes.accounts import account
from headrace.nodes.providers import Provider
from headrace.nodes.vector_stores.served import SpreadNode
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


NODES = (Pinecone,)
