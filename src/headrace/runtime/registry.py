"""Which runs there are and whose they are: registering a run, orders to its owner, and which processes are alive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from headrace.errors import IdempotencyConflict, Interrupted, SessionBusy, by_code
from headrace.events import Error
from headrace.runtime.log import Retention
from headrace.runtime.queue import Job
from headrace.schema import RunInfo

SameSession: TypeAlias = Literal["parallel", "queue", "reject", "interrupt"]
Wish: TypeAlias = Literal["cancel", "come", "go"]
MOST_CRASHES: Final = 3
"""So often a run is taken over without a step in between: it may be what kills its processes."""


class Order(NamedTuple):
    """A wish to the owner of a run: cancel it; a reader has come, or gone."""

    run: str
    wish: Wish


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The conditions a run is registered on. By default it may always begin, and nobody needs to know of it first."""

    key: str | None = None
    """The Idempotency-Key: only one run of a flow has it."""
    digest: str = ""
    """Stands for what was asked; a key that comes again with another one is refused."""
    session: SameSession = "parallel"
    """The fate of a run whose session has one in progress."""
    watched: bool = False
    """True when the owner wants to know of readers."""
    job: bytes | None = None
    """The job as JSON, where another process is to go on with it once the owner is gone."""


class Registered(NamedTuple):
    """`existing` is the run that the key began already; else the run is open, and `others` go on in its session."""

    existing: str | None
    others: tuple[str, ...] = ()


class RunRegistry(Protocol):
    """The runs of all processes. Every run that goes on has one owner, the process that opened it.

    An owner's id is never used again, so it is the fence as well: whoever closes the runs of an owner that is gone
    takes them over, and what that owner might still append is refused.
    """

    @property
    def id(self) -> str:
        """This process."""
        ...

    async def register(self, info: RunInfo, terms: Terms) -> Registered:
        """Opens the run's log, with this process as its owner, unless the terms do not allow that.

        Once it is registered with a key or a session that other processes must know of, they know of it. Raises
        IdempotencyConflict, SessionBusy, StorageError; then the run is not known.
        """
        ...

    async def of_chat(self, flow: str, chat: str) -> Sequence[RunInfo]:
        """The runs of a chat, newest first: those that go on, and the newest hundred of the others."""
        ...

    async def order(self, run: str, wish: Wish) -> None:
        """Gives the run's owner an order; nothing happens when there is none, since the run is unknown or has ended.

        Owners hear of readers only for runs that are watched.
        """
        ...

    def orders(self) -> AsyncGenerator[Order]:
        """The orders for this process, each once, in the sequence they were given, without end."""
        ...

    async def watch(self) -> None:
        """Notices what other processes write: wakes readers of the log, and takes their orders. Ends when cancelled."""
        ...

    def gone(self, owner: str) -> bool:
        """True for a process that has ended, as far as this one knows. Reads nothing."""
        ...

    async def take_over(self) -> list[Job]:
        """Makes runs with a job of processes that are gone this one's, their logs open as they were stored.

        Each is taken by one process, and no more often than `MOST_CRASHES` without a step in between.
        """
        ...

    async def close_abandoned(self) -> int:
        """Ends the other runs of processes that are gone with `error` (interrupted) and `end`; says how many."""
        ...

    async def forget_old(self, retention: Retention) -> None:
        """Forgets runs that ended a month ago, or before what is kept at all."""
        ...

    def close(self) -> None:
        """Says that this process is gone."""
        ...


class Keyed(NamedTuple):
    """The run that an Idempotency-Key began; `code` is that of its error, if it failed."""

    id: str
    digest: str
    code: str | None


def answered(known: Keyed, digest: str) -> bool:
    """True when the run with the key answers a request; one that failed for the moment is tried again instead.

    Raises IdempotencyConflict for another request.
    """
    if known.digest != digest:
        raise IdempotencyConflict("this Idempotency-Key was used with another body: use a new one")
    return known.code is None or not by_code(known.code).retryable


def check_session(terms: Terms, others: Sequence[str]) -> None:
    """Raises SessionBusy when other runs of the session keep this one from beginning."""
    if others and terms.session == "reject":
        raise SessionBusy("this session has a run that goes on: wait for its end, or cancel it")


def interrupted() -> Error:
    """The error that a run gets whose process is gone."""
    lost = Interrupted("the server stopped during the run; ask again")
    return Error(str(lost), lost.code, lost.retryable)


def resumed(job: bytes) -> Job:
    """The job, for the process that goes on with it."""
    return msgspec.structs.replace(msgspec.json.decode(job, type=Job), resumed=True)
