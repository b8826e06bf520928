"""Runs one piece of work on many items, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from headrace.errors import HeadraceError

_T = TypeVar("_T")
_R = TypeVar("_R")
_AT_ONCE = 4


async def gather_some(work: Callable[[_T], Awaitable[_R]], items: Iterable[_T]) -> list[_R]:
    """The results of the work on each item, in order. The first HeadraceError ends the others and is raised."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(item: _T) -> _R:
        async with slots:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except* HeadraceError as errors:
        raise first(errors) from None
    return [task.result() for task in tasks]


def first(error: BaseException) -> BaseException:
    """The first error of a group, or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
