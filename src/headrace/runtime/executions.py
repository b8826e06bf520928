"""Saves executions of agent flows in the background; only a run's end waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from headrace.engine.agentflow.execution import Execution
from headrace.engine.agentflow.progress import Progress
from headrace.errors import Conflict, HeadraceError, Interrupted, InvalidRequest, NotFound
from headrace.runtime.log import EventLog
from headrace.runtime.queue import Job
from headrace.schema import ExecutionRow, HumanInput, PredictionRequest
from headrace.storage import executions as rows
from headrace.storage.database import Database
from headrace.storage.encryption import Seal
from headrace.storage.execution_steps import Steps
from headrace.storage.executions import ExecutionFilter
from headrace.storage.storage import timestamp
from headrace.surrogates import all_whole

_logger = logging.getLogger("headrace.runs")
_INTERVAL = 0.05  # seconds between writes
_PAUSE = 1.0  # seconds until another attempt when the database took nothing


class Further(NamedTuple):
    """A request with which an execution goes on: the same chat, session and overrides; and the flow to ask."""

    flow: str
    request: PredictionRequest


class _Put(NamedTuple):
    """The statements that store executions, and the runs and executions whose jobs are stored with them."""

    kept: set[tuple[str, str]]
    executions: Sequence[Execution]
    work: Callable[[Connection], None]


class Executions:
    """The executions of this process's runs on their way into the database, and those that are there."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database, self._seal = database, seal
        self._kept: set[tuple[str, str]] = set()  # runs and executions whose jobs are stored
        self._written: dict[str, Sequence[dict[str, Any]]] = {}  # what is stored of executions in progress
        self._noted: dict[str, tuple[Job, Execution, str]] = {}
        self._bell = asyncio.Event()

    def note(self, job: Job, execution: Execution, flow: str) -> None:
        """Keeps the execution as it is now, and the flow's text, with the next write."""
        self._noted[execution.id] = job, msgspec.structs.replace(execution), flow
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

    async def store(self, job: Job, execution: Execution, flow: str, log: EventLog) -> None:
        """Stores the execution together with what its run has said until now."""
        put = self._put([(job, msgspec.structs.replace(execution), flow)])
        try:
            if not await log.commit_with(job.run, put.work):
                await self._database.write(put.work)
        except HeadraceError as error:
            _logger.warning("a step of run %s waits in memory: %s", job.run, error)
        else:
            self._settle(put)

    async def end(self, job: Job, execution: Execution, flow: str, log: EventLog, *, cancelled: bool) -> None:
        """Stores how an execution ended; where the database does not take it, with a later write."""
        self._noted.pop(execution.id, None)
        if cancelled and execution.progress:  # on purpose: it does not go on
            execution.data, execution.progress = list(execution.progress.executed), None
        if execution.state == "INPROGRESS":  # it did not get to say so itself
            execution.state = "TERMINATED" if cancelled else "ERROR"
        try:
            if job.survives:
                await self.store(job, execution, flow, log)
            else:
                await self._write([(job, execution, flow)])
        except HeadraceError as error:
            _logger.warning("the end of execution %s waits in memory: %s", execution.id, error)
            self.note(job, execution, flow)
        else:
            self._kept.discard((job.run, execution.id))
            self._written.pop(execution.id, None)

    async def _write(self, noted: Sequence[tuple[Job, Execution, str]]) -> None:
        put = self._put(noted)
        await self._database.write(put.work)
        self._settle(put)

    def _put(self, noted: Sequence[tuple[Job, Execution, str]]) -> _Put:
        now = timestamp()
        jobs = {
            one.id: self._seal.close(msgspec.json.encode(job), one.id)
            for job, one, _ in noted
            if (job.run, one.id) not in self._kept
        }
        steps = {one.id: self._steps(one) for _, one, _ in noted}

        def work(c: Connection) -> None:
            for job, one, flow in noted:
                progress = _progress(one)
                rows.put(c, _row(job, one, now), job.run, progress, flow if progress else None, steps[one.id])
                if progress and one.id in jobs:
                    rows.keep_job(c, one.id, jobs[one.id])

        return _Put({(job.run, one.id) for job, one, _ in noted}, [one for _, one, _ in noted], work)

    def _steps(self, execution: Execution) -> Steps | None:
        """The executed nodes that are not stored yet; None for an execution that has come to its end for now."""
        if not _is_under_way(execution):
            return None
        executed = _executed(execution)
        same = 0
        for one, other in zip(self._written.get(execution.id, ()), executed, strict=False):
            if one is not other:
                break
            same += 1
        return Steps(same, [_json(entry) for entry in executed[same:]])

    def _settle(self, put: _Put) -> None:
        self._kept |= put.kept
        for one in put.executions:
            if _is_under_way(one):
                self._written[one.id] = _executed(one)

    # Executions that go on

    async def claim(self, job: Job) -> str:
        """The execution that the job's answer is for, which belongs to its run from now on.

        Raises NotFound for a session in which nothing waits and nothing was executed, Conflict for one in which nothing
        waits any more, InvalidRequest for an answer that a tool's approval cannot be.
        """
        return await self._database.write(lambda c: _claimed(c, job, timestamp()))

    async def claim_waiting(self, execution_id: str, job: Job) -> str:
        """The execution, which waits for the job's answer and belongs to its run from now on.

        Raises NotFound, Conflict for one that does not wait, InvalidRequest as `claim` does.
        """
        return await self._database.write(lambda c: _claimed_waiting(c, execution_id, job, timestamp()))

    async def claim_failed(self, execution_id: str, job: Job) -> str:
        """The execution, whose run has failed or was lost, and which belongs to the job's run from now on.

        Raises NotFound, Conflict for one that has finished, was cancelled, waits or goes on.
        """
        return await self._database.write(lambda c: _claimed_failed(c, execution_id, job, timestamp()))

    async def give_back(self, job: Job) -> None:
        """Lets the execution that the job has claimed wait again: its run could not begin."""
        await self._database.write(lambda c: rows.give_back(c, job.run, timestamp()))

    async def flows_that_wait(self) -> list[str]:
        """Flows of which executions wait for people."""
        return await self._database.scan(rows.flows_that_wait)

    async def waiting_since(self, flow: str, before: str) -> list[str]:
        """Executions of the flow that have waited since before then, oldest first."""
        return await self._database.scan(lambda c: rows.waiting_since(c, flow, before))

    async def answered(self, execution_id: str, answer: HumanInput) -> Further:
        """The request that answers the execution. Raises NotFound."""
        row, before = await self._newest(execution_id)
        old = before.request if before else PredictionRequest()
        overrides = {**(old.overrideConfig or {}), "sessionId": row.sessionId}
        chat = before.chat if before else row.sessionId
        return Further(row.agentflowId, PredictionRequest(chatId=chat, overrideConfig=overrides, humanInput=answer))

    async def again(self, execution_id: str) -> Further:
        """The request that the execution's last run was to answer. Raises NotFound, Conflict when nothing goes on."""
        row, before = await self._newest(execution_id)
        if before is None:
            raise Conflict(_no_further(row.state, execution_id))
        execution, _ = await self.stored(execution_id)
        request = msgspec.structs.replace(
            before.request,
            chatId=before.chat,
            overrideConfig={**(before.request.overrideConfig or {}), "sessionId": before.session},
            humanInput=before.request.humanInput if execution.progress and execution.progress.asks else None,
            streaming=None,
            background=None,
        )
        return Further(row.agentflowId, request)

    async def _newest(self, execution_id: str) -> tuple[ExecutionRow, Job | None]:
        """The execution and the job of its newest run, while that can go on. Raises NotFound."""
        row = await self.one(execution_id)
        sealed = await self._database.read(lambda c: rows.job_of(c, execution_id))
        if sealed is None:
            return row, None
        return row, msgspec.json.decode(self._seal.open(sealed, execution_id), type=Job)

    async def of_run(self, job: Job) -> str | None:
        """The execution of a run that was lost and goes on; None when it had not begun one."""
        return await self._database.write(lambda c: rows.of_run(c, job.run, job.flow, timestamp()))

    async def stored(self, execution_id: str, *, resumed: bool = False) -> tuple[Execution, str]:
        """An execution that was claimed, and its flow's text as it was; or resumed: as its lost run has left it.

        Raises NotFound, and Interrupted where the lost run had failed.
        """
        found = await self._database.read(lambda c: rows.stored(c, execution_id))
        if found is None:
            raise NotFound(f"the execution {execution_id!r} is gone")
        executed = msgspec.json.decode(found.executionData, type=list[dict[str, Any]])
        progress = msgspec.json.decode(found.progress, type=Progress)
        progress = msgspec.structs.replace(progress, executed=executed).without_failure()
        execution = Execution(id=found.id, data=list(progress.executed), progress=progress)
        if resumed:
            if found.state != "INPROGRESS":
                raise Interrupted("the server stopped while the run was failing; ask again")
            execution.action = msgspec.json.decode(found.action) if found.action else None
        return execution, found.flowData

    async def previous(self, flow: str, session: str) -> Sequence[dict[str, Any]]:
        """The executed data of the session's newest execution."""
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
        executionData="[]" if _is_under_way(execution) else _json(_executed(execution)),
        action=None if execution.action is None else _json(execution.action),
        createdDate=timestamp(job.received),
        updatedDate=now,
        stoppedDate=None if execution.state == "INPROGRESS" else now,
    )


