"""Starting, following and stopping runs, and the recorder, which alone writes terminal events."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from hashlib import sha256
from time import time
from typing import Any, Literal, NamedTuple, TypeVar
from uuid import uuid4

import msgspec
from sqlalchemy import Connection

from headrace.errors import HeadraceError, IdempotencyConflict, Internal, SessionBusy, by_code
from headrace.events import Abort, End, Error, Event, Fold, Prediction, Usage
from headrace.runtime.durable import DurableLog
from headrace.runtime.flows import Flow
from headrace.runtime.log import Entry, EventLog, ended
from headrace.runtime.queue import Job, Queue
from headrace.runtime.readers import Readers
from headrace.schema import ContinueFor, PredictionRequest, RunInfo
from headrace.store import journal
from headrace.store.database import Database
from headrace.store.store import timestamp

_logger = logging.getLogger("headrace.runs")
_T = TypeVar("_T")


class Runs:
    """What the server does with runs. Everything else happens in a worker."""

    def __init__(self, log: DurableLog, queue: Queue, database: Database, owner: str) -> None:
        self._log, self._queue, self._database, self._owner = log, queue, database, owner
        self._readers = Readers(self._abandon, lambda run: log.tail(run) is not None)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(
        self,
        flow: Flow,
        request: PredictionRequest,
        *,
        streaming: bool = False,
        key: str | None = None,
        claim: Callable[[Job], Awaitable[str]] | None = None,
    ) -> str:
        """Opens a run's log, then queues its job; returns its id, which can be followed and cancelled from then on.

        With an Idempotency-Key that began a run already, that run's id. Raises FlowError and UnknownNodes for a flow
        that cannot run, IdempotencyConflict, SessionBusy. `claim` gives the execution that an answer is for; what it
        raises is raised here too.
        """
        job = _job(flow, request, streaming=streaming)
        patience = _patience(request.onDisconnect or flow.api.onDisconnect)
        if key or patience is not None or flow.api.sameSession != "parallel":
            asked = job
            found = await self._database.write(lambda c: self._register(c, asked, flow, key, patience is not None))
            if found.existing:
                return found.existing
            job = msgspec.structs.replace(job, after=tuple(found.others))
        await self._log.open(_info(job))
        if flow.api.sameSession == "interrupt":
            for other in job.after:
                await self.cancel(other)
        if patience is not None:
            self._readers.watch(job.run, patience)
        try:
            if claim:
                job = msgspec.structs.replace(job, execution=await claim(job))
            await self._queue.put(job)
        except HeadraceError as error:
            await self._log.append(job.run, [failure(error), End()])
            raise
        return job.run

    def _register(self, c: Connection, job: Job, flow: Flow, key: str | None, watched: bool) -> _Registered:
        """Stores the run, unless its key or its session does not allow that."""
        digest = _digest(job.request)
        if key and (known := journal.keyed_run(c, job.flow, key)):
            if known.request != digest:
                raise IdempotencyConflict("this Idempotency-Key was used with another body: use a new one")
            code = here.info.code if (here := self._log.memory.tails.get(known.id)) else known.code
            if code is None or not by_code(code).retryable:
                return _Registered(known.id, [])
            journal.free_key(c, known.id)  # what failed for the moment is tried again, not answered again
        policy = flow.api.sameSession
        others = [] if policy == "parallel" else journal.session_runs(c, job.flow, job.session, job.run)
        # The database learns of an end with the next commit; a caller that has read it may ask at once.
        others = [run for run in others if not ((tail := self._log.memory.tails.get(run)) and tail.closed)]
        if others and policy == "reject":
            raise SessionBusy("this session has a run that goes on: wait for its end, or cancel it")
        more = {"watched": watched, "idempotencyKey": key, "requestHash": digest}
        journal.add_run(c, _info(job), self._owner, **more)
        return _Registered(None, others)

    async def answer(self, run: str) -> Prediction:
        """Waits for the run and folds its log. Raises what its `error` event says."""
        result = Fold()
        async with self.reading(run), aclosing(self._log.follow(run)) as batches:
            async for entries in batches:
                result.add([entry.event for entry in entries])
        prediction = result.prediction
        if error := prediction.error:
            failed = by_code(error.code)(error.data)
            failed.retry_after = error.retryAfter
            raise failed
        return prediction

    def follow(self, run: str, after: int = 0) -> AsyncGenerator[Sequence[Entry]]:
        """The run's events after number `after`; see `EventLog.follow`."""
        return self._log.follow(run, after)

    async def times(self, run: str, first: int, last: int) -> dict[int, int]:
        """When these events were written; see `DurableLog.times`."""
        return await self._log.times(run, first, last)

    async def info(self, run: str) -> RunInfo:
        """What is known of the run. Raises RunNotFound."""
        return await self._log.info(run)

    async def of_chat(self, flow: str, chat: str) -> list[RunInfo]:
        """The runs of a chat, newest first."""
        # Memory first: a commit during the read moves runs from there into what is read.
        tails = [tail.info for tail in self._log.memory.tails.values()]
        here = {info.id: info for info in tails if (info.chatflowid, info.chatId) == (flow, chat)}
        stored = await self._database.read(lambda c: journal.chat_runs(c, flow, chat))
        every = {info.id: info for info in stored} | here
        return sorted(every.values(), key=lambda info: info.createdDate, reverse=True)

    async def cancel(self, run: str) -> None:
        """Stops the run, in whichever process it is: its stream ends `abort`, `end`. An ended run stays as it is."""
        if self._log.tail(run):
            await self._queue.cancel(run)
        else:
            await self._tell(run, "cancel")

    async def settled(self, run: str, seconds: float) -> RunInfo:
        """What is known of the run once it has ended, or after so many seconds. Raises RunNotFound."""
        before = await self.info(run)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ended(self._log, run, before.lastSeq)
        return await self.info(run)

    @asynccontextmanager
    async def reading(self, run: str) -> AsyncGenerator[None]:
        """Counts a reader for the time of the block."""
        await self._reader(run, "come")
        try:
            yield
        finally:
            await self._reader(run, "go")

    async def _reader(self, run: str, kind: Literal["come", "go"]) -> None:
        if self._log.tail(run):
            await self.obey(run, kind)
            return
        self._readers.forget(run)
        if run not in self._log.memory.tails:
            await self._tell(run, kind, only_watched=True)

    async def obey(self, run: str, kind: str) -> None:
        """Does what another process asks for."""
        match kind:
            case "come":
                self._readers.come(run)
            case "go":
                self._readers.go(run)
            case _:
                await self._queue.cancel(run)

    async def _tell(self, run: str, kind: str, *, only_watched: bool = False) -> None:
        owner = await self._database.read(lambda c: journal.owner_of(c, run))
        if owner and (owner[1] or not only_watched):
            await self._database.write(lambda c: journal.add_order(c, owner[0], run, kind))

    def _abandon(self, run: str) -> None:
        """The last reader of a watched run has left."""
        self._readers.forget(run)
        task = asyncio.get_running_loop().create_task(self._queue.cancel(run))
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)


