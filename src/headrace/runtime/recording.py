"""The recorder, which alone writes terminal events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from headrace.errors import HeadraceError, Internal
from headrace.events import Abort, End, Error, Event, Fold, Usage
from headrace.runtime.log import EventLog

_logger = logging.getLogger("headrace.runs")
_T = TypeVar("_T")


class Recording:
    """One run on its way into the log. However it ends, the log gets at most one `error` or `abort`, then one `end`."""

    def __init__(self, log: EventLog, run: str, flow: str = "") -> None:
        self._log, self._run, self._flow = log, run, flow
        self.answer = Fold()
        """The events that were written so far, as one answer."""
        self.usage: Usage | None = None
        """The run's usage; an `abort` carries it."""
        self.parting: Sequence[Event] = ()
        """Events of a stopped run before its ending."""
        self._task: asyncio.Task[None] | None = None
        self._extra: asyncio.Task[Any] | None = None
        self._stopped_by: HeadraceError | None = None
        self._cancelled = self._complete = False

    async def record(self, events: AsyncGenerator[Sequence[Event]]) -> None:
        """Writes the run's events as they come, then its ending. Never raises, but for its own fault.

        What makes the events may also `write` some itself.
        """
        self._task = asyncio.current_task()
        ending: list[Event] = []
        try:
            if self._cancelled:  # a task cancelled before its first step would never have come here
                raise asyncio.CancelledError
            async with aclosing(events):
                async for batch in events:
                    self.write(batch)
            if self._cancelled:  # a node did not let itself be cancelled
                raise asyncio.CancelledError
        except asyncio.CancelledError:
            stopped = self._failure(self._stopped_by) if self._stopped_by else Abort("[DONE]", self.usage)
            ending += [*self.parting, stopped]
        except HeadraceError as error:
            ending.append(self._failure(error))
        except Exception:
            _logger.exception("run %s failed", self._run)
            ending.append(failure(Internal("the server made a mistake; its log says more")))
        self.complete()
        try:
            self._log.append(self._run, [*ending, End()])
        except Exception:
            _logger.exception("the ending of run %s could not be written", self._run)

    def write(self, events: Sequence[Event]) -> None:
        """Writes events of the run, wherever they come from. Raises CancelledError once the run is stopped."""
        if self._cancelled:
            raise asyncio.CancelledError
        self.answer.add(events)
        self._log.append(self._run, events)

    def _failure(self, error: HeadraceError) -> Error:
        """The event that tells of an error, once the server's log has a line on it."""
        fields = {"run": self._run, "flow": self._flow, "code": error.code}
        if error.node:
            fields["node"] = error.node
        where = f" in node {error.node}" if error.node else ""
        text = " ".join(str(error).split())  # one line, whatever a provider says
        line = "run %s of flow %s failed%s: %s: %s"
        _logger.warning(line, self._run, self._flow, where, error.code, text, extra={"fields": fields})
        return failure(error)

    @property
    def cancelled(self) -> bool:
        """True when somebody stopped the run on purpose."""
        return self._cancelled and self._stopped_by is None

    def complete(self) -> None:
        """Marks the run as complete: it cannot be cancelled any more."""
        self._task, self._complete = None, True

    async def afterwards(self, work: Coroutine[Any, Any, _T]) -> _T | None:
        """Awaits work that a complete answer can do without: a cancel ends only this work, and returns None."""
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
