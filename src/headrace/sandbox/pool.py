"""Child processes that are kept warm: one is taken, used, and put back unless it is spent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar


class Process(Protocol):
    """A child process as a pool sees it."""

    @property
    def spent(self) -> bool:
        """True when it must not be used again."""
        ...

    def kill(self) -> None:
        """Ends it at once."""
        ...

    async def gone(self) -> None:
        """Waits for its end."""
        ...


_P = TypeVar("_P", bound=Process)


class Pool(Generic[_P]):
    """Belongs to one event loop."""

    def __init__(self, start: Callable[[], Awaitable[_P]], most: int, idle: float) -> None:
        """At most so many processes at once; one that was not used for `idle` seconds ends."""
        self._start, self._seconds = start, idle
        self._places = asyncio.Semaphore(most)
        self._idle: dict[_P, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.processes: set[_P] = set()
        """Those that are there, busy or idle."""

    @asynccontextmanager
    async def taken(self) -> AsyncGenerator[_P]:
        """A process for one use. It is ended afterwards if it is spent, also when this is cancelled."""
        async with self._places:
            process = await self._process()
            try:
                yield process
            finally:
                self._put_back(process)

    async def close(self) -> None:
        """Ends all processes."""
        for process in list(self.processes):
            self._end(process)
        await asyncio.gather(*self._ending)

    async def _process(self) -> _P:
        while self._idle:
            process, timer = self._idle.popitem()
            timer.cancel()
            if not process.spent:
                return process
            self._end(process)
        process = await self._start()
        self.processes.add(process)
        return process

    def _put_back(self, process: _P) -> None:
        if process.spent or process not in self.processes:
            self._end(process)
        else:
            self._idle[process] = asyncio.get_running_loop().call_later(self._seconds, self._end, process)

    def _end(self, process: _P) -> None:
        """Kills a process; that it is gone is waited for beside, at the latest by `close`."""
        timer = self._idle.pop(process, None)
        if timer:
            timer.cancel()
        if process in self.processes:
            self.processes.remove(process)
            process.kill()
            task = asyncio.create_task(process.gone(), name="the end of a child process")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
