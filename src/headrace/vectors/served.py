"""Shared parts of stores on other servers: ids by content, vectors of both sides, MMR, errors that name the store.

An id is made of text and metadata, so what is stored already is neither embedded nor stored again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from headrace.engine.ports import Embeddings, Http, HttpCall, Scored, Search
from headrace.errors import FlowError, ProviderError
from headrace.events import Document
from headrace.providers.json_answers import json_answer
from headrace.retrieval.embedded.collection import content_hash

_T = TypeVar("_T")
Method: TypeAlias = Literal["POST", "GET", "PUT", "DELETE"]
_PATIENCE = 120.0  # seconds for one answer
_AT_ONCE = 256
_NUMBERS = 60_000
"""Numbers in one request that stores vectors: Pinecone takes 2 MB, and a number has up to 20 bytes."""


class Point(msgspec.Struct, frozen=True):
    """A passage to store."""

    id: str
    document: Document
    vector: Sequence[float]


class Near(msgspec.Struct, frozen=True):
    """A search. `vectors` asks for the hits' own vectors too."""

    vector: Sequence[float]
    k: int
    filters: Sequence[Mapping[str, Any]]
    """All of them must hold."""
    vectors: bool


class Hit(msgspec.Struct, frozen=True):
    """A search hit. `score` is the cosine where the store measures by it."""

    document: Document
    score: float
    vector: Sequence[float] = ()


class ServedStore(ABC):
    """Implements `headrace.engine.ports.VectorStore`; a store says how in the four methods at the end."""

    def __init__(
        self, name: str, embeddings: Embeddings, *, k: int = 4, condition: Mapping[str, Any] | None = None
    ) -> None:
        """`name` is what errors call the store. `k` holds for searches that name none, `condition` for all of them."""
        self.name, self.k = name, k
        self._embeddings, self._condition = embeddings, condition or {}

    async def add(self, documents: Sequence[Document]) -> int:
        """Stores passages and says how many are new. Raises ProviderError; the batches before stay stored."""
        return len(await self.add_new(documents))

    async def add_new(self, documents: Sequence[Document]) -> list[Document]:
        """The same, and gives those that are new."""
        given = {point_id(document): document for document in documents}
        added: list[Document] = []
        for ids in _batches(given, _AT_ONCE):
            with self._step("read"):
                known = await self._known(ids)
            fresh = {key: given[key] for key in ids if key not in known}
            await self._store(fresh)
            added += fresh.values()
        return added

    async def _store(self, fresh: Mapping[str, Document]) -> None:
        if not fresh:
            return
        vectors = await self._embeddings.embed([document.pageContent for document in fresh.values()])
        points = [Point(key, fresh[key], vector) for key, vector in zip(fresh, vectors, strict=True)]
        for batch in _batches(points, max(1, _NUMBERS // len(vectors[0]))):
            with self._step(f"given vectors of {len(vectors[0])} dimensions"):
                await self._put(batch)

    async def search(self, search: Search) -> list[Scored]:
        """The best hits, best first. Raises FlowError and ProviderError."""
        if search.mode not in ("similarity", "mmr"):
            raise FlowError(f"{self.name} is searched by vectors only: choose 'similarity' or 'mmr'")
        if search.k < 1:
            return []
        vector = search.vector
        if vector is None:
            (vector,) = await self._embeddings.embed([search.text])
        apart = search.mode == "mmr"
        most = max(search.fetch, search.k) if apart else search.k
        with self._step(f"searched with a vector of {len(vector)} dimensions"):
            hits = await self._near(Near(vector, most, self._filters(search), apart))
        if apart:
            hits = _apart(hits, vector, search)
        return [
            Scored(hit.document, hit.score) for hit in hits if search.threshold is None or hit.score >= search.threshold
        ]

    def _filters(self, search: Search) -> list[Mapping[str, Any]]:
        """The store's own condition and those of the search: none takes the place of another."""
        return [one for one in (self._condition, search.filter, *search.narrower) if one]

    async def delete(self, ids: Sequence[str]) -> int:
        """Deletes passages and says how many. Raises ProviderError."""
        total = 0
        for batch in _batches(dict.fromkeys(ids), _AT_ONCE):
            with self._step("read"):
                known = sorted(await self._known(batch))
            if known:
                with self._step("deleted from"):
                    await self._remove(known)
            total += len(known)
        return total

    @contextmanager
    def _step(self, what: str) -> Generator[None]:
        """Says in errors which store it was, and in which step."""
        try:
            yield
        except ProviderError as error:
            told = type(error)(f"{self.name} could not be {what}: {error}")
            told.retry_after = error.retry_after
            raise told from None

    @abstractmethod
    async def _known(self, ids: Sequence[str]) -> set[str]:
        """Which of the ids are stored; none when there is no collection yet. Raises ProviderError."""

    @abstractmethod
    async def _put(self, points: Sequence[Point]) -> None:
        """Stores passages, in place of those with the same ids. Raises ProviderError."""

    @abstractmethod
    async def _near(self, wanted: Near) -> list[Hit]:
        """The nearest passages, nearest first. Raises FlowError for the filter, ProviderError."""

    @abstractmethod
    async def _remove(self, ids: Sequence[str]) -> None:
        """Deletes passages. Raises ProviderError."""


class Site(msgspec.Struct, frozen=True):
    """A server that speaks JSON over HTTP, and the headers that say who calls."""

    http: Http
    base: str
    headers: Mapping[str, str]
    secret: str
    whom: str

    async def ask(self, method: Method, path: str, body: Any = None, kind: type[_T] = dict) -> _T:
        """The answer. `body` is JSON, or bytes as they are. Raises ProviderError."""
        content = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json", **self.headers}
        call = HttpCall(f"{self.base}{path}", headers, content, self.secret, _PATIENCE, method, self.whom)
        return await json_answer(self.http, call, kind)


def every(filters: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Several conditions as one, in the words of Pinecone and Chroma."""
    return filters[0] if len(filters) == 1 else {"$and": list(filters)}


def point_id(document: Document) -> str:
    """The passage's id: of its text and metadata, in the form that every store takes."""
    return str(UUID(content_hash(document)[:32]))


def flat(metadata: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str | int | float | bool | list[str]]]:
    """Metadata for stores that hold no objects: `{"loc": {"page": 1}}` is `loc.page`; null is left out."""
    for key, value in metadata.items():
        match value:
            case None:
                pass
            case dict():
                yield from flat(value, f"{within}{key}.")
            case str() | int() | float():
                yield within + key, value
            case list() if value and all(isinstance(item, str) for item in value):
                yield within + key, value
            case _:
                yield within + key, msgspec.json.encode(value).decode()


def _batches(items: Iterable[_T], most: int) -> Iterator[list[_T]]:
    left = iter(items)
    while batch := list(islice(left, most)):
        yield batch


def _apart(hits: Sequence[Hit], vector: Sequence[float], search: Search) -> list[Hit]:
    """Hits that are like the question and unlike each other; without vectors of the hits, the nearest."""
    import numpy as np

    from headrace.retrieval.embedded.matrix import spread, unit

    usable = [hit for hit in hits if len(hit.vector) == len(vector)]
    if not usable:
        return list(hits[: search.k])
    rows = unit(np.asarray([hit.vector for hit in usable], np.float32))
    (asked,) = unit(np.asarray([vector], np.float32))
    return [usable[place] for place in spread(rows, (rows @ asked).tolist(), search.k, search.diversity)]
