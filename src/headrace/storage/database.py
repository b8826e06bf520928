"""The database behind two named threads: one that writes, in groups, and one that reads.

SQLAlchemy Core runs inside the threads. One hop a unit of work costs a third of what its asyncio extension costs,
which hops for every statement (docs/decisions/0002).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from headrace.errors import StorageError
from headrace.storage import dialect
from headrace.storage.dialect import Place
from headrace.storage.migrate import migrate

_T = TypeVar("_T")
_GROUP = 500  # works in one transaction at most


class Database:
    """Runs functions over a connection in the right thread."""

    def __init__(self, place: Place) -> None:
        """Opens and migrates it. Blocking: call it before the loop runs, or in a thread.

        Raises StorageError, UnusableDatabase, and OSError when the file cannot be made.
        """
        self.place = place
        self._engine = dialect.engine_for(place)
        try:
            migrate(self._engine)
        except DBAPIError as error:
            raise dialect.refused(error) or _storage_error(error) from None
        self._changes = dialect.changes_of(place)
        self._reads = _Thread("headrace-db-read", self._engine)
        self._scans = _Thread("headrace-db-scan", self._engine)
        self._writes = _Thread("headrace-db-write", self._engine, self._changes)

    def version(self) -> int:
        """Another number than before after every commit, in whichever process. Reads no table and never waits."""
        return self._changes.version()

    async def read(self, work: Callable[[Connection], _T]) -> _T:
        """Runs `work` and returns what it reads. Raises StorageError."""
        return await self._reads.do(work)

    async def scan(self, work: Callable[[Connection], _T]) -> _T:
        """The same for reads that may be long: nothing that a prediction needs waits for them. Raises StorageError."""
        return await self._scans.do(work)

    async def write(self, work: Callable[[Connection], _T], *, alone: bool = True) -> _T:
        """Runs `work` and returns its result once it is committed. Works that wait together share a transaction.

        `alone` keeps all other such works out meanwhile, of any process. Without it the work may run beside those of
        other servers on PostgreSQL, and must be right all the same. Raises StorageError, and what `work` itself raises;
        then nothing of it is kept. `work` may be called twice: when one of a group fails, each is done by itself.
        """
        return await self._writes.do(work, alone=alone)

    def at_once(self, work: Callable[[Connection], _T]) -> _T:
        """The same on a connection of its own, for a process that begins or ends. Blocking. Raises StorageError."""
        try:
            with dialect.connected(self._engine, writes=True) as connection, connection.begin():
                dialect.stand_alone(connection)
                return work(connection)
        except DBAPIError as error:
            raise _storage_error(error) from None

    def close(self) -> None:
        """Finishes what was handed in, then ends the threads."""
        for thread in (self._writes, self._reads, self._scans):
            thread.close()
        self._changes.close()
        self._engine.dispose()


class _Task:
    """A work and who waits for it."""

    __slots__ = ("alone", "error", "future", "loop", "result", "work")

    def __init__(self, work: Callable[[Connection], Any], *, alone: bool) -> None:
        self.work, self.alone = work, alone
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        if self.future.done():  # its waiter was cancelled; the work was done all the same
            return
        if self.error:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _Thread:
    """A thread that does works in turn. One that is to write has somebody to tell of its commits."""

    def __init__(self, name: str, engine: Engine, changes: dialect.Changes | None = None) -> None:
        self._engine, self._changes = engine, changes
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._closed = False
        self._connection: Connection | None = None  # of the thread, which opens it once it has something to do
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    async def do(self, work: Callable[[Connection], _T], *, alone: bool = False) -> _T:
        if self._closed:  # nobody would ever do it
            raise StorageError("the database is closed: the process is stopping")
        task = _Task(work, alone=alone)
        self._queue.put(task)
        return await task.future

    def close(self) -> None:
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        ended = False
        while not ended and (first := self._queue.get()) is not None:
            group = [first]
            while len(group) < _GROUP and not self._queue.empty():
                if (following := self._queue.get()) is None:
                    ended = True
                    break
                group.append(following)
            self._do(group)
        self._disconnect()

    def _do(self, group: list[_Task]) -> None:
        try:
            self._transaction(group)
        except Exception as error:
            if len(group) == 1 or dialect.is_busy(error):  # each of them would wait for as long again
                for task in group:
                    task.error = _storage_error(error)
            else:  # one of them failed: nothing was committed, so each is done on its own
                for task in group:
                    self._do([task])
                return
        for task in group:
            with contextlib.suppress(RuntimeError):  # the loop that waited is closed
                task.loop.call_soon_threadsafe(task.settle)

    def _transaction(self, group: list[_Task]) -> None:
        try:
            connection = self._connected()
            with connection.begin():
                if any(task.alone for task in group):
                    dialect.stand_alone(connection)
                for task in group:
                    task.result = task.work(connection)
        except BaseException:  # the next transaction begins on another one
            self._disconnect()
            raise
        if self._changes:
            try:
                self._changes.tell(connection)
            except DBAPIError:  # what was committed stays so; others look by themselves after a moment
                self._disconnect()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = dialect.connected(self._engine, writes=self._changes is not None)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            with contextlib.suppress(DBAPIError):
                connection.close()


def _storage_error(error: Exception) -> Exception:
    """Translates a database's error: the reason without statement and parameters."""
    if isinstance(error, DBAPIError) and dialect.overflows(error):
        return OverflowError(dialect.reason(error))  # as SQLite's driver says it
    if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
        return StorageError(f"the database did not take or give this: {dialect.reason(error)}")
    return error
