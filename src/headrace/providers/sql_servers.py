"""Database servers that flows may read, through SQLAlchemy and an installed driver: one statement, read-only."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, MetaData, Table, create_engine, inspect, make_url, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from headrace.errors import FlowError, StorageError
from headrace.installation import remedy
from headrace.providers.databases import LATE, MOST_ROWS, SECONDS, choice, sample, schema, table

_T = TypeVar("_T")
_DRIVERS: Final[Mapping[str, Mapping[str, str]]] = {  # SQLAlchemy's name, and the package to look for
    "postgres": {"postgresql+psycopg": "psycopg", "postgresql+psycopg2": "psycopg2"},
    "mysql": {"mysql+pymysql": "pymysql", "mysql+mysqldb": "MySQLdb"},
}
_PORTS: Final = {"postgres": 5432, "mysql": 3306}
_CONNECT: Final = 5  # seconds
_LIMITS: Final = {
    "postgres": {"connect_timeout": _CONNECT},
    "mysql": {"connect_timeout": _CONNECT, "read_timeout": int(SECONDS) + _CONNECT},
}
# Before the statement. MySQL's limits count for the session, whose only statement it is.
_BEGIN: Final = {
    "postgres": ("BEGIN READ ONLY", f"SET LOCAL statement_timeout = {SECONDS * 1000:.0f}"),
    "mysql": (f"SET max_execution_time = {SECONDS * 1000:.0f}", "START TRANSACTION READ ONLY"),
    "mariadb": (f"SET max_statement_time = {SECONDS:.0f}", "START TRANSACTION READ ONLY"),
}
_LATE: Final = frozenset({"57014", 3024, 1969})  # what PostgreSQL, MySQL and MariaDB say then
_ROWS: Final = re.compile(r"\s*+\(*+\s*+(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)
_LISTS: Final = re.compile(r"\s*(?:DESCRIBE|EXPLAIN|SHOW\s+(?:TABLES|COLUMNS|FIELDS|INDEX(?:ES)?))\b", re.IGNORECASE)
_WRITES: Final = re.compile(r"\b(?:OUTFILE|DUMPFILE|LOAD_FILE)\b", re.IGNORECASE)  # MySQL's ways to files


class _Running:
    """A statement that a thread carries out, while somebody waits for it."""

    left = False
    stop: Callable[[], None] | None = None
    """Stops it, from another thread."""


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
        reads = _ROWS.match(statement) or _LISTS.match(statement)
        if ";" in statement or not reads or _WRITES.search(statement):
            raise FlowError("only one statement is allowed here, without a semicolon, and it must be one that reads")
        if self._tables is not None:
            statement = await asyncio.to_thread(_narrowed, statement, self._kind, self._tables)
        return await self._run(lambda c: self._read(c, statement))

    def _read(self, c: Connection, statement: str) -> str:
        """Reads the statement's rows. Of a million rows no more are fetched than are returned."""
        mysql, most = self._kind == "mysql", MOST_ROWS + 1
        c.execution_options(no_parameters=True)  # % stays %
        if mysql:
            c.exec_driver_sql(f"SET sql_select_limit = {most}")
        elif _ROWS.match(statement):
            c.exec_driver_sql(f"DECLARE found NO SCROLL CURSOR FOR {statement}")
            statement = f"FETCH {most} FROM found"
        result = c.execution_options(stream_results=mysql, max_row_buffer=MOST_ROWS).exec_driver_sql(statement)
        if not result.returns_rows:
            return "[no rows]"
        text = table(list(result.keys()), result)
        if mysql and result.fetchone():  # it has a LIMIT of its own, and drivers read to the end before they close
            self._stop(c)()
            with suppress(DBAPIError):
                result.fetchall()
        return text

    def _described(self, c: Connection, include: Sequence[str], ignore: Sequence[str], rows: int) -> str:
        inspector = inspect(c)
        chosen = choice([*inspector.get_table_names(), *inspector.get_view_names()], include, ignore)
        if include or ignore:
            self._tables = frozenset(chosen)
        return schema([part for name in chosen for part in _table(c, name, rows)])

    async def _run(self, work: Callable[[Connection], _T]) -> _T:
        """Runs `work` in a thread and returns its result. When this is left, the server stops the statement."""
        running = _Running()
        try:
            async with asyncio.timeout(SECONDS + _CONNECT):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._done, work, running)
        except TimeoutError:
            raise FlowError(LATE) from None
        finally:
            running.left = True
            if stop := running.stop:
                with suppress(self._engine.dialect.loaded_dbapi.Error):  # it is out of reach, or stopped already
                    await asyncio.to_thread(stop)

    def _done(self, work: Callable[[Connection], _T], running: _Running) -> _T:
        try:
            connection = self._engine.connect()
        except SQLAlchemyError as error:  # whose text may hold what the address holds
            raise StorageError(f"the database of the SQL chain cannot be reached: {type(error).__name__}") from None
        with connection:
            try:
                for statement in _BEGIN[_server(connection, self._kind)]:
                    connection.exec_driver_sql(statement)
                running.stop = self._stop(connection)
                if running.left:
                    raise FlowError("nobody waits for the statement any more")
                return work(connection)
            except DBAPIError as error:
                raise FlowError(_reason(error.orig)) from None
            finally:
                running.stop = None
                connection.invalidate()  # closes it, and with it the transaction

    def _stop(self, c: Connection) -> Callable[[], None]:
        """Stops the connection's statement from another thread. May raise the driver's errors."""
        driver: Any = c.connection.driver_connection
        if self._kind == "mysql":
            return partial(self._kill, driver.thread_id())
        newer = getattr(driver, "cancel_safe", None)  # lets other threads run meanwhile
        return partial(newer, timeout=_CONNECT) if newer else driver.cancel

    def _kill(self, number: int) -> None:
        """Stops the statement of a connection to MySQL, which notices late that its client is gone."""
        with suppress(SQLAlchemyError), self._engine.connect() as c:
            c.exec_driver_sql(f"KILL QUERY {number}")


def _server(c: Connection, kind: str) -> str:
    return "mariadb" if getattr(c.dialect, "is_mariadb", False) else kind


def _reason(error: BaseException | None) -> str:
    codes = {getattr(error, "sqlstate", None), getattr(error, "pgcode", None), *(error.args[:1] if error else ())}
    return LATE if codes & _LATE else f"the database does not take the statement: {error}"


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
    quoted = c.dialect.identifier_preparer.quote
    columns = ",\n".join(f"  {quoted(column.name)} {column.type}" for column in found.columns)
    keys = ", ".join(quoted(column.name) for column in found.primary_key)
    yield f"CREATE TABLE {quoted(name)} (\n{columns}{f',{chr(10)}  PRIMARY KEY ({keys})' if keys else ''}\n)"
    if rows > 0:
        yield sample(list(found.columns.keys()), c.execute(select(found).limit(rows)), name)


def _narrowed(statement: str, kind: str, tables: Collection[str]) -> str:
    try:
        from headrace.providers.sql_statements import narrowed
    except ImportError:
        raise FlowError(f"choosing tables of a database server needs a package: {remedy('sql')}") from None
    return narrowed(statement, kind, tables)
