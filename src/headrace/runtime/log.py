"""The log in the middle: a run writes its events here, and every reader follows."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from time import monotonic, time
from typing import NamedTuple, Protocol

import msgspec
from sqlalchemy import Connection

from headrace.errors import Conflict, RunNotFound
from headrace.events import Abort, End, Error, Event, Metadata, Token, decode, encode
from headrace.schema import RunInfo
from headrace.storage.storage import timestamp


class Entry(NamedTuple):
    """An event in its run's log: its number, counted from 1, and its JSON."""

    seq: int
    data: bytes

    @property
    def event(self) -> Event:
        """The event itself."""
        return decode(self.data)


class Retention(msgspec.Struct, frozen=True):
    """Limits on keeping single events: `hours`, and `bytes` of all together. Beyond them only the text is kept."""

    hours: float = 24.0
    bytes: int = 1024 * 1024 * 1024


class EventLog(Protocol):
    """The ordered events of every run, written once, read from anywhere."""

    async def open(self, info: RunInfo) -> None:
        """Makes the run known: from here on it can be followed. Raises Conflict for a run that is open already."""
        ...

    async def commit_with(self, run: str, work: Callable[[Connection], None]) -> bool:
        """Stores what the run has said, and does the work in the same transaction: both or none.

        The work is part of every commit of the run's events from the call on, before anything is awaited. False where
        events are not in the database, and nothing was done. Raises StorageError; all of it comes with a later commit
        then, unless other work takes its place.
        """
        ...

    def append(self, run: str, events: Sequence[Event]) -> int:
        """Writes events and returns the last number. `End` closes the run. Waits for nothing.

        Raises RunNotFound, and Conflict for a run that is closed. A run that another process has closed, since this
        one seemed gone, takes no more events either; that may be known only a moment later.
        """
        ...

    def follow(self, run: str, after: int = 0) -> AsyncGenerator[Sequence[Entry]]:
        """The events after number `after`, stored ones and then new ones, in batches; ends after `End`.

        An empty batch is a sign of life, given when nothing has happened for a while. Raises RunNotFound at the
        first step for a run that is unknown or has expired.
        """
        ...

    async def info(self, run: str) -> RunInfo:
        """The run's state. Raises RunNotFound."""
        ...

    async def times(self, run: str, first: int, last: int) -> dict[int, int]:
        """The times of the events `first` to `last`, by number: milliseconds after the run was opened.

        Those of which it is not known are missing.
        """
        ...

    def tail(self, run: str) -> Tail | None:
        """The run's newest events, if it goes on in this process."""
        ...

    def beat(self) -> None:
        """Gives every waiting reader a sign of life."""
        ...

    async def keep_committing(self) -> None:
        """Makes what is appended last, until `close`; returns when everything does."""
        ...

    def close(self) -> None:
        """Lets `keep_committing` end. Nothing may be appended after that."""
        ...

    async def tidy(self, retention: Retention) -> None:
        """Keeps of runs that ended before the retention only what it promises: their whole text, or nothing."""
        ...


async def ended(log: EventLog, run: str, after: int = 0) -> None:
    """Waits for the end of a run. Raises RunNotFound."""
    async with aclosing(log.follow(run, after)) as batches:
        async for _ in batches:
            pass


class Behind(Exception):
    """A reader wants events that are not in memory any more."""


class Tail:
    """The newest events of a run, in memory. `base` is how many older ones are not."""

    __slots__ = ("_began", "base", "data", "info", "shown", "size", "times", "waiting", "watchers")

    def __init__(self, info: RunInfo) -> None:
        self.info = info
        self.base = 0
        self.shown: int | None = None
        """The last event that readers may have; None for all. Of a run that survives a crash these are the stored."""
        self.data: list[bytes] = []
        self.times = array("I")
        """When each event in `data` was written, in milliseconds after the run was opened."""
        self.size = 0
        self._began = monotonic()
        self.waiting: set[asyncio.Future[None]] = set()
        self.watchers: list[Callable[[], None]] = []
        """Called when there is something new, or nothing for a while. They raise nothing."""

    @classmethod
    def after(cls, info: RunInfo) -> Tail:
        """The tail of a run that goes on after what is stored of it, which is what its readers have."""
        tail = cls(info)
        tail.base = tail.shown = info.lastSeq
        tail._began -= max(0.0, time() - datetime.fromisoformat(info.createdDate).timestamp())
        return tail

    @property
    def ended(self) -> bool:
        """True once the last event is there."""
        return self.info.endedDate is not None

    @property
    def closed(self) -> bool:
        """True once readers may have the last event."""
        return self.ended and self.shown in (None, self.info.lastSeq)

    def add(self, events: Sequence[Event]) -> int:
        """Encodes each event once and calls every reader once."""
        new = [encode(event) for event in events]  # all or none
        self.data += new
        self.times.extend([int((monotonic() - self._began) * 1000)] * len(new))
        self.size += sum(map(len, new))
        for event in events:
            if type(event) is not Token:
                self._note(event)
        self.info.lastSeq = self.base + len(self.data)
        if new and self.shown is None:  # nothing new would be taken for a sign of life
            self.wake()
        return self.info.lastSeq

    def _note(self, event: Event) -> None:
        match event:
            case Metadata():
                self.info.usage = event.data.usage
            case Error():
                self.info.state, self.info.error, self.info.code = "failed", event.data, event.code
            case Abort():
                self.info.state, self.info.usage = "cancelled", event.usage
            case End():
                self.info.endedDate = timestamp()
                if self.info.state == "running":
                    self.info.state = "finished"
            case _:
                pass

    def since(self, after: int) -> list[bytes]:
        """The events after number `after` that readers may have. Raises Behind when some are gone from memory."""
        if after < self.base:
            raise Behind
        return self.data[after - self.base : None if self.shown is None else max(after, self.shown) - self.base]

    def every_since(self, after: int) -> list[bytes]:
        """The events after number `after`, which are in memory."""
        return self.data[after - self.base :]

    def show(self, upto: int) -> None:
        """Lets readers have the events up to this number, where they may not have all."""
        if self.shown is not None:
            self.shown = upto
            self.wake()

    def trim(self, upto: int) -> None:
        """Forgets the events up to this number."""
        if upto > self.base:
            gone = self.data[: upto - self.base]
            self.size -= sum(map(len, gone))
            del self.data[: len(gone)]
            del self.times[: len(gone)]
            self.base += len(gone)

    def leave(self) -> None:
        """Sends every reader elsewhere: the run does not go on here."""
        self.base = self.info.lastSeq + 1
        self.data.clear()
        del self.times[:]
        self.size = 0
        self.wake()

    def wake(self) -> None:
        """Lets every waiting reader look again."""
        for future in self.waiting:
            if not future.done():
                future.set_result(None)
        self.waiting.clear()
        for watcher in self.watchers.copy():
            watcher()

    async def left(self) -> None:
        """Waits until the run has ended, or goes on elsewhere."""
        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look() -> None:
            if not left.done() and (self.closed or self.base > self.info.lastSeq):
                left.set_result(None)

        self.watchers.append(look)
        try:
            look()
            await left
        finally:
            self.watchers.remove(look)

    async def follow(self, after: int) -> AsyncGenerator[Sequence[Entry]]:
        """See `EventLog.follow`. Keeps a cursor, not a buffer. Raises Behind when memory has left the reader behind."""
        while True:
            if new := self.since(after):
                yield [Entry(seq, data) for seq, data in enumerate(new, after + 1)]
                after += len(new)
            elif self.closed:
                return
            else:
                future = asyncio.get_running_loop().create_future()
                self.waiting.add(future)
                await future
                if not self.since(after) and not self.closed:
                    yield ()


