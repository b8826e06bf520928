"""Flowise's SQLite file, read as it was at one moment. Nothing is written into its folder, not even a lock file."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final

from headrace.errors import InvalidRequest
from headrace.migration.sources import BATCH, Row, Wanted, checked

_PATIENCE: Final = 5.0  # seconds that a lock of the old server is waited for
_BESIDE: Final = ("-wal", "-journal")
_WAL: Final = b"\x02"


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[SqliteSource]:
    """A copy of the database, in a folder that goes with it. Raises InvalidRequest."""
    with tempfile.TemporaryDirectory(prefix="headrace-migrate-", ignore_cleanup_errors=True) as folder:
        try:
            connection = await asyncio.to_thread(_copied, path, Path(folder) / "database.sqlite")
        except sqlite3.Error as error:
            raise InvalidRequest(_reason(path, error)) from None
        except OSError as error:
            raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from None
        with closing(connection):
            source = SqliteSource(connection)
            checked(source, str(path))
            yield source


def _copied(path: Path, copy: Path) -> sqlite3.Connection:
    """With changes that are still in a journal beside it: SQLite brings them into the copy."""
    if _in_wal(path) or any(_beside(path, end).exists() for end in _BESIDE):
        for end in ("", *_BESIDE):
            if (part := _beside(path, end)).exists():
                shutil.copyfile(part, _beside(copy, end))
    else:
        _snapshot(path, copy)
    connection = sqlite3.connect(copy, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.text_factory = _text
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)
    return connection


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")  # what is no UTF-8 is told of its row


def _snapshot(path: Path, copy: Path) -> None:
    source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE, isolation_level=None)
    with closing(source), closing(sqlite3.connect(copy)) as target:
        source.execute("BEGIN")
        source.execute(
            "SELECT count(*) FROM sqlite_master"
        ).fetchone()  # waits for a lock, which `backup` does for ever
        source.backup(target)


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _in_wal(path: Path) -> bool:
    """Its header says so; opening such a file makes others beside it, even to read."""
    with path.open("rb") as file:
        return file.read(20)[18:19] == _WAL


def _reason(path: Path, error: sqlite3.Error) -> str:
    reason = " ".join(str(error).split())
    if "locked" in reason:
        return f"{path} is locked by another process: stop the old server, or try again"
    if "not a database" in reason:
        return f"{path} is not a SQLite database"
    return f"{path} is damaged, nothing was moved: {reason}"


class SqliteSource:
    """Implements `Source`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        self.columns: Mapping[str, Sequence[str]] = {name: self._of(name) for (name,) in names}

    def _of(self, table: str) -> list[str]:
        return [column[1] for column in self._connection.execute(f"PRAGMA table_info({_quoted(table)})")]

    async def count(self, table: str) -> int:
        """See Source."""
        return self._connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0]

    async def rows(self, wanted: Wanted) -> AsyncIterator[list[Row]]:
        """See Source."""
        statement, values = f"SELECT * FROM {_quoted(wanted.table)}", list[str]()
        if wanted.column:
            statement, values = f"{statement} WHERE {_quoted(wanted.column)} = ?", [wanted.value]
        if wanted.order in self.columns[wanted.table]:
            statement += f" ORDER BY replace({_quoted(wanted.order)}, 'T', ' '), rowid"
        with closing(self._connection.execute(statement, values)) as cursor:
            while found := await asyncio.to_thread(cursor.fetchmany, BATCH):
                yield [dict(row) for row in found]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
