"""Every kind of event log, opened for a test, and what readers of it get."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Protocol, TypeAlias

from places import place_of
from sqlalchemy import update

from headrace.errors import RunNotFound
from headrace.events import End, Event, encode
from headrace.runtime.backend import Backend
from headrace.runtime.durable import DurableLog
from headrace.runtime.durable_registry import DurableRegistry
from headrace.runtime.log import Entry, EventLog, MemoryLog, Retention
from headrace.runtime.memory import Memory
from headrace.runtime.queue import LocalQueue
from headrace.schema import RunInfo
from headrace.storage.database import Database
from headrace.storage.encryption import Seal
from headrace.storage.presence import FilePresence
from headrace.storage.process_rows import ProcessRow
from headrace.storage.storage import timestamp
from headrace.storage.tables import process

Open: TypeAlias = Callable[[Path], AbstractAsyncContextManager[EventLog]]
Play: TypeAlias = Callable[[Callable[[EventLog], Coroutine[None, None, None]]], None]


def running(run: str, created: float | None = None) -> RunInfo:
    """A run that begins."""
    return RunInfo(run, "flow", "chat", "session", "message", "running", timestamp(created), 0)


async def collected(entries: AsyncGenerator[Sequence[Entry]]) -> list[Entry]:
    """Everything that a reader gets, signs of life left out."""
    async with aclosing(entries) as batches:
        return [entry async for batch in batches for entry in batch]


def numbered(events: Sequence[Event], after: int = 0) -> list[Entry]:
    """Events as the log numbers them, from after a position."""
    return [Entry(n, encode(event)) for n, event in enumerate(events, 1) if n > after]


async def found(log: EventLog, run: str) -> bool:
    """True when the log knows the run."""
    async with aclosing(log.follow(run)) as batches:
        try:
            await anext(batches)
        except RunNotFound:
            return False
    return True


@lru_cache
def _migrated() -> Path:
    path = Path(mkdtemp()) / "headrace.sqlite"
    Database(path).close()
    return path


class Process:
    """What one process has on a data folder: database, presence, log, registry."""

    def __init__(self, folder: Path, commit_interval: float = 0.05) -> None:
        place = place_of(folder)
        if isinstance(place, Path) and not place.exists():
            shutil.copy(_migrated(), place)  # migrating each of them takes longer than the tests
        self.database = Database(place)
        self.presence = FilePresence(folder) if isinstance(place, Path) else ProcessRow(self.database)
        self.log = DurableLog(self.database, self.presence, commit_interval=commit_interval)
        self.registry = DurableRegistry(self.database, self.presence, self.log, Seal(folder / "secret.key"))

    async def tidy(self, retention: Retention) -> None:
        """What a server does now and then."""
        await self.log.tidy(retention)
        await self.registry.forget_old(retention)

    def close(self) -> None:
        self.registry.close()
        self.database.close()

    def vanish(self) -> None:
        """Loses its sign of life, so that the others take it for gone, though it is alive."""
        if isinstance(self.presence, FilePresence):
            self.presence._file.close()
        else:
            past = update(process).where(process.c.id == self.presence.id).values(seen=datetime.fromtimestamp(0, UTC))
            self.database.at_once(lambda c: c.execute(past))

    def die(self) -> None:
        """Leaves what a killed process leaves: no sign of life, but the file or the row of one."""
        self.vanish()
        self.database.close()


@asynccontextmanager
async def at_work(folder: Path, interval: float = 0.05) -> AsyncGenerator[Process]:
    """A process that commits, and sees what others have committed."""
    process = Process(folder, interval)
    commit = asyncio.create_task(process.log.keep_committing())
    watch = asyncio.create_task(process.registry.watch())
    try:
        yield process
        process.log.close()
        await commit
    finally:
        for task in (commit, watch):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        process.close()


@asynccontextmanager
async def memory(_: Path) -> AsyncGenerator[EventLog]:
    yield MemoryLog()


@asynccontextmanager
async def durable(folder: Path) -> AsyncGenerator[EventLog]:
    async with at_work(folder) as process:
        yield process.log


class Elsewhere:
    """A log whose runs are written by one process and read by another."""

    def __init__(self, writer: DurableLog, reader: DurableLog) -> None:
        self.open, self.append, self.tail = writer.open, writer.append, writer.tail
        self.commit_with = writer.commit_with
        self.keep_committing, self.close, self.tidy = writer.keep_committing, writer.close, writer.tidy
        self.follow, self.info, self.times, self.beat = reader.follow, reader.info, reader.times, reader.beat


@asynccontextmanager
async def elsewhere(folder: Path) -> AsyncGenerator[EventLog]:
    # The reader's patience with a run that it does not know yet follows from its interval; it commits nothing itself.
    async with at_work(folder) as writer, at_work(folder, interval=0.5) as reader:
        yield Elsewhere(writer.log, reader.log)


LOGS: dict[str, Open] = {"memory": memory, "durable": durable, "read in another process": elsewhere}


class World(Protocol):
    """Processes that share their runs."""

    def process(self) -> Backend:
        """One more, at work."""
        ...

    def kill(self, process: Backend) -> None:
        """It ends without a word."""
        ...

    def vanish(self, process: Backend) -> None:
        """The others take it for gone, and it goes on."""
        ...

    async def ended(self, process: Backend, run: str, moment: str) -> None:
        """Ends a run of the process, as if it had been then; returns when that is known for good."""
        ...


class InMemory:
    """A world that nothing of lasts."""

    def __init__(self) -> None:
        self._memory = Memory()

    def process(self) -> Backend:
        return self._memory.backend()

    def kill(self, process: Backend) -> None:
        process.registry.close()

    vanish = kill

    async def ended(self, process: Backend, run: str, moment: str) -> None:
        tail = process.log.tail(run)
        assert tail
        process.log.append(run, [End()])
        tail.info.endedDate = moment


class OnAFolder:
    """A world over one database."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._processes: dict[str, Process] = {}
        self._work: dict[str, list[asyncio.Task[None]]] = {}

    def process(self) -> Backend:
        one = Process(self._folder)
        self._processes[one.registry.id] = one
        tasks = [asyncio.create_task(work) for work in (one.log.keep_committing(), one.registry.watch())]
        self._work[one.registry.id] = tasks
        self._stack.push_async_callback(self._end, one, tasks)
        return Backend(one.log, LocalQueue(), one.registry)

    async def _end(self, process: Process, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        process.close()

    def kill(self, process: Backend) -> None:
        for task in self._work[process.registry.id]:
            task.cancel()
        self.vanish(process)

    def vanish(self, process: Backend) -> None:
        self._processes[process.registry.id].vanish()

    async def ended(self, process: Backend, run: str, moment: str) -> None:
        tail = process.log.tail(run)
        assert tail
        tail.add([End()])
        tail.info.endedDate = moment
        log = self._processes[process.registry.id].log
        log._changed.add(run)
        await log.commit()


@asynccontextmanager
async def in_memory(_: Path) -> AsyncGenerator[World]:
    yield InMemory()


@asynccontextmanager
async def on_a_folder(folder: Path) -> AsyncGenerator[World]:
    async with AsyncExitStack() as stack:
        yield OnAFolder(folder, stack)


WORLDS: dict[str, Callable[[Path], AbstractAsyncContextManager[World]]] = {
    "memory": in_memory,
    "database": on_a_folder,
}
