"""Pinecone over its HTTP API: its client's major versions change several times a year, the API by date.

Passages are as Flowise writes them: flat metadata with the text beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from headrace.engine.ports import Http
from headrace.errors import ProviderNotFound, ProviderUnavailable
from headrace.events import Document
from headrace.vectors.served import Hit, Method, Near, Point, ServedStore, Site, every, flat

BASE = "https://api.pinecone.io"
_VERSION = "2025-04"
_T = TypeVar("_T")


class _Index(msgspec.Struct):
    host: str


class _Match(msgspec.Struct):
    id: str
    score: float = 0.0
    values: list[float] = []
    metadata: dict[str, Any] = {}


class _Matches(msgspec.Struct):
    matches: list[_Match] = []


class _Fetched(msgspec.Struct):
    vectors: dict[str, Any] = {}


class PineconeStore(ServedStore):
    """A namespace of an index, which must exist."""

    def __init__(
        self, site: Site, hosts: dict[str, str], index: str, namespace: str, text_key: str, **how: Any
    ) -> None:
        """`hosts` keeps where an index is answered for, from run to run."""
        super().__init__(f"the Pinecone index {index!r}", **how)
        self._site, self._hosts, self._index = site, hosts, index
        self._namespace, self._text_key = namespace, text_key

    async def _ask(self, method: Method, path: str, body: Any = None, kind: type[_T] = dict) -> _T:
        """Asks the index. An index that is gone may come back at another address."""
        try:
            return await (await self._host()).ask(method, path, body, kind)
        except (ProviderNotFound, ProviderUnavailable):
            self._hosts.pop(self._index, None)
            raise

    async def _host(self) -> Site:
        """The host of the index."""
        if self._index not in self._hosts:
            found = await self._site.ask("GET", f"/indexes/{quote(self._index, safe='')}", kind=_Index)
            scheme = urlsplit(self._site.base).scheme  # the emulator speaks plain HTTP, and names no scheme either
            self._hosts[self._index] = found.host if "://" in found.host else f"{scheme}://{found.host}"
        return msgspec.structs.replace(self._site, base=self._hosts[self._index])

    async def _known(self, ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(ids), 64):  # they are in the address
            query = urlencode({"ids": ids[start : start + 64], "namespace": self._namespace}, doseq=True)
            found |= (await self._ask("GET", f"/vectors/fetch?{query}", kind=_Fetched)).vectors.keys()
        return found

    async def _put(self, points: Sequence[Point]) -> None:
        vectors = [
            {
                "id": point.id,
                "values": list(point.vector),
                "metadata": {**dict(flat(point.document.metadata)), self._text_key: point.document.pageContent},
            }
            for point in points
        ]
        await self._ask("POST", "/vectors/upsert", {"vectors": vectors, "namespace": self._namespace})

    async def _near(self, wanted: Near) -> list[Hit]:
        body: dict[str, Any] = {
            "vector": list(wanted.vector),
            "topK": wanted.k,
            "namespace": self._namespace,
            "includeMetadata": True,
            "includeValues": wanted.vectors,
        }
        if wanted.filters:
            body["filter"] = every(wanted.filters)
        found = await self._ask("POST", "/query", body, _Matches)
        return [Hit(self._document(match), match.score, match.values) for match in found.matches]

    def _document(self, match: _Match) -> Document:
        text = match.metadata.pop(self._text_key, "")
        return Document(str(text), match.metadata, match.id)

    async def _remove(self, ids: Sequence[str]) -> None:
        await self._ask("POST", "/vectors/delete", {"ids": ids, "namespace": self._namespace})


def site(http: Http, base: str, key: str) -> Site:
    """The address of the API that lists indexes."""
    headers: Mapping[str, str] = {"Api-Key": key, "X-Pinecone-API-Version": _VERSION}
    return Site(http, base, headers, key, "Pinecone")
