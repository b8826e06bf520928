"""Schedules of flows: what they are at, on and off, and their history, in Flowise's shapes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, delete, get, patch
from litestar.params import QueryParameter

from headrace.errors import FlowNotFound, HeadraceError
from headrace.runtime.flows import Flow
from headrace.server.auth import local, needs
from headrace.server.predictions import FlowId, flow_at
from headrace.storage.schedules import FiringRow, FiringStatus, ScheduleRow
from headrace.storage.storage import timestamp

_SHOWN: Final = 5  # of the next runs
_MOST: Final = 500  # firings on one page


class ShownSchedule(msgspec.Struct, kw_only=True):
    """The schedule of a flow. Times are ISO 8601 in UTC."""

    id: str
    triggerType: Literal["AGENTFLOW"] = "AGENTFLOW"
    targetId: str
    nodeId: str
    cronExpression: str
    timezone: str
    enabled: bool
    scheduleInputMode: Literal["text", "form", "none"]
    defaultInput: str | None
    defaultForm: dict[str, Any] | None
    lastRunAt: str | None
    nextRunAt: str | None
    endDate: str | None
    workspaceId: None = None
    createdDate: str
    updatedDate: str


class ScheduleStatus(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The schedule of a flow, and the times that it comes to next; or the reason for which it has none."""

    enabled: bool
    canEnable: bool
    reason: str | None = None
    record: ShownSchedule | None
    nextRuns: list[str] = []


class ScheduleSwitch(msgspec.Struct):
    """A schedule's state that is wanted."""

    enabled: bool


class ShownFiring(msgspec.Struct, kw_only=True):
    """A time that a schedule came to, and what became of it."""

    id: str
    scheduleRecordId: str
    triggerType: Literal["AGENTFLOW"] = "AGENTFLOW"
    targetId: str
    executionId: str | None
    status: FiringStatus
    error: str | None
    elapsedTimeMs: int | None
    scheduledAt: str
    workspaceId: None = None
    createdDate: str


class FiringPage(msgspec.Struct):
    """One page of firings, newest first, and how many there are in all."""

    data: list[ShownFiring]
    total: int
    page: int
    limit: int


class FiringIds(msgspec.Struct):
    """Firings to delete."""

    logIds: list[str]


class DeletedFirings(msgspec.Struct):
    """The numbers of deleted firings and executions."""

    deletedLogs: int
    deletedExecutions: int


@get(
    "/api/v1/chatflows/{flow_id:str}/schedule/status",
    guards=[needs("chatflows:view", "chatflows:update")],
    summary="The schedule of a flow",
    tags=["schedules"],
)
async def status(request: Request[Any, Any, Any], flow_id: FlowId) -> ScheduleStatus:
    """The flow's schedule with its next times; `reason` says why it has none. A flow that is gone has none either."""
    here = local(request)
    try:
        flow = await flow_at(flow_id, here)
        schedule = flow.schedule
        if schedule is None:
            return _none("the flow does not begin by a schedule: choose that in its Start node")
        schedule.check()
    except FlowNotFound:
        return _none("Flow not found or has no data")
    except HeadraceError as error:
        return _none(str(error))
    row = await here.schedules.of(flow)
    if row is None:
        return _none("Flow not found or has no data")
    following = schedule.following_times(datetime.now(UTC), _SHOWN) if row.enabled else []
    return ScheduleStatus(
        enabled=row.enabled,
        canEnable=True,
        record=_shown_schedule(flow, row),
        nextRuns=[timestamp(moment.timestamp()) for moment in following],
    )


def _none(reason: str) -> ScheduleStatus:
    return ScheduleStatus(enabled=False, canEnable=False, reason=reason, record=None)


def _shown_schedule(flow: Flow, row: ScheduleRow) -> ShownSchedule:
    schedule = flow.schedule
    assert schedule
    values = {name: value for name, value in msgspec.structs.asdict(row).items() if name != "chatflowid"}
    return ShownSchedule(
        **values,
        targetId=row.chatflowid,
        nodeId=next(node.id for node in flow.file.nodes if node.data.name == "startAgentflow"),
        scheduleInputMode=schedule.scheduleInputMode,
        defaultInput=schedule.scheduleDefaultInput or None,
        defaultForm=schedule.form(),
    )


@patch(
    "/api/v1/chatflows/{flow_id:str}/schedule/enabled",
    guards=[needs("chatflows:update")],
    opt={"refuses": (404, 422)},
    summary="Switch a schedule on or off",
    tags=["schedules"],
)
async def switch(request: Request[Any, Any, Any], flow_id: FlowId, data: ScheduleSwitch) -> ShownSchedule | None:
    """Switches the flow's schedule; on, it goes on with the time after now. 422 says why it cannot be switched on."""
    here = local(request)
    flow = await flow_at(flow_id, here)
    row = await here.schedules.enable(flow, enabled=data.enabled)
    return None if row is None else _shown_schedule(flow, row)


@get(
    "/api/v1/chatflows/{flow_id:str}/schedule/trigger-logs",
    guards=[needs("chatflows:view", "chatflows:update")],
    opt={"refuses": (404,)},
    summary="The history of a schedule",
    tags=["schedules"],
)
async def history(
    request: Request[Any, Any, Any],
    flow_id: FlowId,
    wanted: Annotated[list[FiringStatus] | None, QueryParameter(name="status", description="One or more.")] = None,
    page: int = 1,
    limit: int = 20,
) -> FiringPage:
    """One page of the times that the schedule came to, newest first, and what became of each."""
    here = local(request)
    await flow_at(flow_id, here)
    number, size = max(1, page), min(max(1, limit), _MOST)
    rows, total = await here.schedules.history(flow_id, wanted or (), number, size)
    return FiringPage([_firing(row) for row in rows], total, number, size)


def _firing(row: FiringRow) -> ShownFiring:
    values = {name: value for name, value in msgspec.structs.asdict(row).items() if name not in ("chatflowid", "run")}
    return ShownFiring(**values, targetId=row.chatflowid)


@delete(
    "/api/v1/chatflows/{flow_id:str}/schedule/trigger-logs",
    guards=[needs("chatflows:update", "executions:delete")],
    status_code=200,
    opt={"refuses": (404,)},
    summary="Delete of a schedule's history",
    tags=["schedules"],
)
async def forget(request: Request[Any, Any, Any], flow_id: FlowId, data: FiringIds) -> DeletedFirings:
    """Deletes the named firings and their executions; one whose run goes on stays."""
    here = local(request)
    await flow_at(flow_id, here)
    return DeletedFirings(*await here.schedules.remove(flow_id, data.logIds))


ROUTES = (status, switch, history, forget)
