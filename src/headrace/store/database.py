"""The database behind two named threads: one that writes, in groups, and one that reads.

SQLAlchemy Core runs inside the threads. One hop a unit of work costs a third of what its asyncio extension costs,
which hops for every statement (docs/decisions/0002).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError

from headrace.errors import StorageError
from headrace.store.migrate import migrate

_T = TypeVar("_T")
_Work = tuple[Callable[[Connection], Any], "Future[Any]"]
_GROUP = 500  # works in one transaction at most


def engine_for(path: Path) -> Engine:
    """An engine on a SQLite file: WAL, foreign keys, five seconds of patience with other processes."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=5000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


class Database:
    """Runs functions over a connection in the right thread."""

    def __init__(self, path: Path) -> None:
        """Opens and migrates the file. Raises StorageError. Blocking: call it before the loop runs, or in a thread."""
        self._engine = engine_for(path)
        try:
            migrate(self._engine)
        except DBAPIError as error:
            raise _storage_error(error) from None
        self._reads = _Thread("headrace-db-read", self._engine, writes=False)
        self._writes = _Thread("headrace-db-write", self._engine, writes=True)

    async def read(self, work: Callable[[Connection], _T]) -> _T:
        """What `work` reads. Raises StorageError."""
        return await self._reads.do(work)

    async def write(self, work: Callable[[Connection], _T]) -> _T:
        """What `work` returns, once it is committed. Works that wait together share a transaction, each in a savepoint.

        Raises StorageError, and what `work` itself raises; then nothing of it is kept.
        """
        return await self._writes.do(work)

    def close(self) -> None:
        """Finishes what was handed in, then ends the threads."""
        for thread in (self._writes, self._reads):
            thread.close()
        self._engine.dispose()


class _Thread:
    def __init__(self, name: str, engine: Engine, *, writes: bool) -> None:
        self._engine = engine.execution_options(writes=writes)
        self._writes = writes
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    async def do(self, work: Callable[[Connection], _T]) -> _T:
        future: Future[_T] = Future()
        self._queue.put((work, future))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while (first := self._queue.get()) is not None:
            group, ended = [first], False
            while len(group) < _GROUP and not self._queue.empty():
                if (following := self._queue.get()) is None:
                    ended = True
                    break
                group.append(following)
            self._transaction([work for work in group if work[1].set_running_or_notify_cancel()])
            if ended:
                return

    def _transaction(self, group: list[_Work]) -> None:
        done: list[tuple[Future[Any], Any]] = []
        try:
            with self._engine.begin() as connection:
                for work, future in group:
                    try:
                        if self._writes:
                            with connection.begin_nested():
                                done.append((future, work(connection)))
                        else:
                            done.append((future, work(connection)))
                    except Exception as error:  # the work's own; the others go on
                        future.set_exception(_storage_error(error))
        except Exception as error:  # nothing was committed
            for _, future in group:
                if not future.done():
                    future.set_exception(_storage_error(error))
            return
        for future, result in done:
            future.set_result(result)


def _storage_error(error: Exception) -> Exception:
    """What callers see of a database's own error: the reason without statement and parameters."""
    if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
        return StorageError(f"the database did not take or give this: {error.orig}")
    return error
