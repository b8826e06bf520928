"""PostgreSQL's words: connections, and the doorbell that says that somebody has committed. psycopg is an extra.

Sessions are told to give up on locks, and writers are ended by the server when they stand still inside a transaction:
a process that is frozen there would hold up all others.
"""

from __future__ import annotations

import itertools
import logging
import select
import socket
import threading
from contextlib import closing, suppress
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from headrace.errors import StorageError
from headrace.installation import remedy

_logger = logging.getLogger("headrace.storage")
_OLDEST: Final = 14
_CHANNEL: Final = "headrace"
_LOCK: Final = 0x68656164  # of writers, in the database's namespace of advisory locks
_CONNECTING: Final = {
    "application_name": "headrace",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}
_LOCK_PATIENCE, _STANDSTILL = "5s", "10s"
_GLANCE: Final = 1.0  # seconds after which followers look although nobody has rung
_RETRY: Final = 1.0  # seconds
_UNREACHABLE: Final = ("08", "57P0")
_LOCK_NOT_AVAILABLE, _FOREIGN_KEY, _NOT_ALLOWED, _OUT_OF_RANGE = "55P03", "23503", "42501", "22003"


class UnusableDatabase(StorageError):
    """A database that this server cannot work on; the message says what to change."""


def _driver() -> Any:
    try:
        import psycopg
    except ImportError:
        raise UnusableDatabase(f"PostgreSQL needs psycopg: {remedy('postgres')}") from None
    return psycopg


def engine_for(url: str) -> Engine:
    """An engine on a database of a server, which is asked once. Raises UnusableDatabase."""
    _check(url)
    return create_engine("postgresql+psycopg://", creator=lambda: _connect(url), poolclass=NullPool)


def _connect(url: str, **options: Any) -> Any:
    psycopg = _driver()
    connection = psycopg.connect(url, autocommit=True, **_CONNECTING, **options)
    connection.adapters.register_dumper(str, _text_dumper())
    connection.execute(f"SET lock_timeout = '{_LOCK_PATIENCE}'")
    connection.autocommit = False
    return connection


@cache
def _text_dumper() -> type:
    """The driver's way to send texts, but for the one character that PostgreSQL's texts cannot hold."""
    from psycopg.types.string import StrDumperUnknown

    class TextDumper(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)

    return TextDumper


def _check(url: str) -> None:
    """Raises UnusableDatabase for a URL that leads to no database that this server can work on."""
    psycopg = _driver()
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise UnusableDatabase(
            "the database URL cannot be read: write postgresql://user:password@host:5432/database"
        ) from None
    try:
        with closing(psycopg.connect(url, **_CONNECTING)) as connection:
            version = connection.info.server_version // 10000
            encoding = connection.info.parameter_status("server_encoding")
    except psycopg.Error as error:
        said = str(error).strip().splitlines()[-1:] or ["no answer"]
        raise UnusableDatabase(
            f"cannot use the PostgreSQL of the database URL: {said[0].strip()}: "
            "check that it runs, and host, port, user, password and database of the URL"
        ) from None
    if version < _OLDEST:
        raise UnusableDatabase(f"PostgreSQL {version} is too old: use {_OLDEST} or later")
    if encoding != "UTF8":
        raise UnusableDatabase(
            f"the database is encoded in {encoding}: make one with ENCODING 'UTF8' TEMPLATE template0"
        )


def connected(engine: Engine, *, writes: bool) -> Connection:
    """A connection for one thread."""
    if not writes:
        options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return engine.connect().execution_options(**options)
    connection = engine.connect()
    with connection.begin():
        connection.exec_driver_sql(f"SET idle_in_transaction_session_timeout = '{_STANDSTILL}'")
    return connection


def stand_alone(c: Connection) -> None:
    """Waits for other such transactions, and lets no other begin before this one ends. Raises DBAPIError."""
    c.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def migrating(c: Connection) -> None:
    """The same for a transaction that changes the schema, which others wait for however long it takes."""
    c.exec_driver_sql("SET LOCAL lock_timeout = 0")
    stand_alone(c)


