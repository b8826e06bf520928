"""Schedules of flows and their firings in the database: the statements, each a function over a connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, Select, delete, exists, func, insert, select, update

from headrace.storage.dialect import put
from headrace.storage.tables import execution, firing, flow, run, schedule

FiringStatus: TypeAlias = Literal["RUNNING", "SUCCEEDED", "FAILED", "SKIPPED"]
_LOST = "the server ended before its run could begin"
_CANCELLED = "the run was cancelled"


class Drawn(msgspec.Struct, frozen=True):
    """The times of a schedule as its flow has them. Under the names of their columns."""

    cronExpression: str
    timezone: str
    endDate: str | None


class ScheduleRow(msgspec.Struct, frozen=True):
    """The schedule of a flow; times are ISO 8601 in UTC."""

    id: str
    chatflowid: str
    cronExpression: str
    timezone: str
    endDate: str | None
    enabled: bool
    lastRunAt: str | None
    nextRunAt: str | None
    createdDate: str
    updatedDate: str

    @property
    def drawn(self) -> Drawn:
        """Its times."""
        return Drawn(self.cronExpression, self.timezone, self.endDate)


class FiringRow(msgspec.Struct, frozen=True, kw_only=True):
    """A time that a schedule came to. `run` is what it began, where it began anything."""

    id: str
    scheduleRecordId: str
    chatflowid: str
    run: str | None = None
    executionId: str | None = None
    status: FiringStatus
    error: str | None = None
    elapsedTimeMs: int | None = None
    scheduledAt: str
    createdDate: str


def changed_flows(c: Connection) -> dict[str, str]:
    """When each agent flow was changed last."""
    statement = select(flow.c.id, flow.c.updatedDate).where(flow.c.type == "AGENTFLOW")
    return {row.id: row.updatedDate for row in c.execute(statement)}


def scheduled_flows(c: Connection) -> set[str]:
    """Flows that have a schedule here."""
    return set(c.execute(select(schedule.c.chatflowid)).scalars())


def of_flow(c: Connection, flow_id: str) -> ScheduleRow | None:
    """The flow's schedule."""
    found = _rows(c, select(schedule).where(schedule.c.chatflowid == flow_id), ScheduleRow)
    return found[0] if found else None


def keep(c: Connection, flow_id: str, drawn: Drawn, following: str | None, now: str) -> ScheduleRow | None:
    """Stores the times of a flow's schedule if they are others than before; returns it, None when the flow is gone."""
    found = of_flow(c, flow_id)
    if found and found.drawn == drawn:
        return found
    if c.execute(select(flow.c.id).where(flow.c.id == flow_id)).first() is None:
        return None
    times = {**msgspec.structs.asdict(drawn), "nextRunAt": following, "updatedDate": now}
    new = {"id": str(uuid4()), "chatflowid": flow_id, "enabled": True, "createdDate": now, **times}
    put(c, schedule, [new], ["chatflowid"], list(times))
    return of_flow(c, flow_id)


def forget(c: Connection, flow_id: str) -> None:
    """Removes the flow's schedule; the history stays."""
    c.execute(delete(schedule).where(schedule.c.chatflowid == flow_id))


def enable(c: Connection, flow_id: str, following: str | None, now: str, *, enabled: bool) -> None:
    """Switches a schedule on or off; on, it goes on with the run after now."""
    values: dict[str, Any] = {"enabled": enabled, "updatedDate": now}
    if enabled:
        values["nextRunAt"] = following
    c.execute(update(schedule).where(schedule.c.chatflowid == flow_id).values(values))


def due(c: Connection, now: str) -> list[ScheduleRow]:
    """Schedules whose time has come."""
    return _rows(c, select(schedule).where(schedule.c.enabled, schedule.c.nextRunAt <= now), ScheduleRow)


def next_time(c: Connection) -> str | None:
    """The time at which the next schedule is due."""
    return c.execute(select(func.min(schedule.c.nextRunAt)).where(schedule.c.enabled)).scalar()


