"""Executions of agent flows in the database: the statements, each a function over a connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, case, delete, func, select, text, update

from headrace.schema import ExecutionRow
from headrace.storage import execution_steps
from headrace.storage.execution_steps import Steps
from headrace.storage.tables import execution, flow

# One statement, so that a flow deleted in the meantime takes its executions with it and nothing fails.
_PUT = text("""
INSERT INTO execution (id, run, "agentflowId", "sessionId", state, "executionData", action, "createdDate",
                       "updatedDate", "stoppedDate", progress, "flowData")
SELECT :id, :run, :agentflowId, :sessionId, :state, :executionData, :action, :createdDate, :updatedDate, :stoppedDate,
       :progress, :flowData
WHERE EXISTS (SELECT 1 FROM flow WHERE id = :agentflowId)
ON CONFLICT (id) DO UPDATE SET run = excluded.run, state = excluded.state, "executionData" = excluded."executionData",
    action = excluded.action, "updatedDate" = excluded."updatedDate", "stoppedDate" = excluded."stoppedDate",
    progress = excluded.progress, "flowData" = excluded."flowData",
    job = CASE WHEN excluded.progress IS NULL THEN NULL ELSE execution.job END
""")
_COLUMNS = [column for column in execution.c if column.name in ExecutionRow.__struct_fields__]
_FLOW = [flow.c[name] for name in ("id", "name", "type", "createdDate", "updatedDate")]


class ExecutionFilter(msgspec.Struct, frozen=True):
    """Which executions are meant; None means any."""

    id: str | None = None
    agentflowId: str | None = None
    agentflowName: str | None = None
    sessionId: str | None = None
    state: str | None = None
    startDate: str | None = None
    endDate: str | None = None


class Stored(msgspec.Struct, frozen=True):
    """An execution that can go on: where it is as JSON, what was executed as JSON, and the flow as it was."""

    id: str
    state: str
    action: str | None
    progress: str
    executionData: str
    flowData: str


def put(
    c: Connection, row: ExecutionRow, run: str, progress: str | None, flow_data: str | None, steps: Steps | None
) -> None:
    """Stores an execution as it is now; does nothing when its flow is gone. One in progress has steps."""
    values = {**msgspec.structs.asdict(row), "run": run, "progress": progress, "flowData": flow_data}
    if c.execute(_PUT, values).rowcount:
        execution_steps.keep(c, row.id, steps)


def keep_job(c: Connection, execution_id: str, job: bytes) -> None:
    """Stores the sealed job of the execution's newest run."""
    c.execute(update(execution).where(execution.c.id == execution_id).values(job=job))


def job_of(c: Connection, execution_id: str) -> bytes | None:
    """The sealed job of the execution's newest run, while it can go on."""
    return c.execute(select(execution.c.job).where(execution.c.id == execution_id)).scalar()


def state_of(c: Connection, execution_id: str) -> str | None:
    """The execution's state; None for an unknown one."""
    return c.execute(select(execution.c.state).where(execution.c.id == execution_id)).scalar()


def waiting(c: Connection, flow_id: str, session: str) -> list[tuple[str, str]]:
    """Executions of a session that wait for a person, newest first: ids and what they ask, as JSON."""
    mine = (execution.c.agentflowId == flow_id, execution.c.sessionId == session, execution.c.state == "STOPPED")
    statement = select(execution.c.id, execution.c.action).where(*mine).order_by(execution.c.position.desc())
    return [(row.id, row.action or "{}") for row in c.execute(statement)]


def flows_that_wait(c: Connection) -> list[str]:
    """Flows of which executions wait for a person."""
    return list(c.execute(select(execution.c.agentflowId).where(execution.c.state == "STOPPED").distinct()).scalars())


def waiting_since(c: Connection, flow_id: str, before: str) -> list[str]:
    """Executions of a flow that have waited for a person since before then, oldest first."""
    mine = (execution.c.agentflowId == flow_id, execution.c.state == "STOPPED", execution.c.stoppedDate < before)
    return list(c.execute(select(execution.c.id).where(*mine).order_by(execution.c.position)).scalars())


def known(c: Connection, flow_id: str, session: str) -> bool:
    """True when anything was executed in the session."""
    mine = (execution.c.agentflowId == flow_id, execution.c.sessionId == session)
    return c.execute(select(execution.c.id).where(*mine).limit(1)).first() is not None


def take(c: Connection, execution_id: str, run_id: str, now: str, *, states: Sequence[str] = ("STOPPED",)) -> bool:
    """Gives an execution to a run if it is in one of these states and can go on; says whether that was so."""
    mine = (execution.c.id == execution_id, execution.c.state.in_(states), execution.c.progress.is_not(None))
    values = {"state": "INPROGRESS", "run": run_id, "updatedDate": now, "stoppedDate": None}
    return c.execute(update(execution).where(*mine).values(values)).rowcount == 1


