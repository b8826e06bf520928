"""The program of a child process that reads a SQLite file: statements in, rows out, one JSON object each.

A process of its own, since nothing else ends a function of SQLite that computes for hours, such as `instr` on two long
texts. It imports nothing of Headrace.
"""

from __future__ import annotations

import json
import re
import resource
import sqlite3
import string
import sys
import time
from collections.abc import Iterable
from functools import partial
from typing import Any
from urllib.parse import quote

_LONGEST_STATEMENT = 20_000
_STEPS = 5000  # of SQLite's machine between two looks at the clock: a millisecond or so
_MEMORY = 1024 * 1024 * 1024  # bytes of address space
_HARMLESS = ("json_each", "json_tree")
"""Functions that are read like tables and see nothing but what they are given."""
_EXPLAINS = re.compile(r"\s*EXPLAIN\b", re.IGNORECASE)
_LOWER = {ord(upper): ord(lower) for upper, lower in zip(string.ascii_uppercase, string.ascii_lowercase, strict=True)}


class _Request:
    """A request: `path`, `statements`, `seconds`, the limit of each result, and the allowed tables (None for all)."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.path: str = given["path"]
        self.statements: list[str] = given["statements"]
        self.seconds: float = given["seconds"]
        self.rows: int = given["rows"]
        self.size: int = given["size"]
        self.longest: int = given["longest"]
        self.tables: list[str] | None = given["tables"]


def _opened(request: _Request) -> sqlite3.Connection:
    uri = f"file:{quote(request.path)}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=request.seconds / 2)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000_000)  # bytes of one value: functions can make large ones
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _LONGEST_STATEMENT)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for pragma in ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    deadline = time.monotonic() + request.seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    return connection


def _verdict(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Refuses everything but reading."""
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_DENY if second in ("load_extension", "fts3_tokenizer") else sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA:  # which full-text tables look at before they are read
        return sqlite3.SQLITE_OK if (first, second) == ("data_version", None) else sqlite3.SQLITE_DENY
    reading = (sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if action in reading else sqlite3.SQLITE_DENY


class _Stand:
    """Empty tables with the names and columns of the chosen tables and views, and nothing else.

    A statement that can be prepared here names nothing else either. On the file itself that could not be told: there
    the authorizer gives the name of a view for what the view reads, and the same name for a WITH that is called so.
    """

    def __init__(self, connection: sqlite3.Connection, tables: list[str]) -> None:
        self._tables = [(name, columns) for name in tables if (columns := _columns(connection, name))]
        held = {_folded(name) for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        self._readable = {_folded(name) for name, _ in self._tables} | (set(_HARMLESS) - held)
        self._empty = sqlite3.connect(":memory:")
        self._empty.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        for name, columns in self._tables:
            self._empty.execute(f"CREATE TABLE {_quoted(name)} ({', '.join(map(_quoted, columns))})")
        _begin(self._empty, _HARMLESS)
        self._empty.set_authorizer(self._verdict)

    def check(self, statement: str) -> None:
        """Raises sqlite3.Error for a statement that names another table."""
        self._empty.execute(statement if _EXPLAINS.match(statement) else f"EXPLAIN {statement}").close()

    def _verdict(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_READ and _folded(first or "") not in self._readable:
            return sqlite3.SQLITE_DENY
        return _verdict(action, first, second)


def _begin(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Lets virtual tables declare their columns, which counts as creating a table, while that is still allowed."""
    for name in names:
        _columns(connection, name)


def _columns(connection: sqlite3.Connection, name: str) -> list[str]:
    """The columns of a table or view, hidden ones as well; none of a broken view or of an unknown kind of table."""
    try:
        return [row[1] for row in connection.execute(f"PRAGMA table_xinfo({_quoted(name)})")]
    except sqlite3.Error:
        return []


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _folded(name: str) -> str:
    """The name as SQLite compares it: only the letters of ASCII have two cases."""
    return name.translate(_LOWER)


def _results(connection: sqlite3.Connection, request: _Request) -> list[dict[str, Any]]:
    if request.tables is not None:
        stand = _Stand(connection, request.tables)
        for statement in request.statements:
            stand.check(statement)
    virtual = connection.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'")
    _begin(connection, [*_HARMLESS, *(name for (name,) in virtual)])
    connection.set_authorizer(_verdict)
    return [_read(connection, statement, request) for statement in request.statements]


def _read(connection: sqlite3.Connection, statement: str, request: _Request) -> dict[str, Any]:
    """Columns and rows, at most as many as asked for and one more, so that it is seen that there are more."""
    cursor = connection.execute(statement)
    rows: list[list[Any]] = []
    left = request.size
    for row in cursor:
        rows.append([_plain(value, request.longest) for value in row])
        left -= sum(len(str(value)) for value in rows[-1])
        if len(rows) > request.rows or left < 0:
            break
    return {"columns": [column[0] for column in cursor.description or ()], "rows": rows}


def _plain(value: Any, longest: int) -> Any:
    if isinstance(value, bytes):
        return f"[{len(value)} bytes]"
    return value[: longest + 1] if isinstance(value, str) else value


def main() -> None:
    """Answers the one request on the standard input."""
    request = _Request(json.load(sys.stdin))
    cpu = int(request.seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    try:
        connection = _opened(request)
    except sqlite3.Error as error:
        answer: dict[str, Any] = {"closed": str(error)}
    else:
        try:
            answer = {"results": _results(connection, request)}
        except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError) as error:
            answer = {"error": str(error) or type(error).__name__}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
