"""Database servers that flows may read, through SQLAlchemy and an installed driver: one statement, read-only."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, MetaData, Table, create_engine, inspect, make_url, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from headrace.errors import FlowError, StorageError
from headrace.providers.databases import SECONDS, choice, sample, schema, table

_T = TypeVar("_T")
_DRIVERS: Final[Mapping[str, Mapping[str, str]]] = {  # SQLAlchemy's name, and the package to look for
    "postgres": {"postgresql+psycopg": "psycopg", "postgresql+psycopg2": "psycopg2"},
    "mysql": {"mysql+pymysql": "pymysql", "mysql+mysqldb": "MySQLdb"},
}
_PORTS: Final = {"postgres": 5432, "mysql": 3306}
_CONNECT: Final = 5  # seconds
_LIMITS: Final = {
    "postgres": {"connect_timeout": _CONNECT},
    "mysql": {"connect_timeout": _CONNECT, "read_timeout": int(SECONDS)},
}
# Before the statement; the first one begins the transaction.
_BEGIN: Final = {
    "postgres": ("BEGIN READ ONLY", f"SET LOCAL statement_timeout = {SECONDS * 1000:.0f}"),
    "mysql": ("START TRANSACTION READ ONLY",),
}
_READS: Final = re.compile(r"\s*\(*\s*(?:SELECT|WITH|VALUES|TABLE|SHOW|DESCRIBE|EXPLAIN)\b", re.IGNORECASE)
_WRITES: Final = re.compile(r"\b(?:OUTFILE|DUMPFILE|LOAD_FILE)\b", re.IGNORECASE)  # MySQL's ways to files


class _Running:
    """A statement that a thread carries out, while somebody waits for it."""

    left = False
    cancel: Callable[[], None] | None = None
    """Stops it, where the driver can."""


class ServerDatabase:
    """Implements `headrace.engine.ports.SqlDatabase` on PostgreSQL and MySQL."""

    dialect: str

    def __init__(self, kind: str, address: str, hosts: Sequence[str], threads: ThreadPoolExecutor) -> None:
        """Raises FlowError for a server that is not allowed, and without a driver."""
        if kind not in _DRIVERS:
            raise FlowError(f"the SQL chain cannot read {kind!r}: it has no read-only transactions")
        driver = next((name for name, package in _DRIVERS[kind].items() if find_spec(package)), None)
        if driver is None:
            packages = " or ".join(_DRIVERS[kind].values())
            raise FlowError(f"reading {kind} needs a driver on the server: pip install {packages}")
        url = _checked(address, kind, hosts)
        self.dialect = {"postgres": "PostgreSQL", "mysql": "MySQL"}[kind]
        self._kind, self._threads = kind, threads
        self._tables: frozenset[str] | None = None
        self._engine = create_engine(
            url.set(drivername=driver), poolclass=NullPool, connect_args=_LIMITS[kind],
            isolation_level="AUTOCOMMIT",
        )  # fmt: skip

    async def describe(self, include: Sequence[str], ignore: Sequence[str], rows: int) -> str:
        """See SqlDatabase."""
        return await self._run(lambda c: self._described(c, include, ignore, rows))

    async def query(self, statement: str) -> str:
        """See SqlDatabase."""
        if ";" in statement or not _READS.match(statement) or _WRITES.search(statement):
            raise FlowError("only one statement is allowed here, without a semicolon, and it must be one that reads")
        if self._tables is not None:
            statement = await asyncio.to_thread(_narrowed, statement, self._kind, self._tables)

        def work(connection: Connection) -> str:
            result = connection.execution_options(no_parameters=True).exec_driver_sql(statement)  # % stays %
            return table(list(result.keys()), result) if result.returns_rows else "[no rows]"

        return await self._run(work)

    def _described(self, c: Connection, include: Sequence[str], ignore: Sequence[str], rows: int) -> str:
        inspector = inspect(c)
        chosen = choice([*inspector.get_table_names(), *inspector.get_view_names()], include, ignore)
        if include or ignore:
            self._tables = frozenset(chosen)
        return schema([part for name in chosen for part in _table(c, name, rows)])

    async def _run(self, work: Callable[[Connection], _T]) -> _T:
        """What `work` gives, done in a thread. When this is left, PostgreSQL is told; MySQL stops at its bound."""
        running = _Running()
        try:
            async with asyncio.timeout(SECONDS + _CONNECT):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._done, work, running)
        except TimeoutError:
            raise FlowError(f"the statement took longer than {SECONDS:.0f} seconds") from None
        finally:
            running.left = True
            if cancel := running.cancel:
                await asyncio.to_thread(cancel)

    def _done(self, work: Callable[[Connection], _T], running: _Running) -> _T:
        try:
            connection = self._engine.connect()
        except SQLAlchemyError as error:  # whose text may hold what the address holds
            raise StorageError(f"the database of the SQL chain cannot be reached: {type(error).__name__}") from None
        with connection:
            try:
                for statement in _BEGIN[self._kind]:
                    connection.exec_driver_sql(statement)
                running.cancel = _cancel(connection.connection.driver_connection)
                if running.left:
                    raise FlowError("nobody waits for the statement any more")
                return work(connection)
            except DBAPIError as error:
                raise FlowError(f"the database does not take the statement: {error.orig}") from None
            finally:
                running.cancel = None
                connection.invalidate()  # closes it, and with it the transaction


def _cancel(driver: Any) -> Callable[[], None] | None:
    """What stops the connection's statement, from another thread: psycopg's newer way lets others run meanwhile."""
    return getattr(driver, "cancel_safe", None) or getattr(driver, "cancel", None)


def _checked(address: str, kind: str, hosts: Sequence[str]) -> URL:
    """The address of a server that the operator allows. Raises FlowError."""
    try:
        url = make_url(address)
        place = f"{url.host}:{url.port or _PORTS[kind]}"
    except (ArgumentError, ValueError):  # whose text may hold the password
        raise FlowError("the SQL chain's connection string is no address: kind://user:password@host/name") from None
    if url.host not in hosts and place not in hosts:
        raise FlowError(f"the SQL chain may not reach {place!r}: list it in HEADRACE_ALLOWED_DATABASES")
    if refused := sorted(url.query.keys() - {"sslmode", "charset"}):  # some name other hosts, or files of this one
        raise FlowError(f"the connection string of the SQL chain may not set {refused[0]!r}")
    return url


def _table(c: Connection, name: str, rows: int) -> Iterator[str]:
    """A table as a model reads it, and some of its rows."""
    found = Table(name, MetaData(), autoload_with=c)
    columns = ",\n".join(f"  {column.name} {column.type}" for column in found.columns)
    keys = ", ".join(column.name for column in found.primary_key)
    yield f"CREATE TABLE {name} (\n{columns}{f',{chr(10)}  PRIMARY KEY ({keys})' if keys else ''}\n)"
    if rows > 0:
        yield sample(list(found.columns.keys()), c.execute(select(found).limit(rows)), name)


def _narrowed(statement: str, kind: str, tables: Collection[str]) -> str:
    try:
        from headrace.providers.sql_statements import narrowed
    except ImportError:
        raise FlowError("choosing tables of a database server needs a package: pip install 'headrace[sql]'") from None
    return narrowed(statement, kind, tables)
