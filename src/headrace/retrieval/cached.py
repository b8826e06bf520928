"""Embeddings that are paid for once: vectors are kept in the database by the hash of model and text."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Sequence

from headrace.engine.ports import Embeddings
from headrace.retrieval.upsert import packed
from headrace.store import passages
from headrace.store.database import Database

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
        found = {key: _unpacked(vector) for key, vector in kept.items()}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            made = await self._inner.embed(list(missing.values()))
            found |= dict(zip(missing, made, strict=True))
            rows = [(key, packed(vector)) for key, vector in zip(missing, made, strict=True)]
            await self._database.write(lambda c: passages.cache_vectors(c, rows, self._kept))
        return [found[key] for key in keys]

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self.name}\0{text}".encode()).digest()


def _unpacked(data: bytes) -> Sequence[float]:
    floats = array("f", data)
    if sys.byteorder == "big":
        floats.byteswap()
    return floats