def _is_under_way(execution: Execution) -> bool:
    return execution.state == "INPROGRESS"


def _executed(execution: Execution) -> Sequence[dict[str, Any]]:
    return execution.progress.executed if execution.progress else execution.data


def _progress(execution: Execution) -> str | None:
    """The part of the progress from which it can go on. The executed nodes are stored beside it."""
    if execution.progress is None or execution.state == "FINISHED":
        return None
    return _json(msgspec.structs.replace(execution.progress, executed=()))


def _claimed(c: Connection, job: Job, now: str) -> str:
    answer = job.request.humanInput or HumanInput()
    every = [(key, msgspec.json.decode(action)) for key, action in rows.waiting(c, job.flow, job.session)]
    asked = [key for key, action in every if answer.startNodeId in (None, action.get("data", {}).get("nodeId"))]
    if not asked:
        if not rows.known(c, job.flow, job.session):
            raise NotFound(f"nothing was executed in the session {job.session!r} that could be answered")
        node = f" at {answer.startNodeId!r}" if answer.startNodeId else ""
        raise Conflict(f"nothing waits for an answer{node} in the session {job.session!r}")
    return _taken(c, asked[0], job, now)


def _claimed_waiting(c: Connection, execution_id: str, job: Job, now: str) -> str:
    state = rows.state_of(c, execution_id)
    if state is None:
        raise NotFound(f"there is no execution {execution_id!r}")
    if state != "STOPPED":
        raise Conflict(f"the execution {execution_id!r} does not wait for an answer: it is {state}")
    return _taken(c, execution_id, job, now)


