"""Elasticsearch from version 8.4 on, over its HTTP API: four calls, the same in every version since."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

import msgspec

from headrace.errors import FlowError, ProviderNotFound, ProviderRefused
from headrace.events import Document
from headrace.vectors.served import Hit, Near, Point, ServedStore, Site

Similarity: TypeAlias = Literal["l2_norm", "dot_product", "cosine"]

_CANDIDATES = 10_000  # the most that it takes
_TEXT = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 1024}}}


class _Found(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    score: float = msgspec.field(name="_score", default=0.0)
    source: dict[str, Any] = msgspec.field(name="_source", default={})
    fields: dict[str, Any] = {}
    found: bool = False


class _Hits(msgspec.Struct):
    hits: list[_Found]


class _Search(msgspec.Struct):
    hits: _Hits


class _Documents(msgspec.Struct):
    docs: list[_Found]


class _Bulk(msgspec.Struct):
    errors: bool
    items: list[dict[str, dict[str, Any]]]


class ElasticsearchStore(ServedStore):
    """An index; adding makes it."""

    def __init__(self, site: Site, index: str, similarity: Similarity, **how: Any) -> None:
        super().__init__(f"the Elasticsearch index {index!r}", **how)
        self._site, self._path = site, f"/{quote(index, safe='')}"
        self._similarity: Similarity = similarity

    async def _known(self, ids: Sequence[str]) -> set[str]:
        try:
            found = await self._site.ask("POST", f"{self._path}/_mget?_source=false", {"ids": ids}, _Documents)
        except ProviderNotFound:
            return set()
        return {one.id for one in found.docs if one.found}

    async def _put(self, points: Sequence[Point]) -> None:
        await self._make(len(points[0].vector))
        lines: list[Any] = []
        for point in points:
            body = {"text": point.document.pageContent, "metadata": point.document.metadata}
            lines += [{"index": {"_id": point.id}}, {**body, "embedding": list(point.vector)}]
        await self._bulk(lines)

    async def _make(self, dimensions: int) -> None:
        try:
            await self._site.ask("GET", f"{self._path}/_mapping")
        except ProviderNotFound:
            vector = {"type": "dense_vector", "dims": dimensions, "index": True, "similarity": self._similarity}
            texts = {"match_mapping_type": "string", "path_match": "metadata.*", "mapping": _TEXT}
            properties = {"embedding": vector, "text": {"type": "text"}, "metadata": {"type": "object"}}
            body = {"mappings": {"dynamic_templates": [{"metadata": texts}], "properties": properties}}
            try:
                await self._site.ask("PUT", self._path, body)
            except ProviderRefused as error:
                if "already exists" not in str(error):  # somebody else has just made it
                    raise

    async def _bulk(self, lines: Sequence[Any]) -> None:
        """Raises ProviderRefused with the first reason when not all of it is done."""
        body = msgspec.json.Encoder().encode_lines(lines)
        done = await self._site.ask("POST", f"{self._path}/_bulk?refresh=true", body, _Bulk)
        if done.errors:
            failed = (one["error"] for item in done.items for one in item.values() if "error" in one)
            first = next(failed, {})
            reason = (first.get("caused_by") or first).get("reason")
            raise ProviderRefused(f"Elasticsearch did not take all of it: {reason}")

    async def _near(self, wanted: Near) -> list[Hit]:
        knn: dict[str, Any] = {
            "field": "embedding",
            "query_vector": list(wanted.vector),
            "k": wanted.k,
            "num_candidates": min(_CANDIDATES, max(100, 10 * wanted.k)),
        }
        if wanted.filters:
            knn["filter"] = wanted.filters[0] if len(wanted.filters) == 1 else list(wanted.filters)
        body = {"knn": knn, "size": wanted.k, "_source": ["text", "metadata"]}
        if wanted.vectors:
            body["fields"] = ["embedding"]
        found = await self._site.ask("POST", f"{self._path}/_search", body, _Search)
        return [self._hit(one) for one in found.hits.hits]

    def _hit(self, found: _Found) -> Hit:
        document = Document(str(found.source.get("text", "")), found.source.get("metadata") or {}, found.id)
        return Hit(document, _score(found.score, self._similarity), found.fields.get("embedding", ()))

    async def _remove(self, ids: Sequence[str]) -> None:
        await self._bulk([{"delete": {"_id": one}} for one in ids])


def _score(score: float, by: Similarity) -> float:
    """The cosine of vectors of length 1, out of what Elasticsearch makes of it: a number that is never negative."""
    if by == "l2_norm":
        return 1 - (1 / score - 1) / 2 if score > 0 else -1.0
    return 2 * score - 1


def cloud_address(cloud: str) -> str:
    """The address that a cloud id (`name:base64`) stands for. Raises FlowError."""
    try:
        host, cluster, *_ = base64.b64decode(cloud.rpartition(":")[2], validate=True).decode().split("$")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise FlowError("the Elasticsearch credential's cloud id cannot be read: copy it from the console") from None
    return f"https://{cluster}.{host}"
