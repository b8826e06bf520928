"""The sources of rows: a database of Flowise, or a file that it exported. Values are texts, numbers, JSON or None."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from uuid import UUID

from headrace.errors import InvalidRequest

Row: TypeAlias = dict[str, Any]
BATCH: Final = 200
"""Rows that are read, and written in one transaction."""


class Wanted(NamedTuple):
    """Rows of a table: all of them, or those with one value in a column; in the order of a date."""

    table: str
    order: str = ""
    column: str = ""
    value: str = ""


class Source(Protocol):
    """An old install's rows. Raises InvalidRequest when it cannot be read."""

    columns: Mapping[str, Sequence[str]]
    """The tables, and the columns of each."""

    async def count(self, table: str) -> int:
        """The number of rows of a table."""
        ...

    def rows(self, wanted: Wanted) -> AsyncIterator[list[Row]]:
        """Rows in batches."""
        ...


def plain(value: Any) -> Any:
    """A database's own value as JSON has it."""
    match value:
        case UUID():
            return str(value)
        case datetime():
            return moment(value)
        case bytes() | bytearray():
            return bytes(value).decode(errors="surrogateescape")
        case _:
            return value


def moment(value: Any) -> str:
    """A date as this server writes it; one without a zone is in UTC. Raises InvalidRequest."""
    try:
        read = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        read = read.replace(tzinfo=read.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{str(value)[:40]!r} is no date") from None
    return read.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def checked(source: Source, told: str) -> None:
    """Raises InvalidRequest unless it has Flowise's flows."""
    if "chat_flow" not in source.columns:
        raise InvalidRequest(f"{told} is not a database of Flowise: it has no table 'chat_flow'")
    if missing := {"id", "name", "flowData"} - set(source.columns["chat_flow"]):
        raise InvalidRequest(f"{told} cannot be read: its table 'chat_flow' lacks {', '.join(sorted(missing))}")
