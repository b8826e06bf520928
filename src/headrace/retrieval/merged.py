"""Several collections searched as one."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.engine.ports import Scored, Search
from headrace.events import Document
from headrace.retrieval.embedded.collection import Collection


class MergedCollections:
    """Implements `headrace.engine.ports.VectorStore`: what is added goes into the first one."""

    def __init__(self, *collections: Collection) -> None:
        self._collections = collections

    async def add(self, documents: Sequence[Document]) -> int:
        """Stores passages and says how many are new."""
        return await self._collections[0].add(documents)

    async def search(self, search: Search) -> list[Scored]:
        """The best hits of all."""
        hits = [hit for one in self._collections for hit in await one.search(search)]
        return sorted(hits, key=lambda hit: -hit.score)[: search.k]

    async def delete(self, ids: Sequence[str]) -> int:
        """Deletes passages and says how many."""
        return sum([await one.delete(ids) for one in self._collections])
