"""Puts rows into our tables by their ids: new ones, and newer ones than ours. The same ones change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, insert, literal, select, update

from headrace.migration.report import Outcome
from headrace.storage.dialect import among
from headrace.storage.storage import timestamp


class Target(NamedTuple):
    """The table that rows go into; see `Kind` for `owner` and `unique`."""

    table: Table
    owner: tuple[str, Table] | None = None
    unique: str = ""


def merge_rows(c: Connection, target: Target, rows: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """Stores rows and says what became of each, in their order."""
    known = _known(c, target.table, [row["id"] for row in rows])
    owners = _owners(c, target, rows)
    taken = _taken(c, target, rows)
    outcomes: list[Outcome] = []
    for row in rows:
        outcome = _judged(target, row, known, owners, taken)
        match outcome:
            case "new":
                c.execute(insert(target.table), _dated(row))
            case "changed":
                changes = {name: value for name, value in row.items() if name not in ("id", "createdDate", "run")}
                c.execute(update(target.table).where(target.table.c.id == row["id"]).values(changes))
            case _:
                pass
        if outcome in ("new", "changed"):
            known[row["id"]] = row.get("updatedDate", "")
            if target.unique:
                taken[row[target.unique]] = row["id"]
        outcomes.append(outcome)
    return outcomes


def _judged(
    target: Target, row: Mapping[str, Any], known: Mapping[str, str], owners: set[str] | None, taken: Mapping[Any, str]
) -> Outcome:
    if owners is not None and target.owner and row[target.owner[0]] not in owners:
        return "left"
    if target.unique and taken.get(row[target.unique], row["id"]) != row["id"]:
        return "ours"
    return compared(known.get(row["id"]), row.get("updatedDate", ""))


def _dated(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row, from now where the source does not say since when."""
    return {**row, **{name: timestamp() for name in ("createdDate", "updatedDate") if row.get(name) == ""}}


def compared(here: str | None, there: str) -> Outcome:
    """The outcome for a row, by when it changed last: None for a row that is not here, "" where the date is unknown."""
    if here is None:
        return "new"
    return "same" if there in (here, "") else "changed" if here < there else "ours"


def _known(c: Connection, table: Table, ids: Sequence[str]) -> dict[str, str]:
    """The dates of the last change of the rows with these ids, "" in tables without dates."""
    changed = table.c.updatedDate if "updatedDate" in table.c else literal("")
    return dict(c.execute(select(table.c.id, changed).where(among(table.c.id, ids))).tuples().all())


def _owners(c: Connection, target: Target, rows: Sequence[Mapping[str, Any]]) -> set[str] | None:
    if target.owner is None:
        return None
    column, table = target.owner
    return set(c.execute(select(table.c.id).where(among(table.c.id, [row[column] for row in rows]))).scalars())


def _taken(c: Connection, target: Target, rows: Sequence[Mapping[str, Any]]) -> dict[Any, str]:
    """Ids of the rows that have one of these values already."""
    if not target.unique:
        return {}
    column = target.table.c[target.unique]
    wanted = among(column, [row[target.unique] for row in rows])
    return dict(c.execute(select(column, target.table.c.id).where(wanted)).tuples().all())
