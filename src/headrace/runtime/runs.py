"""Starting, following and stopping runs: what the server does with them. Everything else happens in a worker."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from hashlib import sha256
from time import time
from typing import Any, Literal
from uuid import uuid4

import msgspec

from headrace.errors import HeadraceError, by_code
from headrace.events import End, Error, Fold, Prediction
from headrace.runtime.backend import Backend
from headrace.runtime.flows import Flow
from headrace.runtime.log import Entry, Tail, ended
from headrace.runtime.queue import Job
from headrace.runtime.recording import failure
from headrace.runtime.registry import Terms
from headrace.schema import ContinueFor, PredictionRequest, RunInfo
from headrace.storage.storage import timestamp


def error_of(event: Error) -> HeadraceError:
    """The exception that a run's `error` event stands for."""
    failed = by_code(event.code)(event.data)
    failed.retry_after = event.retryAfter
    return failed


class Runs:
    """The runs of all processes, for those who ask and read."""

    def __init__(self, backend: Backend, give_back: Callable[[Job], Awaitable[None]]) -> None:
        """`give_back` lets a claimed execution wait again whose run could not begin."""
        self._log, self._queue, self._registry = backend
        self._give_back = give_back

    async def start(
        self,
        flow: Flow,
        request: PredictionRequest,
        *,
        streaming: bool = False,
        key: str | None = None,
        claim: Callable[[Job], Awaitable[str]] | None = None,
        webhook: dict[str, Any] | None = None,
        chat_type: str = "EXTERNAL",
    ) -> str:
        """Opens a run's log, then queues its job; returns its id, which can be followed and cancelled from then on.

        With an Idempotency-Key that began a run already, that run's id. Raises FlowError and UnknownNodes for a flow
        that cannot run, IdempotencyConflict, SessionBusy. `claim` gives the execution that an answer is for; what it
        raises is raised here too. `webhook` is the call that the flow begins with, `chat_type` the kind of its chat.
        """
        job = _job(flow, request, streaming=streaming)
        if webhook or chat_type != job.chat_type:
            job = msgspec.structs.replace(job, webhook=webhook, chat_type=chat_type)
        found = await self._registry.register(_info(job), _terms(job, flow, key))
        if found.existing:
            return found.existing
        if found.others:
            job = msgspec.structs.replace(job, after=found.others)
        if flow.api.sameSession == "interrupt":
            for other in job.after:
                await self.cancel(other)
        try:
            if claim:
                job = msgspec.structs.replace(job, execution=await claim(job))
            await self._queue.put(job)
        except HeadraceError as error:
            if job.execution:
                await self._give_back(job)
            self._log.append(job.run, [failure(error), End()])
            raise
        return job.run

    async def answer(self, run: str) -> Prediction:
        """Waits for the run and folds its log. Raises what its `error` event says."""
        result = Fold()
        async with self.reading(run):
            if tail := self._log.tail(run):
                await tail.left()
            async with aclosing(self._log.follow(run)) as batches:
                async for entries in batches:
                    result.add([entry.event for entry in entries])
        prediction = result.prediction
        if error := prediction.error:
            raise error_of(error)
        return prediction

    async def first_failure(self, run: str) -> HeadraceError | None:
        """Waits for the run's first event; returns the error that it is, None for any other one."""
        async with aclosing(self._log.follow(run)) as batches:
            async for entries in batches:
                if entries:
                    first = entries[0].event
                    return error_of(first) if isinstance(first, Error) else None
        return None

    def follow(self, run: str, after: int = 0) -> AsyncGenerator[Sequence[Entry]]:
        """The run's events after number `after`; see `EventLog.follow`."""
        return self._log.follow(run, after)

    def tail(self, run: str) -> Tail | None:
        """The run's newest events, if it goes on in this process."""
        return self._log.tail(run)

    async def times(self, run: str, first: int, last: int) -> dict[int, int]:
        """The times at which these events were written; see `EventLog.times`."""
        return await self._log.times(run, first, last)

    async def info(self, run: str) -> RunInfo:
        """The run's state. Raises RunNotFound."""
        return await self._log.info(run)

    async def of_chat(self, flow: str, chat: str) -> Sequence[RunInfo]:
        """The runs of a chat, newest first."""
        return await self._registry.of_chat(flow, chat)

    async def cancel(self, run: str) -> None:
        """Stops the run, in whichever process it is: its stream ends `abort`, `end`. An ended run stays as it is."""
        await self._registry.order(run, "cancel")

    async def settled(self, run: str, seconds: float) -> RunInfo:
        """The run's state once it has ended, or after so many seconds. Raises RunNotFound."""
        before = await self.info(run)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ended(self._log, run, before.lastSeq)
        return await self.info(run)

    @asynccontextmanager
    async def reading(self, run: str) -> AsyncGenerator[None]:
        """Counts a reader for the time of the block."""
        await self._registry.order(run, "come")
        try:
            yield
        finally:
            await self._registry.order(run, "go")


def _terms(job: Job, flow: Flow, key: str | None) -> Terms:
    session, watched = flow.api.sameSession, job.patience is not None
    if not key and session == "parallel" and not watched and not job.survives:
        return _ANY
    kept = msgspec.json.encode(job) if job.survives else None
    return Terms(key=key, digest=_digest(job.request), session=session, watched=watched, job=kept)


_ANY = Terms()


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
        survives=flow.survives,
        request=request,
        received=time(),
        patience=_patience(request.onDisconnect or flow.api.onDisconnect),
        new_chat=not (request.chatId or session or fixed),
        drawn=flow.row.flowData if flow.draft else None,
    )
