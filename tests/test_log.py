"""What every event log must hold. A new implementation is one more line in LOGS."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import ClassVar, Protocol

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from waiting import turns, within

from headrace.errors import RunNotFound
from headrace.events import Abort, End, Error, Event, Start, Token, Unknown, encode
from headrace.runtime.log import Entry, EventLog, MemoryLog


class Log(EventLog, Protocol):
    """An event log as the suite drives it: `beat` gives every waiting reader a sign of life."""

    def beat(self) -> None: ...


class NewLog(Protocol):
    """Makes a log that keeps this many bytes of ended runs."""

    def __call__(self, keep_bytes: int = ...) -> Log: ...


LOGS: dict[str, NewLog] = {"memory": MemoryLog}
EVENTS: list[Event] = [Start(""), Token("One"), Token(' "two"\n'), Unknown("weather", {"data": [1]}), Error("x"), End()]


@pytest.fixture(params=LOGS.values(), ids=list(LOGS))
def new_log(request: pytest.FixtureRequest) -> NewLog:
    return request.param


async def collected(entries: AsyncGenerator[Sequence[Entry]]) -> list[Entry]:
    """Everything that a reader gets, signs of life left out."""
    async with aclosing(entries) as batches:
        return [entry async for batch in batches for entry in batch]


def numbered(events: Sequence[Event], after: int = 0) -> list[Entry]:
    return [Entry(n, encode(event)) for n, event in enumerate(events, 1) if n > after]


def test_an_ended_run_is_read_from_any_position(new_log: NewLog) -> None:
    async def scenario() -> None:
        log = new_log()
        assert await log.append("r", EVENTS[:3]) == 3
        assert await log.append("r", EVENTS[3:]) == len(EVENTS)
        for after in range(len(EVENTS) + 1):
            assert await collected(log.follow("r", after)) == numbered(EVENTS, after)
        assert [entry.event for entry in await collected(log.follow("r"))] == EVENTS

    within(scenario())


def test_a_position_past_the_end_of_an_ended_run_gives_nothing(new_log: NewLog) -> None:
    async def scenario() -> None:
        log = new_log()
        await log.append("r", EVENTS)
        assert await collected(log.follow("r", 99)) == []

    within(scenario())


def test_a_reader_gets_what_comes_after_it_began(new_log: NewLog) -> None:
    async def scenario() -> None:
        log = new_log()
        await log.append("r", ())
        reader = asyncio.create_task(collected(log.follow("r")))
        for event in EVENTS:
            await turns()
            assert not reader.done()
            await log.append("r", [event])
        assert await reader == numbered(EVENTS)

    within(scenario())


@pytest.mark.parametrize("after", range(len(EVENTS)))
def test_a_reader_resumes_while_the_run_goes_on(new_log: NewLog, after: int) -> None:
    async def scenario() -> None:
        log = new_log()
        await log.append("r", EVENTS[:2])
        reader = asyncio.create_task(collected(log.follow("r", after)))
        await turns()
        for event in EVENTS[2:]:
            await log.append("r", [event])
        assert await reader == numbered(EVENTS, after)

    within(scenario())


def test_many_readers_of_one_run_get_the_same(new_log: NewLog) -> None:
    async def scenario() -> None:
        log = new_log()
        await log.append("r", ())
        readers = [asyncio.create_task(collected(log.follow("r", n % 3))) for n in range(30)]
        for event in EVENTS:
            await turns(1)
            await log.append("r", [event])
        for n, reader in enumerate(readers):
            assert await reader == numbered(EVENTS, n % 3)

    within(scenario())


def test_runs_do_not_mix(new_log: NewLog) -> None:
    async def scenario() -> None:
        log = new_log()
        runs = [f"run {n}" for n in range(20)]
        for run in runs:
            await log.append(run, ())
        readers = {run: asyncio.create_task(collected(log.follow(run))) for run in runs}
        for n in range(10):
            for run in runs:
                await log.append(run, [Token(f"{run}, {n}")])
        for run in runs:
            await log.append(run, [End()])
            assert await readers[run] == numbered([*(Token(f"{run}, {n}") for n in range(10)), End()])

    within(scenario())


def test_a_batch_reaches_a_waiting_reader_in_one_piece(new_log: NewLog) -> None:
    async def scenario() -> None:
        log = new_log()
        await log.append("r", ())
        async with aclosing(log.follow("r")) as batches:
            first = asyncio.ensure_future(anext(batches))
            await turns()
            await log.append("r", EVENTS[:4])
            assert list(await first) == numbered(EVENTS[:4])

    within(scenario())


@pytest.mark.parametrize("after", [0, 5])
def test_an_unknown_run_is_said_to_be_unknown_and_never_waited_for(new_log: NewLog, after: int) -> None:
    async def scenario() -> None:
        log = new_log()
        await log.append("other", [Token("x")])
        with pytest.raises(RunNotFound, match="there is no run 'r', or it has expired"):
            await anext(log.follow("r", after))

    within(scenario(), 1)


def test_a_run_is_known_from_its_first_append_on_even_without_events(new_log: NewLog) -> None:
    async def scenario() -> None:
        log = new_log()
        assert await log.append("r", ()) == 0
        reader = asyncio.create_task(collected(log.follow("r")))
        await turns()
        assert not reader.done()
        await log.append("r", [Abort(), End()])
        assert await reader == numbered([Abort(), End()])

    within(scenario())


def test_old_ended_runs_go_when_there_are_too_many_and_running_ones_stay(new_log: NewLog) -> None:
    async def scenario() -> None:
        log = new_log(keep_bytes=1000)
        await log.append("running", [Token("x" * 5000)])
        for n in range(10):
            await log.append(f"ended {n}", [Token("x" * 300), End()])
        known = [n for n in range(10) if await found(log, f"ended {n}")]
        assert known == list(range(min(known), 10))
        assert 0 < len(known) < 10
        assert await found(log, "running")

    within(scenario())


async def found(log: Log, run: str) -> bool:
    async with aclosing(log.follow(run)) as batches:
        try:
            await anext(batches)
        except RunNotFound:
            return False
    return True


def test_the_newest_ended_run_can_be_read_however_large_it_is(new_log: NewLog) -> None:
    async def scenario() -> None:
        log = new_log(keep_bytes=10)
        await log.append("r", [Token("x" * 5000), End()])
        assert len(await collected(log.follow("r"))) == 2

    within(scenario())


def test_a_slow_reader_gets_to_the_end_of_a_run_that_has_expired_meanwhile(new_log: NewLog) -> None:
    async def scenario() -> None:
        log = new_log(keep_bytes=10)
        await log.append("r", EVENTS[:2])
        async with aclosing(log.follow("r")) as batches:
            got = list(await anext(batches))
            await log.append("r", EVENTS[2:])
            await log.append("next", [Token("x" * 50), End()])
            with pytest.raises(RunNotFound):
                await anext(log.follow("r"))
            async for batch in batches:
                got += batch
        assert got == numbered(EVENTS)

    within(scenario())


def test_a_beat_gives_waiting_readers_an_empty_batch_and_costs_no_event(new_log: NewLog) -> None:
    async def scenario() -> None:
        log = new_log()
        await log.append("r", EVENTS[:1])
        async with aclosing(log.follow("r")) as batches:
            got = list(await anext(batches))
            for event in EVENTS[1:]:
                waiting = asyncio.ensure_future(anext(batches))
                await turns()
                log.beat()
                assert list(await waiting) == []
                await log.append("r", [event])
                got += await anext(batches)
        assert got == numbered(EVENTS)

    within(scenario())


def test_a_reader_that_leaves_while_it_waits_disturbs_nobody(new_log: NewLog) -> None:
    async def scenario() -> None:
        log = new_log()
        await log.append("r", ())
        readers = [asyncio.create_task(collected(log.follow("r"))) for _ in range(4)]
        await turns()
        for reader in readers[:3]:
            reader.cancel()
        await log.append("r", EVENTS)
        left = await asyncio.gather(*readers[:3], return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in left)
        assert await readers[3] == numbered(EVENTS)

    within(scenario())


# Any sequence of what a server does


class Reader:
    """A follower and where it stands; `pending` is its step that waits."""

    def __init__(self, log: Log, run: str, after: int) -> None:
        self.run, self.after = run, after
        self.batches = log.follow(run, after)
        self.pending: asyncio.Task[Sequence[Entry]] | None = None

    def step(self) -> asyncio.Task[Sequence[Entry]]:
        self.pending = self.pending or asyncio.ensure_future(anext(self.batches))  # type: ignore[arg-type]
        return self.pending

    async def close(self) -> None:
        if self.pending:
            self.pending.cancel()
            await asyncio.wait([self.pending])
            self.pending = None
        await self.batches.aclose()


class LogMachine(RuleBasedStateMachine):
    """Drives a log beside a plain list for every run."""

    new_log: ClassVar[NewLog]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.log = self.new_log()
        self.model: dict[str, list[Event]] = {}
        self.readers: list[Reader] = []
        self.count = 0

    def do(self, work: object) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(2):  # seconds: a log that hangs is shrunk many times
                await work  # type: ignore[misc]
                await turns()

        self.runner.run(bounded())

    def open_runs(self) -> list[str]:
        return [run for run, events in self.model.items() if End() not in events]

    @rule()
    def start(self) -> None:
        run = f"run {len(self.model)}"
        self.model[run] = []
        self.do(self.log.append(run, ()))

    @precondition(lambda self: bool(self.open_runs()))
    @rule(data=st.data(), size=st.integers(1, 4))
    def append(self, data: st.DataObject, size: int) -> None:
        run = data.draw(st.sampled_from(self.open_runs()))
        events: list[Event] = [Token(str(self.count + n)) for n in range(size)]
        self.count += size
        self.do(self._append(run, events))

    @precondition(lambda self: bool(self.open_runs()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.do(self._append(data.draw(st.sampled_from(self.open_runs())), [Abort(), End()]))

    async def _append(self, run: str, events: list[Event]) -> None:
        self.model[run] += events
        assert await self.log.append(run, events) == len(self.model[run])

    @precondition(lambda self: bool(self.model))
    @rule(data=st.data())
    def follow(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.model)))
        self.readers.append(Reader(self.log, run, data.draw(st.integers(0, len(self.model[run])))))

    @precondition(lambda self: bool(self.readers))
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        self.do(self._read(data.draw(st.sampled_from(self.readers))))

    async def _read(self, reader: Reader) -> None:
        """One step: the entries that are there, nothing yet, or the end."""
        expected = numbered(self.model[reader.run], reader.after)
        task = reader.step()
        await turns()
        if not expected and End() not in self.model[reader.run]:
            assert not task.done()
            return
        reader.pending = None
        try:
            got = list(await task)
        except StopAsyncIteration:
            assert not expected
            self.readers.remove(reader)
            return
        assert got
        assert got == expected[: len(got)]
        reader.after = got[-1].seq

    @precondition(lambda self: any(reader.pending for reader in self.readers))
    @rule()
    def beat(self) -> None:
        self.log.beat()
        self.do(self._beaten())

    async def _beaten(self) -> None:
        for reader in self.readers:
            if reader.pending and not numbered(self.model[reader.run], reader.after):
                task, reader.pending = reader.pending, None
                if End() not in self.model[reader.run]:
                    assert list(await task) == []
                else:
                    await asyncio.wait([task])
                    task.exception()

    @precondition(lambda self: bool(self.readers))
    @rule(data=st.data(), resume=st.booleans())
    def cut(self, data: st.DataObject, resume: bool) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        self.readers.remove(reader)
        self.do(reader.close())
        if resume:
            self.readers.append(Reader(self.log, reader.run, reader.after))

    def teardown(self) -> None:
        try:
            self.do(self._finish())
        finally:
            self.runner.close()

    async def _finish(self) -> None:
        for run in self.open_runs():
            await self._append(run, [End()])
        while self.readers:
            await self._read(self.readers[0])


def test_any_sequence_of_reads_and_writes_gives_every_reader_its_part_of_the_log(new_log: NewLog) -> None:
    machine = type("Machine", (LogMachine,), {"new_log": staticmethod(new_log)})
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
