"""Everything that the database says in its own words: SQLite's. All else in `storage` is plain SQLAlchemy Core.

Another database needs a second answer to each of these questions, and a search of its own in place of
`retrieval/embedded`; triggers stand in `migrations`.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Insert, Table, create_engine, event, func, select
from sqlalchemy.dialects.sqlite import dialect as _dialect
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError, IntegrityError

from headrace.errors import StorageError

_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=5000")
_COPY_PATIENCE: Final = 30  # seconds


def engine_for(path: Path) -> Engine:
    """An engine on a file, which is made if it is missing: WAL, foreign keys, five seconds of patience with others.

    A connection that is to write has `writes` among its execution options. Raises OSError.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite itself would let everybody read it
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


class Changes:
    """Tells that somebody, in whichever process, has committed something.

    A look costs 3 µs: it reads a number in the memory that the processes share, no table, and it waits for nobody. So
    it may be taken on the event loop.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        self._unknown = itertools.count(-1, -1)

    def version(self) -> int:
        """Another number than before after every commit, and while the number cannot be had."""
        try:
            return self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:
            return next(self._unknown)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def is_busy(error: Exception) -> bool:
    """True when another process held the database for too long."""
    return isinstance(error, DBAPIError) and str(getattr(error.orig, "sqlite_errorname", "")).startswith("SQLITE_BUSY")


def lacks_parent(error: IntegrityError) -> bool:
    """True when a row was refused since the row that it belongs to does not exist; else another has its key."""
    return getattr(error.orig, "sqlite_errorname", "") == "SQLITE_CONSTRAINT_FOREIGNKEY"


def put(
    table: Table, rows: Sequence[dict[str, Any]], key: Sequence[str], replace: Mapping[str, Any] | Iterable[str]
) -> Insert:
    """A statement that stores rows; where the key of one is taken, it changes the row that has it.

    `key` names the columns of a primary key or a unique index. `replace` names the columns that get the new values, or
    gives what they get.
    """
    new = insert(table).values(list(rows))
    changes = replace if isinstance(replace, Mapping) else {name: new.excluded[name] for name in replace}
    return new.on_conflict_do_update(index_elements=key, set_=changes)


def incoming(table: Table) -> Any:
    """The columns of the row that `put` would store, for the values of `replace`."""
    return insert(table).excluded


def greater(one: Any, two: Any) -> ColumnElement[Any]:
    """The greater one of two values."""
    return func.max(one, two)


def member(json: Any, name: str) -> ColumnElement[Any]:
    """A member of a JSON object, which a column holds as text; null where it has none."""
    return func.json_extract(json, f"$.{name}")


def contains(text: Any, part: Any) -> ColumnElement[bool]:
    """The condition that a text has a part in it, wherever."""
    return func.instr(text, part) > 0


def prepared(statement: Insert, columns: Sequence[str]) -> str:
    """The text of an INSERT for `exec_driver_sql`, which takes values of these columns, in the table's sequence.

    For the few statements whose making would cost more than their work.
    """
    return str(statement.compile(dialect=_dialect(), column_keys=list(columns)))


def among(column: Any, values: Sequence[str]) -> ColumnElement[bool]:
    """The condition that a column has one of these values, however many: there is a limit of parameters."""
    wanted = func.json_each(msgspec.json.encode(values).decode()).table_valued("value")
    return column.in_(select(wanted.c.value))


def copy(path: Path, target: Path) -> None:
    """Copies the database as it is at one moment, while others work on it. Blocking. Raises StorageError."""
    try:
        with closing(sqlite3.connect(path, timeout=_COPY_PATIENCE)) as live, closing(sqlite3.connect(target)) as new:
            live.backup(new)
    except sqlite3.Error as error:
        raise StorageError(str(error)) from None
