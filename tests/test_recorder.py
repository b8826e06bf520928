"""The recorder, which alone ends a run."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest
from logs import running
from waiting import turns, within

from headrace.errors import FlowError, Interrupted, ProviderError
from headrace.events import Abort, End, Error, Event, Start, Token
from headrace.runtime.log import MemoryLog
from headrace.runtime.recording import Recording

Events = AsyncGenerator[Sequence[Event]]


async def written(log: MemoryLog, run: str = "r") -> list[Event]:
    return [entry.event async for batch in log.follow(run) for entry in batch]


async def opened(run: str = "r") -> MemoryLog:
    log = MemoryLog()
    await log.open(running(run))
    return log


async def two_tokens() -> Events:
    yield [Start(""), Token("a")]
    yield []
    yield [Token("b")]


def failing(error: BaseException) -> Callable[[], Events]:
    async def events() -> Events:
        yield [Token("a")]
        raise error

    return events


async def fails_at_once() -> Events:
    raise FlowError("no")
    yield


async def cannot_be_encoded() -> Events:
    yield [Token("a")]
    yield [Start(object())]


async def fails_in_cleanup() -> Events:
    try:
        yield [Token("a")]
        raise FlowError("first")
    finally:
        raise ProviderError("while cleaning up")


STOPPED = Abort("[DONE]")
INTERNAL = Error("the server made a mistake; its log says more", "internal", False)
ENDINGS: dict[str, tuple[Callable[[], Events], list[Event]]] = {
    "it is done": (two_tokens, [Start(""), Token("a"), Token("b")]),
    "one of our errors": (failing(FlowError("bad flow")), [Token("a"), Error("bad flow", "flow_error", False)]),
    "an error worth another try": (failing(Interrupted("x")), [Token("a"), Error("x", "interrupted", True)]),
    "an error of another kind": (failing(ValueError("secret")), [Token("a"), INTERNAL]),
    "a group of errors": (failing(ExceptionGroup("g", [ValueError("secret")])), [Token("a"), INTERNAL]),
    "a cancellation from inside": (failing(asyncio.CancelledError()), [Token("a"), STOPPED]),
    "an error before the first event": (fails_at_once, [Error("no", "flow_error", False)]),
    "an event that cannot be written": (cannot_be_encoded, [Token("a"), INTERNAL]),
    "an error while cleaning up": (fails_in_cleanup, [Token("a"), Error("while cleaning up", "provider_error", False)]),
}


@pytest.mark.parametrize(("events", "expected"), ENDINGS.values(), ids=ENDINGS.keys())
def test_however_a_run_ends_its_log_ends_once(
    events: Callable[[], Events], expected: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> list[Event]:
        log = await opened()
        await Recording(log, "r").record(events())
        return await written(log)

    with caplog.at_level(logging.CRITICAL, "headrace.runs"):
        assert within(scenario()) == [*expected, End()]


def test_our_own_mistakes_are_logged_with_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        await Recording(await opened("r-17"), "r-17").record(failing(ValueError("what it was"))())

    within(scenario())
    (record,) = caplog.records
    assert record.getMessage() == "run r-17 failed"
    assert record.exc_info
    assert "what it was" in str(record.exc_info[1])


class Slow:
    """A run that waits until it is cancelled, and takes its time to clean up."""

    def __init__(self, cleanup: BaseException | None = None, *, stubborn: bool = False) -> None:
        self.begun, self.cleaning, self.clean = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.finished = False
        self._error, self._stubborn = cleanup, stubborn

    async def events(self) -> Events:
        try:
            self.begun.set()
            yield [Token("a")]
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not self._stubborn:
                raise
        finally:
            self.cleaning.set()
            await self.clean.wait()
            self.finished = True
            if self._error:
                raise self._error
        yield [Token("too late")]


async def recorded(slow: Slow, steer: Callable[[Recording, asyncio.Task[None]], Any]) -> list[Event]:
    """What the log holds after `steer` has interfered with a run that waits."""
    log = await opened()
    recording = Recording(log, "r")
    task = asyncio.create_task(recording.record(slow.events()))
    await slow.begun.wait()
    await turns()
    steer(recording, task)
    await slow.cleaning.wait()
    assert not task.done()
    slow.clean.set()
    await asyncio.wait([task])
    return await written(log)


STEERED: dict[str, tuple[Callable[[Recording, asyncio.Task[None]], Any], Event]] = {
    "cancelled": (lambda recording, _: recording.cancel(), STOPPED),
    "cancelled twice": (lambda recording, _: (recording.cancel(), recording.cancel()), STOPPED),
    "interrupted": (lambda recording, _: recording.cancel(Interrupted("x")), Error("x", "interrupted", True)),
    "interrupted after a cancel": (lambda r, _: (r.cancel(), r.cancel(Interrupted("x"))), STOPPED),
    "its task cancelled": (lambda _, task: task.cancel(), STOPPED),
}


@pytest.mark.parametrize(("steer", "ending"), STEERED.values(), ids=STEERED.keys())
def test_a_run_that_is_stopped_cleans_up_and_then_ends(
    steer: Callable[[Recording, asyncio.Task[None]], Any], ending: Event
) -> None:
    async def scenario() -> None:
        slow = Slow()
        assert await recorded(slow, steer) == [Token("a"), ending, End()]
        assert slow.finished

    within(scenario())


def test_a_run_that_fails_while_it_is_being_stopped_ends_once() -> None:
    async def scenario() -> None:
        events = await recorded(Slow(FlowError("x")), lambda recording, _: recording.cancel())
        assert events == [Token("a"), Error("x", "flow_error", False), End()]

    within(scenario())


def test_a_run_is_cancelled_again_while_it_cleans_up() -> None:
    async def scenario() -> None:
        log, slow = await opened(), Slow()
        recording = Recording(log, "r")
        task = asyncio.create_task(recording.record(slow.events()))
        await slow.begun.wait()
        recording.cancel()
        await slow.cleaning.wait()
        recording.cancel()
        await turns()
        assert not slow.finished  # the second order does not disturb the cleaning up
        slow.clean.set()
        await task
        assert slow.finished
        assert await written(log) == [Token("a"), STOPPED, End()]

    within(scenario())


def test_a_run_that_does_not_let_itself_be_cancelled_still_ends_with_abort() -> None:
    async def scenario() -> None:
        events = await recorded(Slow(stubborn=True), lambda recording, _: recording.cancel())
        assert events == [Token("a"), STOPPED, End()]

    within(scenario())


def test_a_run_cancelled_before_its_first_step_ends_too() -> None:
    async def scenario() -> None:
        log = await opened()
        recording = Recording(log, "r")
        task = asyncio.create_task(recording.record(two_tokens()))
        recording.cancel()
        await task
        assert await written(log) == [STOPPED, End()]
        recording.cancel()  # the run has ended: nothing happens
        assert await written(log) == [STOPPED, End()]

    within(scenario())
