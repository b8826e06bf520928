"""Running coroutines in tests, every wait bounded."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
BOUND = 10.0  # seconds that anything may take


def within(work: Coroutine[Any, Any, T], seconds: float = BOUND) -> T:
    """What the coroutine returns, in a loop of its own."""

    async def bounded() -> T:
        async with asyncio.timeout(seconds):
            return await work

    return asyncio.run(bounded())


async def turns(count: int = 5) -> None:
    """Lets every task that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Goes on once the condition holds; `within` bounds it."""
    while not condition():
        await asyncio.sleep(0.001)
