"""Refines the passages that other retrievers found: joins rankings, asks about each, compares, leaves out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from headrace.engine.ports import Embeddings, Retriever
from headrace.events import Document
from headrace.retrieval.embedded.collection import content_hash
from headrace.retrieval.embedded.searcher import FUSION

_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.):])\s*")
_TAG = re.compile(r"</?\w+>")


class Finder:
    """Implements `headrace.engine.ports.Retriever` by a function. `name` and `description` are for those who choose."""

    def __init__(
        self,
        find: Callable[[str], Awaitable[list[Document]]],
        narrow: Callable[[Mapping[str, Any]], Retriever],
        name: str = "",
        description: str = "",
    ) -> None:
        """`narrow` makes the same retriever over a part of what is searched."""
        self.name, self.description = name, description
        self._find, self._narrow = find, narrow

    def narrowed(self, condition: Mapping[str, Any]) -> Retriever:
        """See Narrowing."""
        return self._narrow(condition)

    async def find(self, query: str) -> list[Document]:
        """The passages, best first."""
        return await self._find(query)


def fused(rankings: Sequence[Sequence[Document]], constant: int = FUSION) -> list[Document]:
    """One ranking of several by reciprocal ranks; a passage that several have is there once."""
    points: dict[str, float] = {}
    documents: dict[str, Document] = {}
    for ranking in rankings:
        for rank, document in enumerate(ranking, 1):
            key = content_hash(document)
            documents.setdefault(key, document)
            points[key] = points.get(key, 0.0) + 1 / (constant + rank)
    return [documents[key] for key in sorted(points, key=lambda key: -points[key])]


def lines_of(answer: str, most: int) -> list[str]:
    """The lines of a model's list, without its bullets, numbers and tags; each once."""
    lines = (_BULLET.sub("", _TAG.sub("", line)).strip() for line in answer.splitlines())
    return list(dict.fromkeys(line for line in lines if line))[:most]


async def alike(
    embeddings: Embeddings, query: str, documents: Sequence[Document], least: float | None, most: int
) -> list[Document]:
    """The passages whose cosine with the query is at least `least`, the nearest `most` of them first."""
    import numpy as np

    if not documents:
        return []
    vectors = np.asarray(await embeddings.embed([query, *(one.pageContent for one in documents)]), np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines = vectors[1:] @ vectors[0]
    order = np.argsort(-cosines, kind="stable")[:most]
    return [documents[n] for n in order.tolist() if least is None or cosines[n] >= least]
