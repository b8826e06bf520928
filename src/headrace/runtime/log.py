"""The log in the middle: a run writes its events here, and every reader follows."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple, Protocol

from headrace.errors import RunNotFound
from headrace.events import End, Event, decode, encode


class Entry(NamedTuple):
    """An event in its run's log: its number, counted from 1, and its JSON."""

    seq: int
    data: bytes

    @property
    def event(self) -> Event:
        """The event itself."""
        return decode(self.data)


class EventLog(Protocol):
    """The ordered events of every run, written once, read from anywhere."""

    async def append(self, run: str, events: Sequence[Event]) -> int:
        """Writes events and returns the last number. The first call opens the run, events or not; `End` closes it."""
        ...

    def follow(self, run: str, after: int = 0) -> AsyncGenerator[Sequence[Entry]]:
        """What the log holds after number `after`, then what comes, in batches; ends after `End`.

        An empty batch is a sign of life, given when nothing has happened for a while. Raises RunNotFound at the
        first step for a run that is unknown or has expired.
        """
        ...


class _Run:
    __slots__ = ("closed", "data", "size", "waiting")

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.closed = False
        self.size = 0
        self.waiting: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(None)
        self.waiting.clear()


class MemoryLog:
    """Logs in memory. Ended runs stay readable until all of them together hold more than `keep_bytes`."""

    def __init__(self, keep_bytes: int = 64 * 1024 * 1024) -> None:
        self._keep_bytes = keep_bytes
        self._runs: dict[str, _Run] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._ended_bytes = 0

    async def append(self, run: str, events: Sequence[Event]) -> int:
        """Encodes each event once and wakes the run's readers once."""
        log = self._runs.get(run)
        if log is None:
            log = self._runs[run] = _Run()
        for event in events:
            log.data.append(data := encode(event))
            log.size += len(data)
            log.closed = type(event) is End
        if log.waiting:
            log.wake()
        if log.closed:
            self._forget_oldest(run, log)
        return len(log.data)

    async def follow(self, run: str, after: int = 0) -> AsyncGenerator[Sequence[Entry]]:
        """Keeps a cursor, not a buffer: a slow reader costs no memory."""
        log = self._runs.get(run)
        if log is None:
            raise RunNotFound(f"there is no run {run!r}, or it has expired")
        while True:
            if new := log.data[after:]:
                yield [Entry(seq, data) for seq, data in enumerate(new, after + 1)]
                after += len(new)
            elif log.closed:
                return
            else:
                future = asyncio.get_running_loop().create_future()
                log.waiting.add(future)
                await future
                if len(log.data) <= after and not log.closed:
                    yield ()

    def beat(self) -> None:
        """Gives every waiting reader a sign of life."""
        for log in self._runs.values():
            if not log.closed:
                log.wake()

    def _forget_oldest(self, run: str, log: _Run) -> None:
        # A reader that is still behind keeps its own reference; the run only cannot be found any more.
        self._ended[run] = log.size
        self._ended_bytes += log.size
        while self._ended_bytes > self._keep_bytes and len(self._ended) > 1:
            oldest, size = self._ended.popitem(last=False)
            self._ended_bytes -= size
            del self._runs[oldest]
