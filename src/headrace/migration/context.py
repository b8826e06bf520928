"""The context of a move: its source, its target, and the report of what became of each row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from headrace.errors import InvalidRequest
from headrace.migration.install import Install
from headrace.migration.merge import Target, merge_rows
from headrace.migration.report import Outcome, Report, Tally
from headrace.migration.sources import Row, Source, Wanted
from headrace.storage.storage import Storage


class Advanced(Protocol):
    """Is told how many rows were looked at."""

    def __call__(self, rows: int, /) -> None:
        """Counts them."""
        ...


class MoveContext:
    """One move. `dry` copies no files of chats; everything else goes into a data folder that is thrown away."""

    def __init__(
        self, install: Install, source: Source, storage: Storage, report: Report, advanced: Advanced, *, dry: bool
    ) -> None:
        self.install, self.source, self.storage, self.report, self.dry = install, source, storage, report, dry
        self._advanced = advanced

    async def rows(self, wanted: Wanted) -> AsyncIterator[list[Row]]:
        """Rows of the source in batches; none where it has no such table."""
        if wanted.table in self.source.columns:
            async for rows in self.source.rows(wanted):
                yield rows
                self._advanced(len(rows))

    def read(self, tally: Tally, rows: Sequence[Row], values: Callable[[Row], dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows that can be read; the others are named and counted."""
        found: list[dict[str, Any]] = []
        for row in rows:
            try:
                found.append(values(utf8(row)))
            except InvalidRequest as error:
                self.unreadable(tally, row, str(error))
        return found

    async def merge_rows(self, tally: Tally, target: Target, rows: Sequence[Mapping[str, Any]]) -> Sequence[Outcome]:
        """Stores rows in one transaction, counts them, and says what became of each."""
        outcomes = await self.storage.database.write(lambda c: merge_rows(c, target, rows))
        for row, outcome in zip(rows, outcomes, strict=True):
            self.count(tally, row, outcome)
        return outcomes

    def count(self, tally: Tally, row: Mapping[str, Any], outcome: Outcome) -> None:
        """Counts a row; one that stays as it is here is named."""
        tally.add(outcome)
        if outcome == "ours":
            self.report.notes.append(f"kept as here: {_named(tally, row)}; ours is newer, or has its name or value")

    def unreadable(self, tally: Tally, row: Mapping[str, Any], reason: str) -> None:
        """Counts a row that cannot be read, and names it."""
        tally.add("unreadable")
        told = f"not moved: {_named(tally, row)}: {reason}"
        self.report.notes.append(told.encode(errors="replace").decode())


def utf8(row: Row) -> Row:
    """The row. Raises InvalidRequest when a text of it is not UTF-8."""
    for name, value in row.items():
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidRequest(f"its {name!r} is not UTF-8") from None
    return row


def _named(tally: Tally, row: Mapping[str, Any]) -> str:
    name = row.get("name") or row.get("keyName") or row.get("id")
    return f"{str(name)!r} of the {tally.kind}"
