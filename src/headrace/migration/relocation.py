"""Copies the database of a data folder into one on PostgreSQL, as often as need be: each time only what is missing.

Rows are copied in the order of their keys, so many in one transaction; the last key that the target holds is where an
interrupted copy goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Table, func, insert, select, tuple_

from headrace.errors import InvalidRequest
from headrace.retrieval.embedded import full_text
from headrace.retrieval.embedded.tables import chunk, metadata
from headrace.storage import shared_seal, tables
from headrace.storage.database import Database
from headrace.storage.dialect import continue_numbers, json_without_nul
from headrace.storage.encryption import Seal
from headrace.storage.presence import in_use
from headrace.storage.process_rows import anyone

_ROWS: Final = 500
_BYTES: Final = 4 * 1024 * 1024
_LEFT: Final = (tables.process, tables.seal, tables.revision, tables.run_order)
"""Tables of the moment, which each database has of its own."""
_SEARCHED: Final = {"chunk", "document_chunk"}
"""Tables whose column `metadata` PostgreSQL looks into."""
TABLES: Final = [table for table in metadata.sorted_tables if table not in _LEFT]
"""All others, those that others refer to first."""


async def relocate(folder: Path, url: str, secret: str = "", told: Callable[[str, int], None] | None = None) -> None:
    """Copies everything and compares the numbers of rows; `told` hears of each table's number.

    Nobody may work on either database meanwhile. Raises InvalidRequest, StorageError and UnusableDatabase.
    """
    if not (folder / "headrace.sqlite").is_file():
        raise InvalidRequest(f"there is nothing to move: {str(folder)!r} holds no headrace.sqlite")
    if in_use(folder):
        raise InvalidRequest(f"a process works on the data folder {str(folder)!r}: stop the server first")
    source = Database(folder / "headrace.sqlite")
    try:
        target = Database(url)
        try:
            shared_seal.check(target, Seal(folder / "secret.key", secret))
            if await target.read(anyone):
                raise InvalidRequest("a server works on the database of the URL: stop it first")
            for table in TABLES:
                await _copy(table, source, target)
                count = await _compared(table, source, target)
                if told:
                    told(table.name, count)
            await target.write(lambda c: [continue_numbers(c, table) for table in TABLES] and None)
        finally:
            target.close()
    finally:
        source.close()


async def _copy(table: Table, source: Database, target: Database) -> None:
    last = await target.read(lambda c: _last(c, table))
    if last is not None:
        there = select(func.count()).select_from(table).where(tuple_(*table.primary_key) == last)
        if not await source.read(lambda c: c.execute(there).scalar_one()):
            raise _mixed(f"the table {table.name!r} has rows in the database of the URL that the data folder has not")
        await _compared(table, source, target, last)
    while rows := await source.scan(lambda c, last=last: _after(c, table, last)):
        await target.write(lambda c, rows=rows: _store(c, table, rows))
        last = tuple(rows[-1][column.name] for column in table.primary_key)


def _last(c: Connection, table: Table) -> tuple[Any, ...] | None:
    """The highest key that a table holds."""
    keys = list(table.primary_key)
    row = c.execute(select(*keys).order_by(*(key.desc() for key in keys)).limit(1)).first()
    return None if row is None else tuple(row)


def _after(c: Connection, table: Table, last: tuple[Any, ...] | None) -> list[dict[str, Any]]:
    """The rows with the next keys: not too many, and not too large together."""
    keys = list(table.primary_key)
    statement = select(table).order_by(*keys).limit(_ROWS)
    if last is not None:
        statement = statement.where(tuple_(*keys) > last)
    found: list[dict[str, Any]] = []
    size = 0
    with c.execute(statement) as rows:
        for row in rows.mappings():
            found.append({str(name): value for name, value in row.items()})
            size += sum(len(value) for value in row.values() if isinstance(value, (str, bytes)))
            if size > _BYTES:
                break
    return found


def _store(c: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if table.name in _SEARCHED:
        rows = [{**row, "metadata": json_without_nul(row["metadata"])} for row in rows]
    c.execute(insert(table), rows)
    if table is chunk:
        full_text.add(c, [(row["id"], row["text"]) for row in rows])


async def _compared(table: Table, source: Database, target: Database, last: tuple[Any, ...] | None = None) -> int:
    """The number of rows, or of those up to a key, which is the same in both. Raises InvalidRequest when it is not."""
    statement = select(func.count()).select_from(table)
    if last is not None:
        statement = statement.where(tuple_(*table.primary_key) <= last)

    def count(c: Connection) -> int:
        return c.execute(statement).scalar_one()

    here, there = await source.scan(count), await target.scan(count)
    if here != there:
        raise _mixed(f"the table {table.name!r} has {here} rows in the data folder and {there} in the URL's database")
    return here


def _mixed(reason: str) -> InvalidRequest:
    return InvalidRequest(f"{reason}: move into an empty database")


def counted(counts: Mapping[str, int]) -> str:
    """The numbers of rows in one line, without empty tables."""
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "no rows"
