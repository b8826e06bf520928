"""The recorder, which alone ends a run, and the worker on its queue: real log, real store, real sockets."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from servers import conversation
from upstream import Upstream
from waiting import turns, within

from headrace.errors import FlowError, HeadraceError, Interrupted, ProviderError, RunNotFound
from headrace.events import Abort, End, Error, Event, Metadata, Start, Token, fold
from headrace.nodes import built_in
from headrace.providers.http import ProviderHttp
from headrace.runtime.flows import Flow, Flows
from headrace.runtime.log import MemoryLog
from headrace.runtime.queue import LocalQueue
from headrace.runtime.runs import Recording, Runs
from headrace.runtime.worker import Worker
from headrace.schema import FlowRow, PredictionRequest
from headrace.store.store import MessageFilter, Store

Events = AsyncGenerator[Sequence[Event]]


async def written(log: MemoryLog, run: str = "r") -> list[Event]:
    return [entry.event async for batch in log.follow(run) for entry in batch]


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


INTERNAL = Error("the server made a mistake; its log says more", "internal", False)
ENDINGS: dict[str, tuple[Callable[[], Events], list[Event]]] = {
    "it is done": (two_tokens, [Start(""), Token("a"), Token("b")]),
    "one of our errors": (failing(FlowError("bad flow")), [Token("a"), Error("bad flow", "flow_error", False)]),
    "an error worth another try": (failing(Interrupted("x")), [Token("a"), Error("x", "interrupted", True)]),
    "an error of another kind": (failing(ValueError("secret")), [Token("a"), INTERNAL]),
    "a group of errors": (failing(ExceptionGroup("g", [ValueError("secret")])), [Token("a"), INTERNAL]),
    "a cancellation from inside": (failing(asyncio.CancelledError()), [Token("a"), Abort()]),
    "an error before the first event": (fails_at_once, [Error("no", "flow_error", False)]),
    "an event that cannot be written": (cannot_be_encoded, [Token("a"), INTERNAL]),
    "an error while cleaning up": (fails_in_cleanup, [Token("a"), Error("while cleaning up", "provider_error", False)]),
}


@pytest.mark.parametrize(("events", "expected"), ENDINGS.values(), ids=ENDINGS.keys())
def test_however_a_run_ends_its_log_ends_once(
    events: Callable[[], Events], expected: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> list[Event]:
        log = MemoryLog()
        await Recording(log, "r").record(events())
        return await written(log)

    with caplog.at_level(logging.CRITICAL, "headrace.runs"):
        assert within(scenario()) == [*expected, End()]


def test_our_own_mistakes_are_logged_with_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    within(Recording(MemoryLog(), "r-17").record(failing(ValueError("what it was"))()))
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
    log = MemoryLog()
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
    "cancelled": (lambda recording, _: recording.cancel(), Abort()),
    "cancelled twice": (lambda recording, _: (recording.cancel(), recording.cancel()), Abort()),
    "interrupted": (lambda recording, _: recording.cancel(Interrupted("x")), Error("x", "interrupted", True)),
    "interrupted after a cancel": (lambda r, _: (r.cancel(), r.cancel(Interrupted("x"))), Abort()),
    "its task cancelled": (lambda _, task: task.cancel(), Abort()),
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
        log, slow = MemoryLog(), Slow()
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
        assert await written(log) == [Token("a"), Abort(), End()]

    within(scenario())


def test_a_run_that_does_not_let_itself_be_cancelled_still_ends_with_abort() -> None:
    async def scenario() -> None:
        events = await recorded(Slow(stubborn=True), lambda recording, _: recording.cancel())
        assert events == [Token("a"), Abort(), End()]

    within(scenario())


def test_a_run_cancelled_before_its_first_step_ends_too() -> None:
    async def scenario() -> None:
        log = MemoryLog()
        recording = Recording(log, "r")
        task = asyncio.create_task(recording.record(two_tokens()))
        recording.cancel()
        await task
        assert await written(log) == [Abort(), End()]
        recording.cancel()  # the run has ended: nothing happens
        assert await written(log) == [Abort(), End()]

    within(scenario())


# The worker


class Here:
    """A store in a folder, with a worker at work."""

    def __init__(self, folder: Path) -> None:
        self.store, self.http = Store(folder), ProviderHttp()
        self.flows = Flows(self.store, built_in())
        self.log, self.queue = MemoryLog(), LocalQueue()
        self.worker = Worker(self.queue, self.log, self.flows, self.store, self.http)
        self.runs = Runs(self.log, self.queue)

    async def flow(self, upstream: Upstream) -> Flow:
        text = msgspec.json.encode(conversation(upstream.url)).decode()
        return await self.flows.get((await self.store.add_flow(FlowRow("", "test", text))).id)

    async def start(self, flow: Flow, question: str, chat: str = "c") -> str:
        return await self.runs.start(flow, PredictionRequest(question=question, chatId=chat), streaming=True)


@asynccontextmanager
async def at_work(folder: Path) -> AsyncGenerator[Here]:
    here = Here(folder)
    work = asyncio.create_task(here.worker.work())
    try:
        yield here
        here.queue.close()
        await work
    finally:
        work.cancel()
        await here.http.close()
        here.store.close()


def test_a_job_runs_and_what_was_said_is_stored(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path / "data") as here:
            flow = await here.flow(upstream)
            events = await written(here.log, run := await here.start(flow, "/say Hi there"))
            assert [type(event) for event in events] == [Start, Token, Token, Metadata, End]
            answer = await here.runs.answer(run)
            assert answer == fold(events)
            rows = await here.store.messages(flow.row.id, MessageFilter())
            assert [(row.role, row.content) for row in rows] == [
                ("userMessage", "/say Hi there"),
                ("apiMessage", "Hi there"),
            ]
            assert answer.chatMessageId == rows[1].id

    within(scenario())


def test_a_run_is_known_before_any_worker_takes_it(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        here = Here(tmp_path / "data")
        try:
            run = await here.start(await here.flow(upstream), "/say Hi")
            reader = asyncio.create_task(written(here.log, run))
            await turns()
            assert not reader.done()
            here.queue.close()
            await here.worker.work()
            assert (await reader)[-1] == End()
            with pytest.raises(RunNotFound):
                await here.runs.answer("another")
        finally:
            await here.http.close()
            here.store.close()

    within(scenario())


@pytest.mark.parametrize("when", ["at once", "in the middle"])
def test_a_cancelled_run_ends_with_abort_and_stores_nothing(tmp_path: Path, upstream: Upstream, when: str) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path / "data") as here:
            flow = await here.flow(upstream)
            run = await here.start(flow, "/count 500 | /pace 10")
            if when == "in the middle":
                assert await anext(here.runs.follow(run))
            await here.runs.cancel(run)
            await here.runs.cancel(run)
            await here.runs.cancel("unknown")
            events = await written(here.log, run)
            assert events[-2:] == [Abort(), End()]
            assert events.count(End()) == events.count(Abort()) == 1
            assert (await here.runs.answer(run)).aborted
            await here.runs.cancel(run)
            await turns(20)
            assert await written(here.log, run) == events
            assert await here.store.messages(flow.row.id, MessageFilter()) == []

    within(scenario())
    upstream.wait_until(lambda requests: all(r.closed_by_peer_at_token is not None for r in requests))


def test_an_interrupted_worker_ends_all_its_runs(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path / "data") as here:
            flow = await here.flow(upstream)
            runs = [await here.start(flow, "/count 500 | /pace 10", f"c{n}") for n in range(10)]
            for run in runs:
                assert await anext(here.runs.follow(run))
            here.queue.close()
            here.worker.interrupt()
            here.worker.interrupt()
            for run in runs:
                *_, error, end = await written(here.log, run)
                assert isinstance(error, Error)
                assert (error.code, error.retryable, end) == ("interrupted", True, End())
                with pytest.raises(Interrupted):
                    await here.runs.answer(run)

    within(scenario())


def test_one_run_that_fails_does_not_disturb_the_others(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path / "data") as here:
            flow = await here.flow(upstream)
            questions = ["/say fine", "/status 401", "/count 9 | /cut 2", "/count 3 | /garbage 1"] * 3
            runs = [await here.start(flow, text, f"c{n}") for n, text in enumerate(questions)]
            for text, run in zip(questions, runs, strict=True):
                events = await written(here.log, run)
                assert events.count(End()) == 1
                assert sum(isinstance(event, Error) for event in events) == (text != "/say fine")

    within(scenario())


def test_a_flow_that_is_gone_when_its_job_is_taken_is_an_error_of_the_run(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        here = Here(tmp_path / "data")
        try:
            flow = await here.flow(upstream)
            run = await here.start(flow, "/say Hi")
            await here.store.delete_flow(flow.row.id)
            here.queue.close()
            await here.worker.work()
            error, end = await written(here.log, run)
            assert isinstance(error, Error)
            assert (error.code, end) == ("flow_not_found", End())
            with pytest.raises(HeadraceError, match=flow.row.id):
                await here.runs.answer(run)
        finally:
            await here.http.close()
            here.store.close()

    within(scenario())
