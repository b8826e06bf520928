"""Runs whose process has died: what their readers have had of them, and what is done again."""

from __future__ import annotations

from contextlib import aclosing

import msgspec

from headrace.errors import Interrupted
from headrace.events import Event, Metadata
from headrace.runtime.executions import Executions
from headrace.runtime.log import EventLog
from headrace.runtime.queue import Job


async def told(log: EventLog, run: str) -> list[Event]:
    """The events of the run that are stored, before this process adds any."""
    last, events = (await log.info(run)).lastSeq, list[Event]()
    if last:
        async with aclosing(log.follow(run)) as batches:
            async for entries in batches:
                events += [entry.event for entry in entries]
                if len(events) >= last:
                    break
    return events


def is_complete(events: list[Event]) -> bool:
    """True when nothing but the end is missing."""
    return any(type(event) is Metadata for event in events)


async def taken_up(job: Job, executions: Executions) -> Job:
    """The job with the execution that its run had begun. Raises Interrupted for an answer that had not reached one."""
    execution = await executions.of_run(job)
    if execution is None and job.request.humanInput:
        raise Interrupted("the server stopped before the answer was taken; answer again")
    return msgspec.structs.replace(job, execution=execution)
