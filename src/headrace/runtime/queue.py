"""The jobs that wait to be run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import msgspec

from headrace.errors import Interrupted
from headrace.schema import PredictionRequest

STOPPING = "the server is stopping; ask again in a moment"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction to run. Plain data: it may travel to another process."""

    run: str
    flow: str
    chat: str
    session: str
    message: str
    """Id that the answer's stored message will have."""
    request: PredictionRequest
    received: float
    """When the request came, in seconds since 1970."""
    after: tuple[str, ...] = ()
    """Runs of the same session whose end this one waits for."""
    patience: float | None = None
    """Seconds that the run goes on without readers; None when it does not care."""
    new_chat: bool = False
    """The server made the chat's id itself, so nothing can be stored for it."""
    execution: str | None = None
    """The execution that it goes on with, after a person has answered."""
    webhook: dict[str, Any] | None = None
    """The call that it begins with, where that was one of a webhook."""
    drawn: str | None = None
    """The drawing to run in place of the flow's stored one."""
    chat_type: str = "EXTERNAL"
    """The kind of its chat, as Flowise names them."""
    survives: bool = False
    """Another process goes on with it when this one dies."""
    resumed: bool = False
    """A process that had it has died: what that one has stored counts."""
    depth: int = 0
    """How many flows have asked each other before this one."""


class Queue(Protocol):
    """Carries jobs to the workers. Orders for runs go through the registry."""

    async def put(self, job: Job) -> None:
        """Hands a job to some worker. Raises Interrupted after `close`."""
        ...

    def jobs(self) -> AsyncGenerator[Job]:
        """The jobs for this process, in the sequence they came, without end."""
        ...

    async def close(self) -> None:
        """Takes no more jobs; returns when every job that came before has been taken up."""
        ...


class LocalQueue:
    """Implements Queue for the worker in this process."""

    def __init__(self) -> None:
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._closed = False

    async def put(self, job: Job) -> None:
        """Hands the job over at once. Raises Interrupted after `close`."""
        if self._closed:
            raise Interrupted(STOPPING)
        self._jobs.put_nowait(job)

    async def jobs(self) -> AsyncGenerator[Job]:
        """Jobs in the sequence they came, without end."""
        while True:
            yield await self._jobs.get()
            self._jobs.task_done()

    async def close(self) -> None:
        """No more jobs; returns when every job that came before has been taken up."""
        self._closed = True
        await self._jobs.join()