class MemoryLog:
    """Logs in memory only. Ended runs stay readable until all of them together hold more than `keep_bytes`."""

    def __init__(self, keep_bytes: float = 64 * 1024 * 1024) -> None:
        self.tails: dict[str, Tail] = {}
        self._keep_bytes = keep_bytes
        self._ended: dict[str, int] = {}
        self._ended_bytes = 0
        self._closed = asyncio.Event()

    async def open(self, info: RunInfo) -> None:
        """Makes the run known."""
        if info.id in self.tails:
            raise Conflict(f"run {info.id!r} is open already")
        self.tails[info.id] = Tail(info)

    def append(self, run: str, events: Sequence[Event]) -> int:
        """Writes events and returns the last number."""
        tail = self.tails.get(run)
        if tail is None:
            raise _unknown(run)
        if tail.ended:
            raise Conflict(f"run {run!r} has ended")
        last = tail.add(events)
        if tail.closed:
            self._forget_oldest(run, tail)
        return last

    async def commit_with(self, run: str, work: Callable[[Connection], None]) -> bool:
        """Does nothing: events are in memory."""
        return False

    async def follow(self, run: str, after: int = 0) -> AsyncGenerator[Sequence[Entry]]:
        """The events after number `after`."""
        tail = self.tails.get(run)
        if tail is None:
            raise _unknown(run)
        async for entries in tail.follow(after):
            yield entries

    async def info(self, run: str) -> RunInfo:
        """The run's state. Raises RunNotFound."""
        if tail := self.tails.get(run):
            return tail.info
        raise _unknown(run)

    async def times(self, run: str, first: int, last: int) -> dict[int, int]:
        """The times at which these events were written."""
        tail = self.tails.get(run)
        return dict(enumerate(tail.times[first - 1 : last], first)) if tail else {}

    def tail(self, run: str) -> Tail | None:
        """The run's newest events, if it goes on."""
        tail = self.tails.get(run)
        return None if tail is None or tail.ended else tail

    def beat(self) -> None:
        """Gives every waiting reader a sign of life."""
        for tail in self.tails.values():
            if not tail.closed:
                tail.wake()

    async def keep_committing(self) -> None:
        """Waits for `close`: nothing lasts longer than the process."""
        await self._closed.wait()

    def close(self) -> None:
        """Lets `keep_committing` end."""
        self._closed.set()

    async def tidy(self, retention: Retention) -> None:
        """Forgets runs that ended before the retention, and the oldest beyond its bytes."""
        before = timestamp(max(0.0, time() - retention.hours * 3600))
        for run in [run for run in self._ended if (self.tails[run].info.endedDate or "") < before]:
            self.drop(run)
        self._forget_beyond(retention.bytes)

    def drop(self, run: str) -> None:
        """Forgets an ended run."""
        self.tails.pop(run, None)
        self._ended_bytes -= self._ended.pop(run, 0)

    def _forget_oldest(self, run: str, tail: Tail) -> None:
        # A reader that is still behind keeps its own reference; the run only cannot be found any more.
        self._ended[run] = tail.size
        self._ended_bytes += tail.size
        self._forget_beyond(self._keep_bytes)

    def _forget_beyond(self, size: float) -> None:
        while self._ended_bytes > size and len(self._ended) > 1:
            self.drop(next(iter(self._ended)))


def _unknown(run: str) -> RunNotFound:
    return RunNotFound(f"there is no run {run!r}, or it has expired")
