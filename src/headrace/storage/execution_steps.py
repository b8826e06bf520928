"""The executed nodes of an execution in progress, a row for each: written once, however many come after it.

Once the execution has ended, all of it stands in its own row, and there are no steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, delete, insert, select

from headrace.storage.tables import execution_step


class Steps(NamedTuple):
    """The executed nodes of an execution from a place on, counted from 0, each as JSON. Those before are stored."""

    first: int
    entries: Sequence[str]


def keep(c: Connection, execution_id: str, steps: Steps | None) -> None:
    """Stores steps in place of those from the first one's place on; None leaves the execution without any."""
    first = steps.first if steps else 0
    own = execution_step.c.execution == execution_id
    c.execute(delete(execution_step).where(own, execution_step.c.place >= first))
    if steps and steps.entries:
        rows = [{"execution": execution_id, "place": p, "data": text} for p, text in enumerate(steps.entries, first)]
        c.execute(insert(execution_step), rows)


def filled(c: Connection, rows: Sequence[RowMapping]) -> list[dict[str, Any]]:
    """Rows of executions, by the names of their columns, with what was executed of those in progress."""
    column = execution_step.c
    statement = select(column.execution, column.data).where(column.execution.in_([row["id"] for row in rows]))
    found: dict[str, list[str]] = {}
    for step in c.execute(statement.order_by(column.execution, column.place)):
        found.setdefault(step.execution, []).append(step.data)
    texts = {key: {"executionData": f"[{','.join(entries)}]"} for key, entries in found.items()}
    return [{**{str(name): value for name, value in row.items()}, **texts.get(row["id"], {})} for row in rows]
