"""The vector store Weaviate."""

from __future__ import annotations

from typing import Annotated, Literal

from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.node import Context, Templated
from headrace.nodes.accounts import secrets
from headrace.nodes.vector_stores.served import SpreadNode, server_address
from headrace.vectors import weaviate
from headrace.vectors.served import ServedStore, Site


class Weaviate(SpreadNode, frozen=True, kw_only=True, tag="weaviate"):
    """A class of Weaviate. Everything goes over HTTP: what a flow says of gRPC is not used."""

    info = NodeInfo(version=5, credentials=("weaviateApi",))

    way = "HTTP"
    filters = '`{"path": ["source"], "operator": "Equal", "valueText": "a.txt"}`'

    weaviateConnectionType: Literal["cloud", "local", "custom"] = "cloud"
    weaviateHost: str
    weaviateHttpSecure: Annotated[bool, Input(additionalParams=True, show={"weaviateConnectionType": "custom"})] = True
    weaviateGrpcHost: Annotated[str, Input(additionalParams=True, show={"weaviateConnectionType": "custom"})] = ""
    weaviateGrpcSecure: Annotated[bool, Input(additionalParams=True, show={"weaviateConnectionType": "custom"})] = True
    weaviateIndex: str
    weaviateTextKey: Additional[str] = "text"
    weaviateMetadataKeys: Additional[str] = ""
    """Not used: passages come with all of their metadata."""
    weaviateFilter: Additional[Templated] = {}
    alpha: Annotated[
        float | None, Input(additionalParams=True, unread="it is searched by vectors only: words have no weight")
    ] = None
    """Not used: words are searched in the embedded store only."""

    async def _store(self, ctx: Context) -> ServedStore:
        key = (await secrets(ctx, self.credential)).get("weaviateApiKey", "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return weaviate.WeaviateStore(
            Site(ctx.http, self._base, headers, key, "Weaviate"),
            self.weaviateIndex,
            self.weaviateTextKey,
            **self._how(self.weaviateFilter),
        )

    @property
    def _base(self) -> str:
        """The address; a host alone gets the scheme, and on this machine the port, that its kind of server has."""
        host = self.weaviateHost.strip()
        if "://" in host or not host:
            return server_address(host, "Weaviate")
        if self.weaviateConnectionType == "local":
            return f"http://{host}" if ":" in host else f"http://{host}:8080"
        secure = self.weaviateConnectionType == "cloud" or self.weaviateHttpSecure
        return f"{'https' if secure else 'http'}://{host.rstrip('/')}"


NODES = (Weaviate,)
