"""Chroma over its HTTP API: its client needs 350 MB of packages, and its embedded form is not asynchronous."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from headrace.errors import ProviderNotFound
from headrace.events import Document
from headrace.vectors.served import Hit, Near, Point, ServedStore, Site, every, flat

_SPACE = {"hnsw": {"space": "cosine"}}


class _Collection(msgspec.Struct):
    id: str
    configuration_json: dict[str, Any] = {}

    @property
    def space(self) -> str:
        """The collection's metric."""
        places = (self.configuration_json.get(kind) or {} for kind in ("hnsw", "spann"))
        return next((place["space"] for place in places if place.get("space")), "l2")


class _Found(msgspec.Struct):
    """One list a question."""

    ids: list[list[str]]
    distances: list[list[float]]
    documents: list[list[str | None]]
    metadatas: list[list[dict[str, Any] | None]]
    embeddings: list[list[list[float]]] | None = None


class _Got(msgspec.Struct):
    ids: list[str]


class ChromaStore(ServedStore):
    """A collection; adding makes it, measured by the cosine."""

    def __init__(self, site: Site, tenant: str, database: str, collection: str, **how: Any) -> None:
        super().__init__(f"the Chroma collection {collection!r}", **how)
        self._path = f"/api/v2/tenants/{quote(tenant, safe='')}/databases/{quote(database, safe='')}/collections"
        self._site, self._collection = site, collection

    async def _open(self) -> _Collection:
        return await self._site.ask("GET", f"{self._path}/{quote(self._collection, safe='')}", kind=_Collection)

    async def _known(self, ids: Sequence[str]) -> set[str]:
        try:
            there = await self._open()
        except ProviderNotFound:
            return set()
        found = await self._site.ask("POST", f"{self._path}/{there.id}/get", {"ids": ids, "include": []}, _Got)
        return set(found.ids)

    async def _put(self, points: Sequence[Point]) -> None:
        made = {"name": self._collection, "get_or_create": True, "configuration": _SPACE}
        there = await self._site.ask("POST", self._path, made, _Collection)
        body = {
            "ids": [point.id for point in points],
            "embeddings": [list(point.vector) for point in points],
            "documents": [point.document.pageContent for point in points],
            "metadatas": [_metadata(point.document) for point in points],
        }
        await self._site.ask("POST", f"{self._path}/{there.id}/upsert", body)

    async def _near(self, wanted: Near) -> list[Hit]:
        there = await self._open()
        include = ["documents", "metadatas", "distances", *(["embeddings"] if wanted.vectors else [])]
        body: dict[str, Any] = {"query_embeddings": [list(wanted.vector)], "n_results": wanted.k, "include": include}
        if wanted.filters:
            body["where"] = every(wanted.filters)
        found = await self._site.ask("POST", f"{self._path}/{there.id}/query", body, _Found)
        vectors = found.embeddings[0] if found.embeddings else [[]] * len(found.ids[0])
        lists = (found.ids[0], found.documents[0], found.metadatas[0], found.distances[0], vectors)
        return [
            Hit(Document(text or "", metadata or {}, key), _score(distance, there.space), vector)
            for key, text, metadata, distance, vector in zip(*lists, strict=True)
        ]

    async def _remove(self, ids: Sequence[str]) -> None:
        there = await self._open()
        await self._site.ask("POST", f"{self._path}/{there.id}/delete", {"ids": ids})


def _metadata(document: Document) -> Mapping[str, Any] | None:
    """Chroma takes no empty objects and no lists."""
    found = {
        key: msgspec.json.encode(value).decode() if isinstance(value, list) else value
        for key, value in flat(document.metadata)
    }
    return found or None


def _score(distance: float, space: str) -> float:
    """Cosine similarity; for other metrics only with unit vectors."""
    return 1 - (distance / 2 if space == "l2" else distance)
