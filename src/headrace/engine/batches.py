"""Batches that can be read one after the other, or handed on as they come."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


class Batches(AsyncGenerator[Sequence[T]]):
    """An iterator of batches whose source can also call whoever wants them: then no task wakes for a batch.

    One of the two ways is used, once.
    """

    def __init__(self, pulled: AsyncGenerator[Sequence[T]]) -> None:
        self._pulled = pulled

    @abstractmethod
    async def push(self, write: Callable[[Sequence[T]], None]) -> None:
        """Calls `write` with each batch, and returns at the end. Raises what the iterator would, and what `write` does.

        Cancelling it closes the source.
        """

    async def asend(self, value: None) -> Sequence[T]:
        """See AsyncGenerator."""
        return await self._pulled.asend(value)

    async def athrow(
        self, typ: Any, val: BaseException | object = None, tb: TracebackType | None = None, /
    ) -> Sequence[T]:
        """See AsyncGenerator."""
        return await self._pulled.athrow(typ, val, tb)

    async def aclose(self) -> None:
        """See AsyncGenerator."""
        await self._pulled.aclose()


async def passed(batches: AsyncGenerator[Sequence[T]], write: Callable[[Sequence[T]], None]) -> None:
    """Calls `write` with every batch, as early as they allow."""
    if isinstance(batches, Batches):
        await batches.push(write)
    else:
        async for batch in batches:
            write(batch)
