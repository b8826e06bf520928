"""Keeps what agent flows do: noted at once, written by the way, and waited for only at a run's end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.engine.agentflow.execution import Execution
from headrace.errors import HeadraceError, NotFound
from headrace.events import whole
from headrace.runtime.queue import Job
from headrace.schema import ExecutionRow
from headrace.store import executions as rows
from headrace.store.database import Database
from headrace.store.executions import ExecutionFilter
from headrace.store.store import timestamp

_logger = logging.getLogger("headrace.runs")
_INTERVAL = 0.05  # seconds between writes
_PAUSE = 1.0  # seconds until another attempt when the database took nothing


class Executions:
    """The executions of this process's runs on their way into the database, and those that are there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, tuple[Job, Execution]] = {}
        self._bell = asyncio.Event()

    def note(self, job: Job, execution: Execution) -> None:
        """Keeps the execution as it is now, with the next write."""
        self._noted[execution.id] = job, msgspec.structs.replace(execution)
        self._bell.set()

    async def keep_writing(self) -> None:
        """Writes what is noted, many notes of one execution once. Ends when cancelled."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            noted, self._noted = self._noted, {}
            try:
                await self._write(list(noted.values()))
            except HeadraceError as error:
                _logger.warning("executions wait in memory: %s", error)
                self._noted = noted | self._noted
                self._bell.set()
                await asyncio.sleep(_PAUSE)
            await asyncio.sleep(_INTERVAL)

    async def end(self, job: Job, execution: Execution, *, cancelled: bool) -> None:
        """Stores how an execution ended; where the database does not take it, with a later write."""
        self._noted.pop(execution.id, None)
        if execution.state == "INPROGRESS":  # it did not get to say so itself
            execution.state = "TERMINATED" if cancelled else "ERROR"
        try:
            await self._write([(job, execution)])
        except HeadraceError as error:
            _logger.warning("the end of execution %s waits in memory: %s", execution.id, error)
            self.note(job, execution)

    async def _write(self, noted: Sequence[tuple[Job, Execution]]) -> None:
        now = timestamp()
        await self._database.write(lambda c: [rows.put(c, _row(job, one, now), job.run) for job, one in noted])

    async def previous(self, flow: str, session: str) -> Sequence[dict[str, Any]]:
        """What the nodes of the session's newest execution did."""
        text = await self._database.read(lambda c: rows.previous(c, flow, session))
        return msgspec.json.decode(text) if text else ()

    # What administration does with them

    async def page(self, wanted: ExecutionFilter, number: int, size: int) -> tuple[list[dict[str, Any]], int]:
        """One page of executions, newest first, and how many there are in all."""
        return await self._database.scan(lambda c: rows.page(c, wanted, number, size))

    async def some(self, ids: Sequence[str]) -> dict[str, ExecutionRow]:
        """Executions by id; those that are not there are left out."""
        return await self._database.scan(lambda c: rows.some(c, ids))

    async def one(self, execution_id: str) -> ExecutionRow:
        """The execution. Raises NotFound."""
        found = (await self.some([execution_id])).get(execution_id)
        if found is None:
            raise NotFound(f"there is no execution {execution_id!r}")
        return found

    async def mark(self, execution_id: str, *, public: bool) -> ExecutionRow:
        """Marks the execution as public or private. Raises NotFound."""
        await self._database.write(lambda c: rows.mark(c, execution_id, public=public, now=timestamp()))
        return await self.one(execution_id)

    async def remove(self, ids: Sequence[str]) -> int:
        """Deletes executions and says how many."""
        return await self._database.write(lambda c: rows.remove(c, ids))


def _row(job: Job, execution: Execution, now: str) -> ExecutionRow:
    return ExecutionRow(
        id=execution.id,
        agentflowId=job.flow,
        sessionId=job.session,
        state=execution.state,
        executionData=_json(execution.progress.executed if execution.progress else execution.data),
        action=None if execution.action is None else _json(execution.action),
        createdDate=timestamp(job.received),
        updatedDate=now,
        stoppedDate=None if execution.state == "INPROGRESS" else now,
    )


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half a surrogate pair
        return msgspec.json.encode(whole(value)).decode()