class _Registered(NamedTuple):
    existing: str | None
    others: list[str]


def _patience(policy: Literal["continue", "cancel"] | ContinueFor | None) -> float | None:
    """Seconds that a run goes on without readers; None when it does not care."""
    if isinstance(policy, ContinueFor):
        return policy.continueFor
    return 0.0 if policy == "cancel" else None


def _digest(request: PredictionRequest) -> str:
    """Says whether two requests ask the same; how the answer is delivered does not count."""
    asked = msgspec.structs.replace(request, streaming=None, background=None, onDisconnect=None)
    return sha256(msgspec.json.encode(asked)).hexdigest()


def _info(job: Job) -> RunInfo:
    return RunInfo(job.run, job.flow, job.chat, job.session, job.message, "running", timestamp(job.received), 0)


def _job(flow: Flow, request: PredictionRequest, *, streaming: bool) -> Job:
    flow.engine.check(request)
    memory = flow.engine.memory
    session = (request.overrideConfig or {}).get("sessionId")
    # As with Flowise, a session that is fixed in the flow serves only JSON predictions that name no chat.
    fixed = memory.inputs.get("sessionId") if memory and not streaming and not request.chatId else None
    chat = request.chatId or session or str(uuid4())
    return Job(
        run=secrets.token_hex(16),  # not to be guessed: whoever knows it may read the run
        flow=flow.row.id,
        chat=chat,
        session=session or fixed or chat,
        message=str(uuid4()),
        request=request,
        received=time(),
        new_chat=not (request.chatId or session or fixed),
    )


class Recording:
    """One run on its way into the log. However it ends, the log gets at most one `error` or `abort`, then one `end`."""

    def __init__(self, log: EventLog, run: str) -> None:
        self._log, self._run = log, run
        self.usage: Usage | None = None
        """What the run has cost; an `abort` carries it."""
        self.parting: Sequence[Event] = ()
        """What a run that was stopped still tells before its ending."""
        self._task: asyncio.Task[None] | None = None
        self._extra: asyncio.Task[Any] | None = None
        self._stopped_by: HeadraceError | None = None
        self._cancelled = self._complete = False

    async def record(self, events: AsyncGenerator[Sequence[Event]]) -> None:
        """Writes the run's events as they come, then its ending. Never raises, but for its own fault."""
        self._task = asyncio.current_task()
        ending: list[Event] = []
        try:
            if self._cancelled:  # a task cancelled before its first step would never have come here
                raise asyncio.CancelledError
            async with aclosing(events):
                async for batch in events:
                    if self._cancelled:
                        break
                    await self._log.append(self._run, batch)
            if self._cancelled:  # a node did not let itself be cancelled
                raise asyncio.CancelledError
        except asyncio.CancelledError:
            stopped = failure(self._stopped_by) if self._stopped_by else Abort("[DONE]", self.usage)
            ending += [*self.parting, stopped]
        except HeadraceError as error:
            ending.append(failure(error))
        except Exception:
            _logger.exception("run %s failed", self._run)
            ending.append(failure(Internal("the server made a mistake; its log says more")))
        self.complete()
        try:
            await self._log.append(self._run, [*ending, End()])
        except Exception:
            _logger.exception("the ending of run %s could not be written", self._run)

    @property
    def cancelled(self) -> bool:
        """Whether somebody stopped the run on purpose."""
        return self._cancelled and self._stopped_by is None

    def complete(self) -> None:
        """From here on the run cannot be cancelled."""
        self._task, self._complete = None, True

    async def afterwards(self, work: Coroutine[Any, Any, _T]) -> _T | None:
        """What the answer, which is complete, can do without: a cancel ends only this, and gives None."""
        self.complete()
        task = self._extra = asyncio.create_task(work)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
        return None if task.cancelled() else task.result()

    def cancel(self, error: HeadraceError | None = None) -> None:
        """Ends the run with `abort`, or with the error that stops it. A second call changes nothing."""
        if self._extra:
            self._extra.cancel()
        if self._cancelled or self._complete:
            return
        self._cancelled, self._stopped_by = True, error
        if self._task:
            self._task.cancel()


def failure(error: HeadraceError) -> Error:
    """The event that tells a reader about an error."""
    return Error(str(error), error.code, error.retryable, error.retry_after)
