"""The databases' own words: SQLite's, and by way of `storage.postgres` PostgreSQL's. All else in `storage` is plain
SQLAlchemy Core.

Each question here has an answer for both; the search in `retrieval/embedded` has two of its own.
"""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Table,
    Text,
    create_engine,
    event,
    literal,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from headrace.errors import StorageError
from headrace.storage import postgres

Place: TypeAlias = Path | str
"""The file of a SQLite database, or the URL of a PostgreSQL one."""
NUMBER: Final = BigInteger().with_variant(Integer(), "sqlite")
"""A whole number of 64 bits; SQLite counts keys up only under this name."""
TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is sorted by its characters' codes."""
_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=5000")
_COPY_PATIENCE: Final = 30  # seconds
_NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def engine_for(place: Place) -> Engine:
    """An engine on a database; a file is made if it is missing. Raises OSError and UnusableDatabase.

    On a file: WAL, foreign keys, five seconds of patience with others.
    """
    if not isinstance(place, Path):
        return postgres.engine_for(place)
    os.close(os.open(place, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite itself would let everybody read it
    engine = create_engine(f"sqlite:///{place}", connect_args={"check_same_thread": False})

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


def connected(engine: Engine, *, writes: bool) -> Connection:
    """A connection for one thread, whose transactions write, or each read the database as it was at one moment."""
    if engine.dialect.name == "postgresql":
        return postgres.connected(engine, writes=writes)
    return engine.connect().execution_options(writes=writes)


def stand_alone(c: Connection) -> None:
    """Lets no other process begin such a transaction before this one ends. On a file that goes without saying."""
    if c.dialect.name == "postgresql":
        postgres.stand_alone(c)


def migrating(c: Connection) -> None:
    """The same for a transaction that changes the schema; it waits for another one however long that takes."""
    if c.dialect.name == "postgresql":
        postgres.migrating(c)


class Changes(Protocol):
    """Tells that somebody, in whichever process, has committed something."""

    def version(self) -> int:
        """Another number than before after every commit, and while the number cannot be had. Waits for nobody."""
        ...

    def tell(self, c: Connection) -> None:
        """Tells the other processes that this connection has committed something."""
        ...

    def close(self) -> None:
        """Looks no more."""
        ...


def changes_of(place: Place) -> Changes:
    """The changes of a database."""
    return _FileChanges(place) if isinstance(place, Path) else postgres.Changes(place)


class _FileChanges:
    """A look costs 3 µs: it reads a number in the memory that the processes share, and no table.

    So it may be taken on the event loop.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        self._unknown = itertools.count(-1, -1)

    def version(self) -> int:
        """See Changes."""
        try:
            return self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:
            return next(self._unknown)

    def tell(self, c: Connection) -> None:
        """Nothing is to be done: the number changes by itself."""

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def is_busy(error: Exception) -> bool:
    """True when another process held the database for too long, or the server cannot be reached: so for each work."""
    if not isinstance(error, DBAPIError):
        return False
    return str(getattr(error.orig, "sqlite_errorname", "")).startswith("SQLITE_BUSY") or postgres.is_busy(error)


def lacks_parent(error: IntegrityError) -> bool:
    """True when a row was refused since the row that it belongs to does not exist; else another has its key."""
    return getattr(error.orig, "sqlite_errorname", "") == "SQLITE_CONSTRAINT_FOREIGNKEY" or postgres.lacks_parent(error)


def overflows(error: DBAPIError) -> bool:
    """True for a number of more than 64 bits."""
    return postgres.overflows(error)


def refused(error: DBAPIError) -> StorageError | None:
    """The words for a database whose schema may not be changed; None when that is not the reason."""
    return postgres.refused(error)


def reason(error: DBAPIError) -> str:
    """The database's own words, without statement and parameters."""
    return postgres.reason(error)


def put(
    c: Connection,
    table: Table,
    rows: Sequence[dict[str, Any]],
    key: Sequence[str],
    replace: Mapping[str, Any] | Iterable[str],
) -> None:
    """Stores rows; where the key of one is taken, changes the row that has it.

    `key` names the columns of a primary key or a unique index. `replace` names the columns that get the new values, or
    gives what they get.
    """
    insert = postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert
    new = insert(table).values(list(rows))
    changes = replace if isinstance(replace, Mapping) else {name: new.excluded[name] for name in replace}
    c.execute(new.on_conflict_do_update(index_elements=key, set_=changes))


def incoming(table: Table) -> Any:
    """The columns of the row that `put` would store, for the values of `replace`."""
    return sqlite.insert(table).excluded


class _Word(FunctionElement[Any]):
    """An expression that each database has its own word for."""

    inherit_cache = True
    sqlite = postgresql = ""


def _words(kind: type[_Word]) -> None:
    @compiles(kind)
    def _(element: _Word, compiler: Any, **how: Any) -> str:
        parts = [compiler.process(part, **how) for part in element.clauses]
        return (element.postgresql if compiler.dialect.name == "postgresql" else element.sqlite).format(*parts)


class _Greater(_Word):
    inherit_cache = True
    sqlite, postgresql = "max({0}, {1})", "greatest({0}, {1})"


class _Member(_Word):
    inherit_cache = True
    sqlite, postgresql = "json_extract({0}, '$.' || {1})", "(CAST({0} AS json) ->> {1})"


class _Position(_Word):
    inherit_cache = True
    sqlite, postgresql = "instr({0}, {1})", "strpos({0}, {1})"


class _Items(_Word):
    inherit_cache = True
    sqlite = "(SELECT value FROM json_each({0}))"
    postgresql = "(SELECT json_array_elements_text(CAST({0} AS json)))"


for _kind in (_Greater, _Member, _Position, _Items):
    _words(_kind)


def greater(one: Any, two: Any) -> ColumnElement[Any]:
    """The greater one of two values."""
    return _Greater(one, two)


def member(json: Any, name: str) -> ColumnElement[Any]:
    """A member of a JSON object, which a column holds as text; null where it has none."""
    return _Member(json, literal(name, TEXT))


def contains(text: Any, part: Any) -> ColumnElement[bool]:
    """The condition that a text has a part in it, wherever."""
    return _Position(text, part).op(">", is_comparison=True)(literal(0, NUMBER))


def among(column: Any, values: Sequence[str]) -> ColumnElement[bool]:
    """The condition that a column has one of these values, however many: there is a limit of parameters."""
    return column.op("IN", is_comparison=True)(_Items(literal(json_text(values), TEXT)))


def json_without_nul(text: str) -> str:
    """A JSON text without the character 0, which PostgreSQL cannot look into."""
    return _NUL.sub(r"\1\\ufffd", text) if r"\u0000" in text else text


def json_text(value: Any) -> str:
    """A value as JSON that both databases can look into: PostgreSQL takes no character 0."""
    return json_without_nul(msgspec.json.encode(value).decode())


_LISTS: Final = {
    "sqlite": {
        "texts": "(SELECT value FROM json_each(?))",
        "numbers": "(SELECT value FROM json_each(?))",
        "lists": "json_each(?)",
    },
    "postgresql": {
        "texts": "(SELECT json_array_elements_text(CAST(? AS json)))",
        "numbers": "(SELECT CAST(json_array_elements_text(CAST(? AS json)) AS bigint))",
        "lists": "json_array_elements(CAST(? AS json))",
    },
}


def listed(c: Connection, kind: Literal["texts", "numbers", "lists"]) -> str:
    """The items of a list as rows, for a statement whose question mark stands for the list as JSON.

    Lists are a table with the column `value`; all others are what a column may be IN.
    """
    return _LISTS[c.dialect.name][kind]


class Rows:
    """An INSERT of many rows, made once: for the few statements whose making would cost more than their work."""

    def __init__(self, table: Table, columns: Mapping[str, str]) -> None:
        """`columns` are those that the rows give, in this sequence, each with its type in PostgreSQL."""
        names = ", ".join(f'"{name}"' for name in columns)
        marks = ", ".join("?" for _ in columns)
        lists = ", ".join(f"%b::{kind}[]" for kind in columns.values())
        self._sqlite = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"
        self._postgres = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({lists})"

    def insert(self, c: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Stores the rows, on PostgreSQL in one statement."""
        if c.dialect.name == "postgresql":
            c.exec_driver_sql(self._postgres, tuple(map(list, zip(*rows, strict=True))))
        else:
            c.exec_driver_sql(self._sqlite, list(rows))


def execute(c: Connection, statement: str, values: Any = (), **options: Any) -> Any:
    """Executes a statement with question marks, for one row of values or for several."""
    text = _with_marks(statement) if c.dialect.name == "postgresql" else statement
    return c.exec_driver_sql(text, values, execution_options=options)


@lru_cache(500)
def _with_marks(statement: str) -> str:
    return statement.replace("%", "%%").replace("?", "%s")


def continue_numbers(c: Connection, table: Table) -> None:
    """Lets a table's own numbers go on after the highest one, when rows came with theirs. On a file they do anyway."""
    (key, *more) = table.primary_key
    if c.dialect.name == "postgresql" and not more and isinstance(key.type, BigInteger):
        postgres.continue_numbers(c, table.name, key.name)


def copy(path: Path, target: Path) -> None:
    """Copies the database as it is at one moment, while others work on it. Blocking. Raises StorageError."""
    try:
        with closing(sqlite3.connect(path, timeout=_COPY_PATIENCE)) as live, closing(sqlite3.connect(target)) as new:
            live.backup(new)
    except sqlite3.Error as error:
        raise StorageError(str(error)) from None
