"""Searches collections: words by the database, vectors by a matrix of each collection. Blocking."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Connection

from headrace.engine.ports import Scored, Search
from headrace.errors import FlowError
from headrace.retrieval.embedded import full_text, passages
from headrace.retrieval.embedded.filters import Condition, condition
from headrace.retrieval.embedded.passages import CollectionRow
from headrace.retrieval.embedded.query_words import quoted_words

if TYPE_CHECKING:
    from headrace.retrieval.embedded.matrix import Matrix

_OPEN = 32
_HOUR = 3600  # seconds
_CANDIDATES = 50
FUSION = 60
"""The constant that reciprocal rank fusion adds to every rank: https://doi.org/10.1145/1571941.1572114"""

Hits = list[tuple[int, float]]


class Searcher:
    """The matrices of the collections that were searched last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._matrices: OrderedDict[int, Matrix] = OrderedDict()
        self._swept = False

    def search(self, c: Connection, name: str, wanted: Search, embedding: str | None) -> list[Scored]:
        """The best hits. `embedding` is what made the wanted vector. Raises FlowError when the two do not fit."""
        row = passages.find_collection(c, name)
        if row is None or wanted.k < 1:
            return []
        conditions = [one for one in (wanted.filter, *wanted.narrower) if one]
        where = condition(c, {"$and": conditions}) if conditions else None
        vector = None if wanted.mode == "lexical" or row.dimensions is None else wanted.vector
        if vector is None:
            hits = _lexical(c, row, wanted, where)
        else:
            _check(row, embedding, vector)
            hits = self._near(c, row, wanted, where, vector)
        kept = [hit for hit in hits if wanted.threshold is None or hit[1] >= wanted.threshold][: wanted.k]
        found = passages.documents(c, [number for number, _ in kept])
        scores = dict(kept)
        return [Scored(document, scores[int(document.id or 0)]) for document in found]

    def _near(
        self, c: Connection, row: CollectionRow, wanted: Search, where: Condition | None, vector: Sequence[float]
    ) -> Hits:
        from headrace.retrieval.embedded.matrix import best, spread

        self._sweep(c)
        matrix = self._matrix(row)
        matrix.sync(c, row)
        allowed = None if where is None else passages.matching(c, row, where)
        ids, scores = matrix.similarities(vector, allowed)
        match wanted.mode:
            case "mmr":
                hits = best(ids, scores, max(wanted.fetch, wanted.k))
                rows = matrix.rows([number for number, _ in hits])
                return [hits[n] for n in spread(rows, [score for _, score in hits], wanted.k, wanted.diversity)]
            case "hybrid":
                most = max(_CANDIDATES, 4 * wanted.k)
                near = best(ids, scores, most)
                words = full_text.ranked(c, row.ids, quoted_words(wanted.text), where, most)
                return _with_cosines(fused(near, words), near, matrix, vector)
            case _:
                return best(ids, scores, wanted.k)

    def _matrix(self, row: CollectionRow) -> Matrix:
        from headrace.retrieval.embedded.matrix import Matrix

        found = self._matrices.pop(row.id, None) or Matrix(self._folder / f"{row.id}.f32")
        self._matrices[row.id] = found
        if len(self._matrices) > _OPEN:
            self._matrices.popitem(last=False)
        return found

    def _sweep(self, c: Connection) -> None:
        """Once: removes the files of collections that are gone, and what a killed process left half-written."""
        if self._swept:
            return
        self._swept = True
        for path in self._folder.glob("*.*"):
            number, _, kind = path.name.partition(".")
            with suppress(OSError):
                left = kind != "f32" and path.stat().st_mtime < time() - _HOUR
                if left or (kind == "f32" and number.isdecimal() and not passages.exists(c, int(number))):
                    path.unlink()

    def forget(self, collection: int) -> None:
        """Removes what is kept of a collection that was deleted."""
        self._matrices.pop(collection, None)
        (self._folder / f"{collection}.f32").unlink(missing_ok=True)


def _check(row: CollectionRow, embedding: str | None, vector: Sequence[float]) -> None:
    if embedding is not None and embedding != row.embedding:
        raise FlowError(
            f"the collection {row.name!r} was embedded with {row.embedding!r} and the question with {embedding!r}: use "
            "the same embeddings, or upsert the documents again"
        )
    if len(vector) != row.dimensions:
        raise FlowError(
            f"the collection {row.name!r} has vectors of {row.dimensions} dimensions and the question one of "
            f"{len(vector)}: the embedding model has changed; upsert the documents again"
        )


def _lexical(c: Connection, row: CollectionRow, wanted: Search, where: Condition | None) -> Hits:
    found = full_text.ranked(c, row.ids, quoted_words(wanted.text), where, wanted.k)
    top = max((score for _, score in found), default=0.0)
    # BM25 of a word that most passages hold is about zero, and has no scale of its own anyway.
    return [(number, score / top if top > 0 else 1.0) for number, score in found]


def fused(*rankings: Hits) -> Hits:
    """One ranking of several, by reciprocal ranks."""
    points: dict[int, float] = {}
    for ranking in rankings:
        for rank, (number, _) in enumerate(ranking, 1):
            points[number] = points.get(number, 0.0) + 1 / (FUSION + rank)
    return sorted(points.items(), key=lambda item: (-item[1], item[0]))


def _with_cosines(ranking: Hits, near: Hits, matrix: Matrix, vector: Sequence[float]) -> Hits:
    """The ranking with cosines for scores: those of passages that only their words brought are looked up."""
    known: Mapping[int, float] = dict(near)
    missing = [number for number, _ in ranking if number not in known]
    found = dict(zip(missing, matrix.cosines(missing, vector), strict=True))
    return [(number, known.get(number, found.get(number, 0.0))) for number, _ in ranking]


class CollectionInfo(msgspec.Struct, frozen=True):
    """A collection's content. `mode` is "lexical" when no model made vectors of it: searches then use words alone."""

    name: str
    chunks: int
    mode: str
    embedding: str | None
    dimensions: int | None


def info(c: Connection, name: str) -> CollectionInfo:
    """The content of the collection of this name; an empty one when there is none."""
    row = passages.find_collection(c, name)
    if row is None:
        return CollectionInfo(name, 0, "lexical", None, None)
    mode = "vectors" if row.embedding else "lexical"
    return CollectionInfo(name, passages.count(c, row), mode, row.embedding, row.dimensions)
