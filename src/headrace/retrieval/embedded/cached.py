"""Embeddings that are paid for once: vectors are kept in the database by the hash of model and text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from headrace.engine.ports import Embeddings
from headrace.retrieval.embedded import passages
from headrace.retrieval.embedded.vector_bytes import packed, unpacked
from headrace.storage.database import Database

_KEPT = 256 * 1024 * 1024  # bytes of vectors


class CachedEmbeddings:
    """Implements `headrace.engine.ports.Embeddings` around another one."""

    name: str

    def __init__(self, inner: Embeddings, database: Database, kept: int = _KEPT) -> None:
        self.name = inner.name
        self._inner, self._database, self._kept = inner, database, kept

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector a text; the model makes those that are not kept, each once. Raises ProviderError."""
        keys = [self._key(text) for text in texts]
        kept = await self._database.scan(lambda c: passages.cached_vectors(c, keys))
        found = {key: unpacked(vector) for key, vector in kept.items()}
        given = dict(zip(keys, texts, strict=True))
        found |= await self._made({key: text for key, text in given.items() if key not in found})
        if len({len(vector) for vector in found.values()}) > 1:  # the model behind the name is another one now
            found = await self._made(given)
        return [found[key] for key in keys]

    async def anew(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """The same, with what is kept of these texts made anew. Raises ProviderError."""
        keys = [self._key(text) for text in texts]
        found = await self._made(dict(zip(keys, texts, strict=True)))
        return [found[key] for key in keys]

    async def _made(self, texts: dict[bytes, str]) -> dict[bytes, Sequence[float]]:
        if not texts:
            return {}
        made = dict(zip(texts, await self._inner.embed(list(texts.values())), strict=True))
        rows = [(key, packed(vector)) for key, vector in made.items()]
        await self._database.write(lambda c: passages.cache_vectors(c, rows, self._kept))
        return made

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self.name}\0{text}".encode()).digest()


async def fitting(model: Embeddings, texts: Sequence[str], dimensions: int | None) -> Sequence[Sequence[float]]:
    """One vector a text. Kept ones of another length than wanted are made anew: the model was another one then."""
    found = await model.embed(texts)
    if dimensions and isinstance(model, CachedEmbeddings) and any(len(vector) != dimensions for vector in found):
        return await model.anew(texts)
    return found
