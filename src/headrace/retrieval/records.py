"""Records of what was upserted into stores on other servers, so that what is no longer brought can be deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headrace.storage.records import Record

__all__ = ["Record", "Records"]


class Records(Protocol):
    """The records of one vector store. Every method raises StorageError or ProviderError."""

    async def begin(self) -> float:
        """The moment of a new upsert, later than those before."""
        ...

    async def saw(self, moment: float, records: Sequence[Record]) -> None:
        """Records the passages of an upsert; known ones get a new time."""
        ...

    async def sources(self) -> list[str]:
        """The sources of the passages."""
        ...

    async def unseen(self, moment: float, sources: Sequence[str], most: int) -> list[str]:
        """Keys of passages of these sources that no upsert since has brought, at most so many."""
        ...

    async def of_loaders(self, loaders: Sequence[str], most: int) -> list[str]:
        """Keys of passages that loaders of document stores have brought, at most so many."""
        ...

    async def forget(self, keys: Sequence[str]) -> None:
        """Deletes records."""
        ...
