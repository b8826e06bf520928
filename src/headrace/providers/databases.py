"""Databases that flows may read: statements written by a model, bounded in time and size, and never a write."""

from __future__ import annotations

import asyncio
import csv
import io
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeVar
from urllib.parse import quote

from headrace.engine.ports import SqlDatabase
from headrace.errors import FlowError, StorageError

_T = TypeVar("_T")
FOLDER: Final = "databases"
"""The folder inside the data folder whose files flows may read."""
SECONDS: Final = 10.0
_MOST_ROWS: Final = 200
_LONGEST_VALUE: Final = 1000  # characters
_LONGEST_RESULT: Final = 20_000
_LONGEST_SCHEMA: Final = 100_000
_LONGEST_STATEMENT: Final = 20_000
_STEPS: Final = 5000  # of SQLite's machine between two looks at the clock: a millisecond or so


class Databases:
    """Opens databases for flows: files in the data folder, and what the operator allows beside them."""

    def __init__(self, folder: Path, allowed: str = "") -> None:
        self._folder = folder
        self._allowed = [entry.strip() for entry in allowed.split(",") if entry.strip()]
        self._threads = ThreadPoolExecutor(4, "headrace-sql")

    def open(self, kind: str, address: str) -> SqlDatabase:
        """A database by kind ("sqlite", "postgres", "mysql") and address. Raises FlowError for one out of bounds."""
        if not address.strip():
            raise FlowError("the SQL chain has no database: set its connection string, or the path of a SQLite file")
        if kind == "sqlite":
            return SqliteDatabase(self._file(address.strip()), self._threads)
        from headrace.providers.sql_servers import ServerDatabase

        return ServerDatabase(kind, address.strip(), self._hosts, self._threads)

    def _file(self, address: str) -> Path:
        home = self._folder.resolve()
        path = (home / FOLDER / Path(address.removeprefix("sqlite:///")).expanduser()).resolve()
        roots = [home / FOLDER, *(Path(entry).expanduser().resolve() for entry in self._allowed if _is_path(entry))]
        if not any(path.is_relative_to(root) for root in roots) or path.parent == home:
            raise FlowError(
                f"the SQL chain may not read {address!r}: put the file into the folder {FOLDER!r} of the data folder, "
                "or name its folder in HEADRACE_ALLOWED_DATABASES"
            )
        if not path.is_file():
            raise FlowError(f"there is no database {address!r} in the folder {FOLDER!r} of the data folder")
        return path

    @property
    def _hosts(self) -> Sequence[str]:
        return [entry for entry in self._allowed if not _is_path(entry)]

    def close(self) -> None:
        """Lets the threads end; statements that run end by their own bound."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _is_path(entry: str) -> bool:
    return entry.startswith(("/", "~", "."))


class SqliteDatabase:
    """Implements `headrace.engine.ports.SqlDatabase` on a file, opened read-only.

    An authorizer refuses everything but reading, and tables that the flow leaves out.
    """

    dialect: str

    def __init__(self, path: Path, threads: ThreadPoolExecutor) -> None:
        self.dialect = "SQLite"
        self._path, self._threads = path, threads
        self._tables: frozenset[str] | None = None

    async def describe(self, include: Sequence[str], ignore: Sequence[str], rows: int) -> str:
        """See SqlDatabase."""
        return await self._run(lambda c: self._described(c, include, ignore, rows))

    async def query(self, statement: str) -> str:
        """See SqlDatabase."""

        def work(connection: sqlite3.Connection) -> str:
            cursor = connection.execute(statement)
            return table([column[0] for column in cursor.description or ()], cursor)

        return await self._run(work)

    def _described(self, c: sqlite3.Connection, include: Sequence[str], ignore: Sequence[str], rows: int) -> str:
        listed = c.execute("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND sql IS NOT NULL")
        schemas = {name: sql for name, sql in listed if not name.startswith("sqlite_")}
        chosen = choice(schemas, include, ignore)
        if include or ignore:
            self._tables = frozenset(name.lower() for name in chosen)
        parts: list[str] = []
        for name in chosen:
            parts.append(schemas[name])
            if rows > 0:
                quoted = name.replace('"', '""')
                cursor = c.execute(f'SELECT * FROM "{quoted}" LIMIT ?', (rows,))  # noqa: S608
                parts.append(sample([column[0] for column in cursor.description], cursor, name))
        return schema(parts)

    def _verdict(self, action: int, first: str | None, second: str | None, _: str | None, source: str | None) -> int:
        if action == sqlite3.SQLITE_FUNCTION:
            return sqlite3.SQLITE_DENY if second in ("load_extension", "fts3_tokenizer") else sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and self._tables is not None and source is None:
            return sqlite3.SQLITE_OK if (first or "").lower() in self._tables else sqlite3.SQLITE_DENY
        reading = (sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE)
        return sqlite3.SQLITE_OK if action in reading else sqlite3.SQLITE_DENY

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What `work` gives, done in a thread. Cancelling it stops the statement."""
        stop = Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._done, work, stop)
        finally:
            stop.set()

    def _done(self, work: Callable[[sqlite3.Connection], _T], stop: Event) -> _T:
        deadline = time.monotonic() + SECONDS
        try:
            connection = _opened(self._path)
        except sqlite3.Error as error:
            raise StorageError(f"the database of the SQL chain cannot be opened: {error}") from None
        try:
            connection.set_progress_handler(lambda: stop.is_set() or time.monotonic() > deadline, _STEPS)
            connection.set_authorizer(self._verdict)
            return work(connection)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise FlowError(_reason(error, time.monotonic() > deadline)) from None
        finally:
            connection.close()


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=SECONDS / 2)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000_000)  # bytes of one value: functions can make large ones
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _LONGEST_STATEMENT)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for pragma in ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.text_factory = _decoded
    return connection