def _taken(c: Connection, execution_id: str, job: Job, now: str) -> str:
    found, answer = rows.stored(c, execution_id), job.request.humanInput or HumanInput()
    approves = found and msgspec.json.decode(found.progress, type=Progress).path[-1].talk
    if approves and answer.type not in ("proceed", "reject"):
        raise InvalidRequest(f"expected 'proceed' or 'reject' at $.humanInput.type, not {answer.type!r}")
    if not found or not rows.take(c, execution_id, job.run, now):
        raise Conflict(f"the execution {execution_id!r} does not wait for an answer any more")
    return execution_id


def _claimed_failed(c: Connection, execution_id: str, job: Job, now: str) -> str:
    state = rows.state_of(c, execution_id)
    if state is None:
        raise NotFound(f"there is no execution {execution_id!r}")
    if not rows.take(c, execution_id, job.run, now, states=("ERROR", "TERMINATED")):
        raise Conflict(_no_further(state, execution_id))
    return execution_id


def _no_further(state: str, execution_id: str) -> str:
    match state:
        case "INPROGRESS":
            return f"the execution {execution_id!r} goes on already"
        case "STOPPED":
            return f"the execution {execution_id!r} waits for a person: answer it"
        case _:
            return f"the execution {execution_id!r} cannot go on: it is {state}, and where it was is not kept"


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half a surrogate pair
        return msgspec.json.encode(all_whole(value)).decode()
