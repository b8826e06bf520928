"""Waiting in tests, every wait bounded but the one for other processes of the same tests."""

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
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


async def left(work: Coroutine[Any, Any, Any], running: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Leaves the work once it runs, and waits until it does not run any more; `within` bounds it."""
    task = asyncio.ensure_future(work)
    while not await running():
        pass
    task.cancel()
    await asyncio.wait([task])
    while await running():
        pass


def eventually(condition: Callable[[], T | None], seconds: float = 20, every: float = 0.001) -> T:
    """What the condition gives once it gives something; looked at after so many seconds again."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come true within {seconds:g} s")
        pause.wait(every)
    return found


@contextmanager
def alone(folder: Path) -> Generator[None]:
    """Only one process of the tests at a time is in such a block for the same folder, such as to install into it."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
