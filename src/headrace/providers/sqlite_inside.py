"""The program of a child process that reads a SQLite file: statements in, rows out, one JSON object each.

A process of its own, since nothing else ends a function of SQLite that computes for hours, such as `instr` on two long
texts. It imports nothing of Headrace.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import sys
import time
from functools import partial
from typing import Any
from urllib.parse import quote

_LONGEST_STATEMENT = 20_000
_STEPS = 5000  # of SQLite's machine between two looks at the clock: a millisecond or so
_MEMORY = 1024 * 1024 * 1024  # bytes of address space


class _Request:
    """What is to be read: `path`, `statements`, `seconds`, how much of each result, and from which tables (or all)."""

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
    connection.set_authorizer(partial(_verdict, request.tables))
    return connection


def _verdict(
    tables: list[str] | None, action: int, first: str | None, second: str | None, _: str | None, source: str | None
) -> int:
    """Refuses everything but reading, and tables that are not among these."""
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_DENY if second in ("load_extension", "fts3_tokenizer") else sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_READ and tables is not None and source is None:
        return sqlite3.SQLITE_OK if (first or "").lower() in tables else sqlite3.SQLITE_DENY
    reading = (sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if action in reading else sqlite3.SQLITE_DENY


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
            answer = {"results": [_read(connection, statement, request) for statement in request.statements]}
        except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError) as error:
            answer = {"error": str(error) or type(error).__name__}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