def refused(error: DBAPIError) -> UnusableDatabase | None:
    """The words for a database whose schema this user may not change."""
    if getattr(error.orig, "sqlstate", "") != _NOT_ALLOWED:
        return None
    said = str(error.orig).partition("\n")[0]
    return UnusableDatabase(
        f"the user of the database URL may not make tables: {said}: make it the owner of the database, "
        "or GRANT CREATE, USAGE ON SCHEMA public to it"
    )


def continue_numbers(c: Connection, table: str, column: str) -> None:
    """Lets a column's sequence, if it has one, go on after the highest number in it."""
    name = c.dialect.identifier_preparer.quote(column)
    sequence = c.exec_driver_sql("SELECT pg_get_serial_sequence(%s, %s)", (table, column)).scalar()
    if sequence:
        c.exec_driver_sql(f"SELECT setval(%s, max({name})) FROM {table}", (sequence,))  # noqa: S608 our own names


def is_busy(error: DBAPIError) -> bool:
    """True when a lock was held for too long, or the server cannot be reached."""
    state = str(getattr(error.orig, "sqlstate", "") or "")
    if isinstance(error, OperationalError) and not state:  # no server has answered
        return True
    return error.connection_invalidated or state == _LOCK_NOT_AVAILABLE or state.startswith(_UNREACHABLE)


def lacks_parent(error: IntegrityError) -> bool:
    """True when the row that a row belongs to does not exist."""
    return getattr(error.orig, "sqlstate", "") == _FOREIGN_KEY


def reason(error: DBAPIError) -> str:
    """The database's own words, which name no address: they are told to callers."""
    if isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", "") is None:
        return "it cannot be reached at the moment"
    return str(error.orig).partition("\n")[0]


def overflows(error: DBAPIError) -> bool:
    """True for a number of more than 64 bits."""
    return getattr(error.orig, "sqlstate", "") == _OUT_OF_RANGE


class Changes:
    """Implements `headrace.storage.dialect.Changes`: whoever commits rings, and a thread with a connection hears it.

    Ringing is a transaction of its own, which waits for no disk: the server takes one lock for all that ring until they
    have committed. What is lost with a process that dies in between is seen a second later.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._counter = itertools.count(1)
        self._number = 0
        self._own: set[int] = set()  # sessions of this process, whose commits are known here already
        self._closed = False
        self._waker, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._listen, name="headrace-db-bell", daemon=True)
        self._thread.start()

    def version(self) -> int:
        """See `headrace.storage.dialect.Changes`."""
        return self._number

    def tell(self, c: Connection) -> None:
        """See `headrace.storage.dialect.Changes`. Raises DBAPIError."""
        self._number = next(self._counter)
        driver: Any = c.connection.dbapi_connection
        self._own.add(driver.info.backend_pid)
        with c.begin():
            c.exec_driver_sql(f"SELECT set_config('synchronous_commit', 'off', true), pg_notify('{_CHANNEL}', '')")

    def close(self) -> None:
        """Ends the thread."""
        self._closed = True
        self._waker.close()
        self._thread.join()
        self._woken.close()

    def _listen(self) -> None:
        while not self._closed:
            try:
                with closing(_connect(self._url)) as connection:
                    connection.autocommit = True
                    connection.execute(f"LISTEN {_CHANNEL}")
                    self._number = next(self._counter)  # for all that was missed
                    self._hear(connection)
            except Exception as error:  # it must go on, whatever the driver raises
                _logger.warning("the database cannot be reached: %s", str(error).partition("\n")[0])
                self._number = next(self._counter)
                with suppress(OSError):
                    select.select([self._woken], [], [], _RETRY)

    def _hear(self, connection: Any) -> None:
        """Counts what others commit, until the connection is gone (it raises then) or this is closed."""
        driver, place = connection.pgconn, connection.fileno()
        while not self._closed:
            ready, _, _ = select.select([place, self._woken], [], [], _GLANCE)
            if place in ready:
                driver.consume_input()
            rung = False
            while note := driver.notifies():
                rung = rung or note.be_pid not in self._own
            if rung or not ready:
                self._number = next(self._counter)
