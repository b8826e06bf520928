"""What waits to be run, and how a run is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol, TypeAlias

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
    new_chat: bool = False
    """The server made the chat's id itself, so nothing can be stored for it."""
    execution: str | None = None
    """The execution that it goes on with, after a person has answered."""
    depth: int = 0
    """How many flows have asked each other before this one."""


class Cancel(msgspec.Struct, frozen=True):
    """An order to stop a run."""

    run: str


Order: TypeAlias = Job | Cancel


class Queue(Protocol):
    """Carries orders to the workers."""

    async def put(self, job: Job) -> None:
        """Hands a job to some worker."""
        ...

    def orders(self) -> AsyncGenerator[Order]:
        """What a worker is to do, as it comes."""
        ...

    async def cancel(self, run: str) -> None:
        """Tells the worker that has the run to stop it; nothing happens when the run has ended."""
        ...


class LocalQueue:
    """Orders for the worker in this process."""

    def __init__(self) -> None:
        self._orders: asyncio.Queue[Order] = asyncio.Queue()
        self._closed = False

    async def put(self, job: Job) -> None:
        """Hands the job over at once. Raises Interrupted after `close`."""
        if self._closed:
            raise Interrupted(STOPPING)
        self._orders.put_nowait(job)

    async def orders(self) -> AsyncGenerator[Order]:
        """Orders in the sequence they came, without end."""
        while True:
            yield await self._orders.get()
            self._orders.task_done()

    async def cancel(self, run: str) -> None:
        """Queued like a job, so it cannot overtake the job it means. Taken after `close` too."""
        self._orders.put_nowait(Cancel(run))

    async def close(self) -> None:
        """No more jobs; returns when every order that came before has been taken up."""
        self._closed = True
        await self._orders.join()
