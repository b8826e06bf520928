"""Databases that flows may read: statements written by a model, bounded in time and size, and never a write."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.engine.ports import SqlDatabase
from headrace.errors import FlowError, StorageError

FOLDER: Final = "databases"
"""The folder inside the data folder whose files flows may read."""
SECONDS: Final = 10.0
MOST_ROWS: Final = 200
_LONGEST_VALUE: Final = 1000  # characters
_LONGEST_RESULT: Final = 20_000
_LONGEST_SCHEMA: Final = 100_000
_MOST_TABLES: Final = 10_000
_AT_ONCE: Final = 4  # statements
_STARTING: Final = 5.0  # seconds more for a process, which must start
_PROGRAM: Final = str(Path(__file__).with_name("sqlite_program.py"))
_LISTING: Final = "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND sql IS NOT NULL"
_REFUSED: Final = ("not authorized", "prohibited", "no such table")
LATE: Final = f"the statement took longer than {SECONDS:.0f} seconds"


class Databases:
    """Opens databases for flows: files in the data folder, and what the operator allows beside them."""

    def __init__(self, folder: Path, allowed: str = "") -> None:
        self._folder = folder
        self._allowed = [entry.strip() for entry in allowed.split(",") if entry.strip()]
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._threads = ThreadPoolExecutor(_AT_ONCE, "headrace-sql")

    def open(self, kind: str, address: str) -> SqlDatabase:
        """A database by kind ("sqlite", "postgres", "mysql") and address. Raises FlowError for one out of bounds."""
        if not address.strip():
            raise FlowError("the SQL chain has no database: set its connection string, or the path of a SQLite file")
        if kind == "sqlite":
            return SqliteDatabase(self._file(address.strip()), self._places)
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
    """Implements `headrace.engine.ports.SqlDatabase` on a file, which a child process reads, and can only read."""

    dialect: str

    def __init__(self, path: Path, places: asyncio.Semaphore) -> None:
        self.dialect = "SQLite"
        self._path, self._places = path, places
        self._tables: list[str] | None = None

    async def describe(self, include: Sequence[str], ignore: Sequence[str], rows: int) -> str:
        """See SqlDatabase."""
        (listed,) = await self._read([_LISTING], rows=_MOST_TABLES, size=2 * _LONGEST_SCHEMA, longest=_LONGEST_SCHEMA)
        schemas: dict[str, str] = {name: sql for name, sql in listed.rows if not name.startswith("sqlite_")}
        chosen = choice(schemas, include, ignore)
        if not rows:
            text = schema([schemas[name] for name in chosen])
        else:
            read = [f"SELECT * FROM {_quoted(name)} LIMIT {rows}" for name in chosen]  # noqa: S608
            samples = zip(chosen, await self._read(read), strict=True)
            parts = [(schemas[name], sample(found.columns, found.rows, name)) for name, found in samples]
            text = schema([part for pair in parts for part in pair])
        if include or ignore:
            self._tables = chosen
        return text

    async def query(self, statement: str) -> str:
        """See SqlDatabase."""
        (found,) = await self._read([statement])
        return table(found.columns, found.rows)

    async def _read(self, statements: Sequence[str], **bounds: int) -> list[_Result]:
        """Runs the statements and returns their results. The process ends with it, also when this is cancelled."""
        given = {"path": str(self._path), "statements": statements, "tables": self._tables, "seconds": SECONDS}
        usual = {"rows": MOST_ROWS, "size": 2 * _LONGEST_RESULT, "longest": _LONGEST_VALUE}
        request = json.dumps(given | usual | bounds).encode()
        async with self._places:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", _PROGRAM),
                env={},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(SECONDS + _STARTING):
                    told, _ = await process.communicate(request)
            except TimeoutError:
                raise FlowError(LATE) from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        return _results(told)


class _Result(msgspec.Struct):
    columns: list[str]
    rows: list[list[Any]]


class _Answer(msgspec.Struct):
    """An answer of the process: results, a failed statement, or a file that cannot be opened."""

    results: list[_Result] = []
    error: str = ""
    closed: str = ""


def _results(told: bytes) -> list[_Result]:
    try:
        answer = json.loads(told)  # msgspec knows no Infinity, which SQLite does
    except ValueError:  # it was killed for its computing
        raise FlowError(LATE) from None
    answer = msgspec.convert(answer, _Answer)
    if answer.closed:
        raise StorageError(f"the database of the SQL chain cannot be opened: {answer.closed}")
    if answer.error:
        raise FlowError(_reason(answer.error))
    return answer.results


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _reason(error: str) -> str:
    if error == "interrupted":
        return LATE
    if any(sign in error for sign in _REFUSED):
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
        if number >= MOST_ROWS or size > _LONGEST_RESULT:
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
