"""Embedding models over HTTP: texts in batches, some at once, vectors out in the order of the texts."""

from __future__ import annotations

import base64
import math
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from headrace.engine.concurrency import gather_some
from headrace.engine.ports import Http, HttpCall
from headrace.errors import ProviderMalformed
from headrace.providers.error_mapping import carries_error, failure_inside
from headrace.providers.json_answers import read_answer
from headrace.providers.lenient_json import LenientDecoder
from headrace.surrogates import whole

Vector: TypeAlias = Sequence[float]

_BATCH_TEXT = 200_000
"""Characters in one call: OpenAI takes 300,000 tokens, and no text has more tokens than bytes."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's way to be asked. `body` makes a call's JSON from its texts, `vectors` reads the answer's."""

    url: str
    headers: Mapping[str, str]
    body: Callable[[Sequence[str]], Any]
    vectors: Callable[[bytes], list[Vector]]


class HttpEmbeddings:
    """Implements `headrace.engine.ports.Embeddings` in a provider's dialect."""

    name: str

    def __init__(
        self,
        http: Http,
        name: str,
        dialect: Dialect,
        *,
        secret: str = "",
        batch: int = 512,
        strip_lines: bool = False,
        timeout: float | None = None,
    ) -> None:
        self.name = name
        self._http, self._dialect, self._secret, self._timeout = http, dialect, secret, timeout
        self._batch, self._strip_lines = max(batch, 1), strip_lines
        self._headers = {"Content-Type": "application/json", **dialect.headers}

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """One vector a text. Raises ProviderError."""
        if self._strip_lines:
            texts = [text.replace("\n", " ") for text in texts]
        answers = await gather_some(self._some, _batches(texts, self._batch))
        vectors = [vector for answer in answers for vector in answer]
        self._check(vectors)
        return vectors

    async def _some(self, texts: Sequence[str]) -> list[Vector]:
        body = msgspec.json.encode(self._dialect.body([whole(text) for text in texts]))
        call = HttpCall(self._dialect.url, self._headers, body, self._secret, self._timeout)
        vectors = await read_answer(self._http, call, self._read)
        if len(vectors) != len(texts):
            raise ProviderMalformed(f"{self.name!r} gave {len(vectors)} vectors for {len(texts)} texts")
        return vectors

    def _read(self, data: bytes) -> list[Vector]:
        """The vectors in an answer. Some servers answer 200 and an error."""
        vectors: list[Vector] = []
        wrong = ""
        try:
            vectors = self._dialect.vectors(data)
        except (ValueError, TypeError, OverflowError) as error:
            wrong = str(error)
        if not vectors and carries_error(data):
            raise failure_inside(data, self._secret, status=400)
        if wrong:
            raise ProviderMalformed(f"{self.name!r} sent what is no list of vectors: {wrong}")
        return vectors

    def _check(self, vectors: Sequence[Vector]) -> None:
        lengths = {len(vector) for vector in vectors}
        if len(lengths) > 1 or 0 in lengths:
            raise ProviderMalformed(f"{self.name!r} gave vectors of {sorted(lengths)} dimensions in one answer")
        if not all(math.isfinite(sum(vector)) for vector in vectors):
            raise ProviderMalformed(f"{self.name!r} gave a vector that holds no finite numbers")


def _batches(texts: Sequence[str], most: int) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        length = len(text.encode("utf-8", "replace"))
        if batch and (len(batch) >= most or size + length > _BATCH_TEXT):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += length
    if batch:
        yield batch


# OpenAI, and those who speak its protocol


class _Item(msgspec.Struct):
    embedding: str | list[float] = ""
    index: int = 0


class _Items(msgspec.Struct):
    data: list[_Item] = []
    embeddings: list[list[float]] = []  # of gateways


def openai(url: str, headers: Mapping[str, str], options: Mapping[str, Any]) -> Dialect:
    """`options` go into the body as they are. One text goes as a text, as Flowise sends questions."""
    answers = LenientDecoder(_Items)

    def body(texts: Sequence[str]) -> Any:
        return {**options, "input": texts[0] if len(texts) == 1 else texts}

    def vectors(data: bytes) -> list[Vector]:
        found = answers.read(data)
        if not found.data:
            return [array("f", each) for each in found.embeddings]
        items = sorted(found.data, key=lambda item: item.index)  # those without a number keep their order
        return [_vector(item.embedding) for item in items]

    return Dialect(url=url, headers=headers, body=body, vectors=vectors)


def _vector(value: str | list[float]) -> Vector:
    """Numbers, or base64 of little-endian float32, which is a quarter as long."""
    if isinstance(value, list):
        return array("f", value)
    found = array("f", base64.b64decode(value, validate=True))
    if sys.byteorder == "big":
        found.byteswap()
    return found


# The others


class _Ollama(msgspec.Struct):
    embeddings: list[list[float]] = []
    embedding: list[float] = []  # of its older address, which gateways repeat


def ollama(base: str, headers: Mapping[str, str], model: str, options: Mapping[str, Any]) -> Dialect:
    """`POST /api/embed`."""
    answers = LenientDecoder(_Ollama)
    fixed: Mapping[str, Any] = {"model": model, **({"options": options} if options else {})}

    def vectors(data: bytes) -> list[Vector]:
        found = answers.read(data)
        return [array("f", each) for each in found.embeddings or filter(None, [found.embedding])]

    return Dialect(
        url=f"{base.rstrip('/')}/api/embed",
        headers=headers,
        body=lambda texts: {**fixed, "input": texts},
        vectors=vectors,
    )


class _GoogleItem(msgspec.Struct):
    values: list[float] = []


class _Google(msgspec.Struct):
    embeddings: list[_GoogleItem] = []


def google(base: str, headers: Mapping[str, str], model: str, task: str) -> Dialect:
    """`models/{model}:batchEmbedContents`."""
    answers = LenientDecoder(_Google)
    name = model if model.startswith("models/") else f"models/{model}"
    fixed: Mapping[str, Any] = {"model": name, **({"taskType": task} if task else {})}
    return Dialect(
        url=f"{base.rstrip('/')}/v1beta/{name}:batchEmbedContents",
        headers=headers,
        body=lambda texts: {"requests": [{**fixed, "content": {"parts": [{"text": text}]}} for text in texts]},
        vectors=lambda data: [array("f", found.values) for found in answers.read(data).embeddings],
    )


class _CohereFloats(msgspec.Struct):
    floats: list[list[float]] = msgspec.field(name="float", default_factory=list)


class _Cohere(msgspec.Struct):
    embeddings: _CohereFloats | list[list[float]] = []  # a list in its first version, which gateways speak


def cohere(base: str, headers: Mapping[str, str], model: str, kind: str) -> Dialect:
    """`POST /v2/embed`; `kind` says what the texts are for."""
    answers = LenientDecoder(_Cohere)
    fixed = {"model": model, "input_type": kind, "embedding_types": ["float"]}

    def vectors(data: bytes) -> list[Vector]:
        found = answers.read(data).embeddings
        return [array("f", each) for each in (found if isinstance(found, list) else found.floats)]

    return Dialect(
        url=f"{base.rstrip('/')}/v2/embed",
        headers=headers,
        body=lambda texts: {**fixed, "texts": texts},
        vectors=vectors,
    )
