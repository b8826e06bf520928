"""Embedding models over HTTP: texts in batches, some at once, vectors out in the order of the texts."""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from headrace.engine.concurrency import gather_some
from headrace.engine.ports import Http, HttpCall
from headrace.errors import ProviderError, ProviderMalformed
from headrace.providers.answers import whole_answer
from headrace.providers.refusals import failure_inside

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
        data = await self._answer(msgspec.json.encode(self._dialect.body(texts)))
        try:
            vectors = self._dialect.vectors(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, ValueError) as error:
            raise self._refused(data, error) from None
        if len(vectors) != len(texts):
            raise ProviderMalformed(f"{self.name!r} gave {len(vectors)} vectors for {len(texts)} texts")
        return vectors

    async def _answer(self, body: bytes) -> bytes:
        call = HttpCall(self._dialect.url, self._headers, body, self._secret, self._timeout)
        return await whole_answer(self._http, call)

    def _refused(self, data: bytes, error: Exception) -> ProviderError:
        """Some servers answer 200 and an error."""
        if b'"error"' in data[:200]:
            return failure_inside(data, self._secret, status=400)
        return ProviderMalformed(f"{self.name!r} sent what is no list of vectors: {error}")

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
    embedding: str | list[float]
    index: int = 0


class _Items(msgspec.Struct):
    data: list[_Item]


def openai(url: str, headers: Mapping[str, str], options: Mapping[str, Any]) -> Dialect:
    """`options` go into the body as they are. One text goes as a text, as Flowise sends questions."""
    decode = msgspec.json.Decoder(_Items).decode

    def body(texts: Sequence[str]) -> Any:
        return {**options, "input": texts[0] if len(texts) == 1 else texts}

    def vectors(data: bytes) -> list[Vector]:
        items = sorted(decode(data).data, key=lambda item: item.index)  # those without a number keep their order
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
    embeddings: list[list[float]]


def ollama(base: str, headers: Mapping[str, str], model: str, options: Mapping[str, Any]) -> Dialect:
    """`POST /api/embed`."""
    decode = msgspec.json.Decoder(_Ollama).decode
    fixed: Mapping[str, Any] = {"model": model, **({"options": options} if options else {})}
    return Dialect(
        url=f"{base.rstrip('/')}/api/embed",
        headers=headers,
        body=lambda texts: {**fixed, "input": texts},
        vectors=lambda data: [array("f", found) for found in decode(data).embeddings],
    )


class _GoogleItem(msgspec.Struct):
    values: list[float]


class _Google(msgspec.Struct):
    embeddings: list[_GoogleItem]


def google(base: str, headers: Mapping[str, str], model: str, task: str) -> Dialect:
    """`models/{model}:batchEmbedContents`."""
    decode = msgspec.json.Decoder(_Google).decode
    name = model if model.startswith("models/") else f"models/{model}"
    fixed: Mapping[str, Any] = {"model": name, **({"taskType": task} if task else {})}
    return Dialect(
        url=f"{base.rstrip('/')}/v1beta/{name}:batchEmbedContents",
        headers=headers,
        body=lambda texts: {"requests": [{**fixed, "content": {"parts": [{"text": text}]}} for text in texts]},
        vectors=lambda data: [array("f", found.values) for found in decode(data).embeddings],
    )


class _CohereFloats(msgspec.Struct):
    floats: list[list[float]] = msgspec.field(name="float")


class _Cohere(msgspec.Struct):
    embeddings: _CohereFloats


def cohere(base: str, headers: Mapping[str, str], model: str, kind: str) -> Dialect:
    """`POST /v2/embed`; `kind` says what the texts are for."""
    decode = msgspec.json.Decoder(_Cohere).decode
    fixed = {"model": model, "input_type": kind, "embedding_types": ["float"]}
    return Dialect(
        url=f"{base.rstrip('/')}/v2/embed",
        headers=headers,
        body=lambda texts: {**fixed, "texts": texts},
        vectors=lambda data: [array("f", found) for found in decode(data).embeddings.floats],
    )