def give_back(c: Connection, run_id: str, now: str) -> None:
    """Lets what a run has taken and not begun be taken again: it waits for a person, or has failed, as before."""
    mine = (execution.c.run == run_id, execution.c.state == "INPROGRESS")
    before = case((execution.c.action.is_(None), "ERROR"), else_="STOPPED")
    c.execute(update(execution).where(*mine).values(state=before, updatedDate=now, stoppedDate=now))


def stored(c: Connection, execution_id: str) -> Stored | None:
    """The progress that an execution can go on from; None when there is none."""
    columns = [execution.c[name] for name in Stored.__struct_fields__]
    row = c.execute(select(*columns).where(execution.c.id == execution_id)).mappings().first()
    if row is None or row["progress"] is None or row["flowData"] is None:
        return None
    return msgspec.convert(execution_steps.filled(c, [row])[0], Stored)


def interrupt(c: Connection, runs: Sequence[str], now: str) -> None:
    """Closes what these runs, which are lost, had in progress."""
    lost = (execution.c.run.in_(runs), execution.c.state == "INPROGRESS")
    c.execute(update(execution).where(*lost).values(state="ERROR", updatedDate=now, stoppedDate=now))


def of_run(c: Connection, run_id: str, flow_id: str, now: str) -> str | None:
    """The execution of a run that was lost and goes on; closes those of flows that were asked inside of it."""
    mine = (execution.c.run == run_id, execution.c.agentflowId == flow_id)
    found = c.execute(select(execution.c.id).where(*mine).order_by(execution.c.position).limit(1)).scalar()
    lost = (execution.c.run == run_id, execution.c.state == "INPROGRESS", execution.c.id != found)
    if found:
        c.execute(update(execution).where(*lost).values(state="ERROR", updatedDate=now, stoppedDate=now))
    return found


def previous(c: Connection, flow_id: str, session: str) -> str | None:
    """The executed data of the session's newest execution, as JSON, if it has ended or waits for a human."""
    statement = select(execution.c.id, execution.c.executionData).where(
        execution.c.agentflowId == flow_id, execution.c.sessionId == session, execution.c.state != "INPROGRESS"
    )
    row = c.execute(statement.order_by(execution.c.position.desc()).limit(1)).mappings().first()
    return None if row is None else execution_steps.filled(c, [row])[0]["executionData"]


def page(c: Connection, wanted: ExecutionFilter, number: int, size: int) -> tuple[list[dict[str, Any]], int]:
    """One page of executions, newest first, each with its flow; and how many there are in all."""
    conditions = _conditions(wanted)
    total = c.execute(_joined(func.count()).where(*conditions)).scalar_one()
    labelled = [column.label(f"flow_{column.name}") for column in _FLOW]
    statement = _joined(*_COLUMNS, *labelled).where(*conditions).order_by(execution.c.position.desc())
    rows = c.execute(statement.limit(size).offset((number - 1) * size)).mappings().all()
    return [_with_flow(row) for row in execution_steps.filled(c, rows)], total


def _joined(*columns: Any) -> Select[*tuple[Any, ...]]:
    return select(*columns).select_from(execution.join(flow, flow.c.id == execution.c.agentflowId))


def _with_flow(row: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in row.items() if not key.startswith("flow_")}
    return {**own, "agentflow": {column.name: row[f"flow_{column.name}"] for column in _FLOW}}


def _conditions(wanted: ExecutionFilter) -> list[ColumnElement[bool]]:
    columns = execution.c
    equal = {
        columns.id: wanted.id,
        columns.agentflowId: wanted.agentflowId,
        columns.sessionId: wanted.sessionId,
        columns.state: wanted.state,
        flow.c.name: wanted.agentflowName,
    }
    conditions = [column == value for column, value in equal.items() if value]
    if wanted.startDate:
        conditions.append(columns.createdDate >= wanted.startDate)
    if wanted.endDate:
        conditions.append(columns.createdDate <= wanted.endDate)
    return conditions


def some(c: Connection, ids: Sequence[str]) -> dict[str, ExecutionRow]:
    """Executions by id; those that are not there are left out."""
    rows = c.execute(select(*_COLUMNS).where(execution.c.id.in_(ids))).mappings().all()
    found = (msgspec.convert(row, ExecutionRow) for row in execution_steps.filled(c, rows))
    return {row.id: row for row in found}


def mark(c: Connection, execution_id: str, *, public: bool, now: str) -> None:
    """Marks an execution as public or private."""
    statement = update(execution).where(execution.c.id == execution_id)
    c.execute(statement.values(isPublic=public, updatedDate=now))


def remove(c: Connection, ids: Sequence[str]) -> int:
    """Deletes executions and says how many."""
    return c.execute(delete(execution).where(execution.c.id.in_(ids))).rowcount
