"""Every kind of event log, opened for a test, and what readers of it get."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Protocol, TypeAlias

from headrace.errors import RunNotFound
from headrace.events import Event, encode
from headrace.runtime.durable import DurableLog
from headrace.runtime.log import Entry, EventLog, MemoryLog
from headrace.schema import RunInfo
from headrace.store.database import Database
from headrace.store.presence import Presence
from headrace.store.store import timestamp


class Log(EventLog, Protocol):
    """An event log as the suites drive it: `beat` gives every waiting reader a sign of life."""

    def beat(self) -> None: ...

    async def info(self, run: str) -> RunInfo: ...


Open: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Log]]
Play: TypeAlias = Callable[[Callable[[Log], Coroutine[None, None, None]]], None]


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


async def found(log: Log, run: str) -> bool:
    """Whether the log knows the run."""
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
    """What one process has on a data folder: database, presence, log."""

    def __init__(self, folder: Path, commit_interval: float = 0.05) -> None:
        path = folder / "headrace.sqlite"
        if not path.exists():
            shutil.copy(_migrated(), path)  # migrating each of them takes longer than the tests
        self.database, self.presence = Database(path), Presence(folder)
        self.log = DurableLog(self.database, self.presence, commit_interval=commit_interval)

    def close(self) -> None:
        self.presence.close()
        self.database.close()

    def die(self) -> None:
        """Leaves what a killed process leaves: its file, but not the lock on it."""
        self.presence._file.close()
        self.database.close()


async def _ignored(_run: str, _kind: str) -> None:
    pass


@asynccontextmanager
async def at_work(
    folder: Path, obey: Callable[[str, str], Awaitable[None]] = _ignored, interval: float = 0.05
) -> AsyncGenerator[Process]:
    """A process that commits, and sees what others have committed."""
    process = Process(folder, interval)
    commit = asyncio.create_task(process.log.keep_committing())
    watch = asyncio.create_task(process.log.watch(obey))
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
async def memory(_: Path) -> AsyncGenerator[Log]:
    yield MemoryLog()


@asynccontextmanager
async def durable(folder: Path) -> AsyncGenerator[Log]:
    async with at_work(folder) as process:
        yield process.log


class Elsewhere:
    """A log whose runs are written by one process and read by another."""

    def __init__(self, writer: DurableLog, reader: DurableLog) -> None:
        self.open, self.append = writer.open, writer.append
        self.follow, self.info, self.beat = reader.follow, reader.info, reader.beat


@asynccontextmanager
async def elsewhere(folder: Path) -> AsyncGenerator[Log]:
    # The reader's patience with a run that it does not know yet follows from its interval; it commits nothing itself.
    async with at_work(folder) as writer, at_work(folder, interval=0.5) as reader:
        yield Elsewhere(writer.log, reader.log)


LOGS: dict[str, Open] = {"memory": memory, "durable": durable, "read in another process": elsewhere}
