"""Starting, following and stopping runs, and the recorder, which alone writes terminal events."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import time
from uuid import uuid4

from headrace.errors import HeadraceError, Internal, by_code
from headrace.events import Abort, End, Error, Event, Fold, Prediction
from headrace.runtime.flows import Flow
from headrace.runtime.log import Entry, EventLog
from headrace.runtime.queue import Job, Queue
from headrace.schema import PredictionRequest

_logger = logging.getLogger("headrace.runs")


class Runs:
    """What the server does with runs. Everything else happens in a worker."""

    def __init__(self, log: EventLog, queue: Queue) -> None:
        self._log, self._queue = log, queue

    async def start(self, flow: Flow, request: PredictionRequest, *, streaming: bool) -> str:
        """Opens a run's log, then queues its job; returns its id, which can be followed and cancelled from then on.

        Raises FlowError and UnknownNodes for a flow that cannot run.
        """
        job = _job(flow, request, streaming=streaming)
        await self._log.append(job.run, ())
        await self._queue.put(job)
        return job.run

    async def answer(self, run: str) -> Prediction:
        """Waits for the run and folds its log. Raises what its `error` event says."""
        result = Fold()
        async with aclosing(self._log.follow(run)) as batches:
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

    async def cancel(self, run: str) -> None:
        """Stops the run: its stream ends with `abort`, `end`."""
        await self._queue.cancel(run)


def _job(flow: Flow, request: PredictionRequest, *, streaming: bool) -> Job:
    memory = flow.graph.memory
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
        self._task: asyncio.Task[None] | None = None
        self._stopped_by: HeadraceError | None = None
        self._cancelled = False

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
            ending.append(failure(self._stopped_by) if self._stopped_by else Abort())
        except HeadraceError as error:
            ending.append(failure(error))
        except Exception:
            _logger.exception("run %s failed", self._run)
            ending.append(failure(Internal("the server made a mistake; its log says more")))
        self._task = None  # the ending itself cannot be cancelled
        await self._log.append(self._run, [*ending, End()])

    def cancel(self, error: HeadraceError | None = None) -> None:
        """Ends the run with `abort`, or with the error that stops it. A second call changes nothing."""
        if self._cancelled:
            return
        self._cancelled, self._stopped_by = True, error
        if self._task:
            self._task.cancel()


def failure(error: HeadraceError) -> Error:
    """The event that tells a reader about an error."""
    return Error(str(error), error.code, error.retryable, error.retry_after)
