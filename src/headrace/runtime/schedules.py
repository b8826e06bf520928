"""Begins flows by the clock. Several processes may look at it: the one that claims a time in the database begins it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from headrace.engine.agentflow.schedule import Schedule
from headrace.errors import FlowError, HeadraceError
from headrace.runtime.flows import Flow, Flows
from headrace.runtime.runs import Runs
from headrace.schema import PredictionRequest
from headrace.storage import schedules as rows
from headrace.storage.schedules import Drawn, FiringRow, ScheduleRow
from headrace.storage.storage import Storage, timestamp

_logger = logging.getLogger("headrace.schedules")
_LOOK = 1.0  # seconds between looks
_LATE = 60.0  # seconds after which a time counts as missed: a server is restarted in less
_KEPT = timedelta(days=90)
_BUSY = "the run before goes on"


class Schedules:
    """The schedules of all flows."""

    def __init__(self, storage: Storage, flows: Flows, runs: Runs) -> None:
        self._storage, self._database = storage, storage.database
        self._flows, self._runs = flows, runs
        self._read: dict[str, str] = {}  # flows whose schedule is stored, and as of which change
        self._revision = -1

    async def keep_firing(self) -> None:
        """Begins what is due. Ends when cancelled."""
        while True:
            try:
                await self._look()
                pause = await self._pause()
            except Exception as error:  # this must go on, whatever a look came to
                _logger.warning("schedules wait: %s", error)
                pause = _LOOK
            await asyncio.sleep(pause)

    async def _look(self) -> None:
        await self._read_flows()
        now = timestamp()
        due = await self._database.read(lambda c: rows.due(c, now))
        if due:
            await self.settle()
        for row in due:
            await self._fire(row)

    async def _pause(self) -> float:
        following = await self._database.read(rows.next_time)
        if following is None:
            return _LOOK
        return min(_LOOK, max(0.0, (datetime.fromisoformat(following) - datetime.now(UTC)).total_seconds()))

    # The schedules of flows, as these are changed

    async def _read_flows(self) -> None:
        """Stores the schedules of flows that have changed since the last look."""
        await self._storage.refresh()
        revision = self._storage.revision
        if revision == self._revision:
            return
        changed = await self._database.scan(rows.changed_flows)
        scheduled = await self._database.read(rows.scheduled_flows)
        for key in [key for key, at in changed.items() if self._read.get(key) != at]:
            flow = await self._flows.get(key)
            if key in scheduled or _may_begin(flow):
                await self.of(flow)
        self._read, self._revision = changed, revision

    async def of(self, flow: Flow) -> ScheduleRow | None:
        """The flow's schedule as it is drawn now; None when it has none that names times."""
        key, now = flow.row.id, timestamp()
        if not _may_begin(flow):
            await self._database.write(lambda c: rows.forget(c, key))
            return None
        schedule = flow.schedule
        assert schedule
        end = schedule.end
        drawn = Drawn(schedule.text, schedule.scheduleTimezone, None if end is None else timestamp(end.timestamp()))
        following = _following(schedule)
        return await self._database.write(lambda c: rows.keep(c, key, drawn, following, now))

    async def enable(self, flow: Flow, *, enabled: bool) -> ScheduleRow | None:
        """Switches the flow's schedule on or off. Raises FlowError for one that names no times."""
        schedule = flow.schedule
        if schedule is None:
            raise FlowError("the flow does not begin by a schedule: choose that in its Start node")
        if enabled:
            schedule.check()
        if await self.of(flow):
            following = _following(schedule) if enabled else None
            await self._database.write(lambda c: rows.enable(c, flow.row.id, following, timestamp(), enabled=enabled))
        return await self.of(flow)

    # Firings

    async def _fire(self, row: ScheduleRow) -> None:
        flow = await self._flows.get(row.chatflowid)
        schedule = flow.schedule if _may_begin(flow) else None
        if schedule is None or row.nextRunAt is None:
            await self._database.write(lambda c: rows.forget(c, row.chatflowid))
            return
        late = (datetime.now(UTC) - datetime.fromisoformat(row.nextRunAt)).total_seconds()
        missed = late > _LATE and not _makes_up(flow)
        new = FiringRow(
            id=str(uuid4()),
            scheduleRecordId=row.id,
            chatflowid=row.chatflowid,
            status="SKIPPED" if missed else "RUNNING",
            error="no server was there at that time" if missed else None,
            scheduledAt=row.nextRunAt,
            createdDate=timestamp(),
        )
        following = _following(schedule)
        claimed = await self._database.write(lambda c: rows.claim(c, row, following, new, _BUSY))
        if claimed and claimed.status == "RUNNING":
            values = await self._begin(flow, schedule)
            await self._database.write(lambda c: rows.note(c, claimed.id, values))

    async def _begin(self, flow: Flow, schedule: Schedule) -> dict[str, Any]:
        """Begins a run; returns what to note about it."""
        question = schedule.scheduleDefaultInput if schedule.scheduleInputMode == "text" else ""
        try:
            form = schedule.form()
            request = PredictionRequest(question=None if form else question, form=form or None)
            return {"run": await self._runs.start(flow, request, chat_type="SCHEDULED")}
        except HeadraceError as error:
            _logger.warning("the schedule of flow %s began nothing: %s", flow.row.id, error)
            return {"status": "FAILED", "error": str(error)}

    async def settle(self) -> None:
        """Notes how the runs of firings have ended."""
        before = timestamp(datetime.now(UTC).timestamp() - _LATE)
        await self._database.write(lambda c: rows.settle(c, before))

    async def history(self, flow: str, statuses: Sequence[str], number: int, size: int) -> tuple[list[FiringRow], int]:
        """One page of a flow's firings, newest first, and how many there are in all."""
        await self.settle()
        return await self._database.scan(lambda c: rows.history(c, flow, statuses, number, size))

    async def remove(self, flow: str, ids: Sequence[str]) -> tuple[int, int]:
        """Deletes firings that have ended, and their executions; says how many of both."""
        return await self._database.write(lambda c: rows.remove(c, flow, ids))

    async def tidy(self) -> None:
        """Notes how runs have ended, and forgets what is older than three months."""
        await self.settle()
        before = timestamp((datetime.now(UTC) - _KEPT).timestamp())
        await self._database.write(lambda c: rows.forget_old(c, before))


def _may_begin(flow: Flow) -> bool:
    """True for a flow with a schedule that names times."""
    try:
        schedule = flow.schedule
        if schedule:
            schedule.check()
    except HeadraceError:
        return False
    return schedule is not None


def _makes_up(flow: Flow) -> bool:
    try:
        return flow.api.missedRuns == "once"
    except FlowError:  # the run will say so
        return False


def _following(schedule: Schedule) -> str | None:
    following = schedule.following(datetime.now(UTC))
    return None if following is None else timestamp(following.timestamp())