def claim(c: Connection, row: ScheduleRow, following: str | None, new: FiringRow, busy: str) -> FiringRow | None:
    """Takes the right to the run that is due, and notes it; None when another process was faster.

    While the run before goes on, the new one is skipped for the reason `busy`.
    """
    mine = (schedule.c.id == row.id, schedule.c.enabled, schedule.c.nextRunAt == row.nextRunAt)
    values = {"nextRunAt": following, "lastRunAt": new.createdDate}
    if c.execute(update(schedule).where(*mine).values(values)).rowcount != 1:
        return None
    running = exists().where(firing.c.scheduleRecordId == row.id, firing.c.status == "RUNNING")
    if new.status == "RUNNING" and c.execute(select(running)).scalar():
        new = msgspec.structs.replace(new, status="SKIPPED", error=busy)
    c.execute(insert(firing), msgspec.structs.asdict(new))
    return new


def note(c: Connection, firing_id: str, values: Mapping[str, Any]) -> None:
    """Stores what became of a firing."""
    c.execute(update(firing).where(firing.c.id == firing_id).values(values))


def settle(c: Connection, before: str) -> None:
    """Stores how runs of firings have ended; one that had not begun by then, never will."""
    joined = firing.outerjoin(run, run.c.id == firing.c.run)
    columns = firing.c.id, firing.c.run, firing.c.createdDate, run.c.state, run.c.error, run.c.endedDate
    for row in c.execute(select(*columns).select_from(joined).where(firing.c.status == "RUNNING")).all():
        if row.state not in (None, "running"):
            note(c, row.id, {**_outcome(row), "executionId": _execution_of(c, row.run)})
        elif row.state is None and row.createdDate < before:
            note(c, row.id, {"status": "FAILED", "error": _LOST})


def _outcome(row: Any) -> dict[str, Any]:
    took = datetime.fromisoformat(row.endedDate) - datetime.fromisoformat(row.createdDate)
    reason = row.error or (_CANCELLED if row.state == "cancelled" else None)
    status = "SUCCEEDED" if row.state == "finished" else "FAILED"
    return {"status": status, "error": reason, "elapsedTimeMs": max(0, round(took.total_seconds() * 1000))}


def _execution_of(c: Connection, run_id: str) -> str | None:
    return c.execute(select(execution.c.id).where(execution.c.run == run_id)).scalar()


def history(
    c: Connection, flow_id: str, statuses: Sequence[str], number: int, size: int
) -> tuple[list[FiringRow], int]:
    """One page of a flow's firings, newest first, and how many there are in all."""
    mine = [firing.c.chatflowid == flow_id, *([firing.c.status.in_(statuses)] if statuses else [])]
    total = c.execute(select(func.count()).select_from(firing).where(*mine)).scalar_one()
    columns = [firing.c[name] for name in FiringRow.__struct_fields__]
    statement = select(*columns).where(*mine).order_by(firing.c.position.desc()).limit(size).offset((number - 1) * size)
    return _rows(c, statement, FiringRow), total


def remove(c: Connection, flow_id: str, ids: Sequence[str]) -> tuple[int, int]:
    """Deletes firings that have ended, and their executions; says how many of both."""
    ended = (firing.c.chatflowid == flow_id, firing.c.id.in_(ids), firing.c.status != "RUNNING")
    of_them = select(firing.c.executionId).where(*ended)
    executions = c.execute(delete(execution).where(execution.c.id.in_(of_them))).rowcount
    return c.execute(delete(firing).where(*ended)).rowcount, executions


def forget_old(c: Connection, before: str) -> None:
    """Deletes firings that are older."""
    c.execute(delete(firing).where(firing.c.createdDate < before, firing.c.status != "RUNNING"))


def _rows(c: Connection, statement: Select[Any], kind: type[Any]) -> list[Any]:
    rows = c.execute(statement).mappings()
    return [msgspec.convert({str(key): value for key, value in row.items()}, kind, strict=False) for row in rows]
