"""The log that survives: memory for what is going on, the database for what has been, one writer, group commits.

Nothing on the hot path waits for the database. Every `commit_interval` seconds all new events of all runs go into it in
one transaction; a process that is killed loses at most what came since.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from math import inf
from time import monotonic, time
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from headrace.errors import RunNotFound
from headrace.events import Event
from headrace.runtime.log import Behind, Entry, MemoryLog, Retention, Tail
from headrace.schema import RunInfo
from headrace.storage import journal
from headrace.storage.database import Database
from headrace.storage.presence import Presence
from headrace.storage.storage import timestamp

_logger = logging.getLogger("headrace.log")
_HOT_BYTES = 256 * 1024  # of a run in progress stay in memory; a reader that is further behind reads the database
_PATIENCE = 1.0  # seconds that another process gets to make known a run that it has begun
_READS = 4  # of the database at once: what has been read waits in memory until its reader takes it
_LOOK = 0.02  # seconds between looks for such a run
_SHORT_PAUSE, _LONG_PAUSE = 0.5, 5.0  # seconds between attempts while the database takes nothing


class _Group(NamedTuple):
    new: list[RunInfo]
    pieces: list[journal.Piece]
    ended: list[tuple[RunInfo, int]]
    beside: dict[str, Callable[[Connection], None]]

    @property
    def runs(self) -> set[str]:
        return {piece.run for piece in self.pieces} | {info.id for info, _ in self.ended} | self.beside.keys()


class DurableLog:
    """Implements `headrace.runtime.log.EventLog` for all processes on a data folder."""

    def __init__(self, database: Database, presence: Presence, *, commit_interval: float = 0.05) -> None:
        self.memory = MemoryLog(keep_bytes=inf)  # an ended run leaves it once it is stored, not before
        self._database, self._presence, self._interval = database, presence, commit_interval
        self._new: dict[str, RunInfo] = {}
        self._changed: set[str] = set()
        self._stored: dict[str, int] = {}  # number of the last stored event, of runs in memory
        self._bytes: dict[str, int] = {}
        self._beside: dict[str, Callable[[Connection], None]] = {}  # to be done with the next commit of the run
        self._committing = asyncio.Lock()
        self._bell = asyncio.Event()
        self._looking: set[asyncio.Future[bool]] = set()
        self._sights = 0
        self._reads = asyncio.Semaphore(_READS)
        self._closing = False
        self.lost: Callable[[str], None] = lambda _: None
        """Told of each run of this process that another one has taken over."""

    # Writing

    async def open(self, info: RunInfo, *, survives: bool = False) -> None:
        """Makes the run known here at once, and to other processes with the next commit.

        Of a run that survives its process, readers have only what is stored.
        """
        await self.memory.open(info)
        if survives:
            self.memory.tails[info.id].shown = 0
        self._stored[info.id], self._bytes[info.id] = 0, 0
        self._new[info.id] = info
        self._changed.add(info.id)
        self._bell.set()

    def adopt(self, info: RunInfo, size: int) -> None:
        """Goes on with a run of another process, after what is stored of it: so many bytes."""
        self.memory.tails[info.id] = Tail.after(info)
        self._stored[info.id], self._bytes[info.id] = info.lastSeq, size

    def append(self, run: str, events: Sequence[Event]) -> int:
        """Writes events to memory; the next commit takes them from there."""
        last = self.memory.append(run, events)
        self._changed.add(run)
        self._bell.set()
        return last

    async def keep_committing(self) -> None:
        """Commits whenever there is something, at most once an interval, until `close`; then once more."""
        pause = _SHORT_PAUSE
        while not self._closing:
            await self._bell.wait()
            self._bell.clear()
            try:
                await self.commit()
            except Exception as error:  # events must go on into the database once it takes them again
                _logger.error("events wait in memory, trying again in %.1f s: %s", pause, error)
                if self._closing:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONG_PAUSE)
                self._bell.set()
            else:
                pause = _SHORT_PAUSE
            await asyncio.sleep(self._interval)
        await self.commit()

    def close(self) -> None:
        """Lets `keep_committing` end. Nothing may be written after that."""
        self._closing = True
        self._bell.set()

    async def commit_with(self, run: str, work: Callable[[Connection], None]) -> bool:
        """See EventLog."""
        self._beside[run] = work
        self._changed.add(run)
        self._bell.set()
        await self.commit()
        return True

    async def commit(self) -> None:
        """Stores everything that has come. Raises StorageError; then everything waits for the next time."""
        async with self._committing:
            await self._commit()

    async def _commit(self) -> None:
        changed, self._changed = self._changed, set()
        beside, self._beside = self._beside, {}
        group = self._group(changed, beside)
        if not any(group):
            return
        try:
            lost = await self._database.write(lambda c: self._write(c, group), alone=False)
        except BaseException:
            self._changed |= changed
            self._beside = beside | self._beside
            raise
        self._settle(group)
        for run in lost:
            self.give_up(run)

    def _group(self, changed: set[str], beside: dict[str, Callable[[Connection], None]]) -> _Group:
        # Copies: the writer may get to them when the run has gone on to events that this group does not hold.
        new = [msgspec.structs.replace(info) for run, info in self._new.items() if run in changed]
        group = _Group(new, [], [], beside)
        for run in changed & self.memory.tails.keys():
            tail = self.memory.tails[run]
            if data := tail.every_since(self._stored[run]):
                times = tail.times[self._stored[run] - tail.base :]
                group.pieces.append(journal.pieces_of(run, self._stored[run] + 1, data, times))
            if tail.ended:
                group.ended.append((tail.info, self._bytes[run] + sum(map(len, data))))
        return group

    def _write(self, c: Connection, group: _Group) -> set[str]:
        """Stores the group, but nothing of runs that another process has taken over, which it names."""
        if group.new:
            journal.add_runs(c, group.new, self._presence.id)
        # Whoever takes runs over retires this process before, and cannot do so during this transaction.
        lost = set[str]() if self._presence.seen(c) else journal.lost_runs(c, self._presence.id, list(group.runs))
        if pieces := [piece for piece in group.pieces if piece.run not in lost]:
            journal.add_pieces(c, pieces)
        if ended := [(info, size) for info, size in group.ended if info.id not in lost]:
            journal.end_runs(c, ended)
        for run, work in group.beside.items():
            if run not in lost:
                work(c)
                journal.step_done(c, run)
        return lost

    def give_up(self, run: str) -> None:
        """Leaves a run to the process that has closed it: its readers here go on in the database."""
        if tail := self.memory.tails.pop(run, None):
            tail.leave()
        for kept in (self._stored, self._bytes):
            kept.pop(run, None)
        self._changed.discard(run)
        self.lost(run)

    def _settle(self, group: _Group) -> None:
        for info in group.new:
            self._new.pop(info.id, None)
        for piece in group.pieces:
            self._stored[piece.run] = piece.first + piece.events - 1
            self._bytes[piece.run] += len(piece.data)
            tail = self.memory.tails[piece.run]
            tail.show(self._stored[piece.run])
            if tail.size > _HOT_BYTES:
                tail.trim(self._stored[piece.run])
        for info, _ in group.ended:
            self.memory.drop(info.id)
            for kept in (self._stored, self._bytes):
                kept.pop(info.id, None)

    # Reading

    async def follow(self, run: str, after: int = 0) -> AsyncGenerator[Sequence[Entry]]:
        """Yields events from memory, or from the database where memory lacks them, for runs of any process."""
        while True:
            tail = self.memory.tails.get(run)
            if tail is not None and after >= tail.base:
                try:
                    async with aclosing(tail.follow(after)) as batches:
                        async for entries in batches:
                            yield entries
                            after = entries[-1].seq if entries else after
                except Behind:
                    continue
                return
            sights = self._sights
            async with self._reads:
                stored = await self._database.read(lambda c: journal.events_after(c, run, after))  # noqa: B023 read at once
            if stored:
                after = stored[-1][0]
                yield _entries(stored)
            elif tail is None:
                info = await self.info(run)
                if info.endedDate is not None and info.lastSeq <= after:
                    return
                if info.endedDate is None and not await self._look(sights):
                    yield ()

    async def times(self, run: str, first: int, last: int) -> dict[int, int]:
        """The times of the events `first` to `last`, by number: milliseconds after the run was opened.

        Those of which it is not known are missing.
        """
        tail = self.memory.tails.get(run)
        if tail is not None and first > tail.base:
            return dict(enumerate(tail.times[first - 1 - tail.base : last - tail.base], first))
        return await self._database.read(lambda c: journal.times_between(c, run, first, last))

    async def info(self, run: str) -> RunInfo:
        """The run's state. Raises RunNotFound."""
        if tail := self.memory.tails.get(run):
            return tail.info
        # Another process may have handed the id out before its next commit.
        deadline = monotonic() + (0 if self._presence.alone else _PATIENCE)
        while (info := await self._database.read(lambda c: journal.info_of(c, run))) is None:
            if monotonic() > deadline:
                raise RunNotFound(f"there is no run {run!r}, or it has expired")
            await asyncio.sleep(_LOOK)
        return info

    def tail(self, run: str) -> Tail | None:
        """The run's newest events, if it goes on in this process."""
        tail = self.memory.tails.get(run)
        return None if tail is None or tail.ended else tail

    def beat(self) -> None:
        """Gives every waiting reader a sign of life."""
        self.memory.beat()
        self._wake(changed=False)

    async def _look(self, sights: int) -> bool:
        """Waits until some process has written something since that sight (True), or for a sign of life (False)."""
        if self._sights != sights:
            return True
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._looking.add(future)
        return await future

    def _wake(self, *, changed: bool) -> None:
        self._sights += changed
        looking, self._looking = self._looking, set()
        for future in looking:
            if not future.done():
                future.set_result(changed)

    def look(self) -> None:
        """Lets readers of other processes' runs look again: something has been written."""
        self._wake(changed=True)

    async def tidy(self, retention: Retention) -> None:
        """Makes one text of old runs' tokens."""
        before = timestamp(max(0.0, time() - retention.hours * 3600))
        for run in await self._database.scan(lambda c: journal.compactable(c, before, retention.bytes)):
            await self._database.write(lambda c, run=run: journal.compact(c, run))


def _entries(stored: list[tuple[int, bytes]]) -> list[Entry]:
    """Events for a reader, which are his alone: the list is emptied."""
    entries = [Entry(seq, data) for seq, data in stored]
    stored.clear()
    return entries