def _decoded(data: bytes) -> str:
    return data.decode(errors="replace")


def _reason(error: Exception, late: bool) -> str:
    if late:
        return f"the statement took longer than {SECONDS:.0f} seconds"
    if "not authorized" in str(error) or "prohibited" in str(error):
        return f"only reading is allowed here, and only tables of the description ({error})"
    return f"the database does not take the statement: {error}"


# What all databases share


def choice(names: Iterable[str], include: Sequence[str], ignore: Sequence[str]) -> list[str]:
    """The tables that a flow shows its model. Raises FlowError for one that does not exist."""
    known = list(names)
    if missing := [name for name in include if name not in known]:
        raise FlowError(f"the database has no table {missing[0]!r}, which the SQL chain is to include")
    chosen = [name for name in known if (not include or name in include) and name not in ignore]
    if not chosen:
        raise FlowError("the database of the SQL chain has no tables to read")
    return chosen


def schema(parts: Sequence[str]) -> str:
    """The description as one text. Raises FlowError for one that no model reads."""
    text = "\n\n".join(parts)
    if len(text) > _LONGEST_SCHEMA:
        raise FlowError("the database has too many tables to describe them to a model: name those that it needs")
    return text


def sample(columns: Sequence[str], rows: Iterable[Sequence[Any]], name: str) -> str:
    """Some rows of a table, as a comment in its description."""
    return f"/* rows of {name}:\n{table(columns, rows)}\n*/"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns and rows as lines with commas, as many as a model is given to read."""
    lines, size = [_line(columns)], 0
    for number, row in enumerate(rows):
        line = _line([_value(value) for value in row])
        size += len(line)
        if number >= _MOST_ROWS or size > _LONGEST_RESULT:
            return "\n".join([*lines, f"[only the first {number} rows]"])
        lines.append(line)
    return "\n".join(lines) if len(lines) > 1 else f"{lines[0]}\n[no rows]"


def _value(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes | memoryview):
        return f"[{len(bytes(value))} bytes]"
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _line(values: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()
