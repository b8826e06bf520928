"""Any sequence of what a server does to a backend, crashes included, compared with plain lists and dictionaries."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar, NamedTuple

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from logs import Process, collected, numbered, running
from waiting import BOUND, turns

from headrace.errors import IdempotencyConflict, Interrupted, SessionBusy
from headrace.events import Abort, End, Error, Event, Token
from headrace.runtime import durable
from headrace.runtime.log import Entry, EventLog
from headrace.runtime.memory import Memory
from headrace.runtime.registry import Order, Registered, RunRegistry, Terms, Wish

pytestmark = pytest.mark.usefixtures("kind")

SETTINGS = settings(max_examples=40, stateful_step_count=40, deadline=None)


class Reader:
    """A follower and where it stands; `pending` is its step that waits."""

    def __init__(self, log: EventLog, run: str, after: int) -> None:
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


class Known(NamedTuple):
    """A registered run as the model knows it."""

    session: str
    terms: Terms


FAILURE = Error("busy", Interrupted.code, retryable=True)
TERMS = st.builds(
    Terms,
    key=st.sampled_from((None, "one", "two")),
    digest=st.sampled_from("ab"),
    session=st.sampled_from(("parallel", "parallel", "queue", "reject", "interrupt")),
    watched=st.booleans(),
)


class BackendMachine(RuleBasedStateMachine):
    """Drives the log and the registry of one process beside what they should hold."""

    log: EventLog
    registry: RunRegistry
    outcomes: ClassVar[Counter[str]]
    """How often the registry gave each answer, over all sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model: dict[str, list[Entry]] = {}
        self.known: dict[str, Known] = {}
        self.keys: dict[str, str] = {}
        self.readers: list[Reader] = []
        self.order: asyncio.Task[Order] | None = None
        self.count = self.runs = 0
        self.begin()
        self.orders = self.registry.orders()

    def begin(self) -> None:
        raise NotImplementedError

    def stored(self, run: str) -> bool:
        """True for a run that another registration sees."""
        return run in self.known

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(BOUND):
                await work
                await turns()

        self.runner.run(bounded())

    def ended(self, run: str) -> bool:
        return bool(self.model[run]) and self.model[run][-1].event == End()

    def open_runs(self) -> list[str]:
        return [run for run in self.model if not self.ended(run)]

    def rest(self, reader: Reader) -> list[Entry]:
        return [entry for entry in self.model[reader.run] if entry.seq > reader.after]

    def failed(self, run: str) -> bool:
        """True for a run whose error is only for the moment: its key may begin another one."""
        errors = [entry.event for entry in self.model[run] if isinstance(entry.event, Error)]
        return any(error.retryable for error in errors)

    def expected(self, session: str, terms: Terms) -> Registered | type[Exception]:
        if terms.key and (run := self.keys.get(terms.key)):
            if self.known[run].terms.digest != terms.digest:
                return IdempotencyConflict
            if not self.failed(run):
                return Registered(run)
        others = [run for run in self.open_runs() if self.stored(run) and self.known[run].session == session]
        if others and terms.session == "reject":
            return SessionBusy
        return Registered(None, tuple(others) if terms.session != "parallel" else ())

    @rule(session=st.sampled_from("st"), terms=TERMS)
    def register(self, session: str, terms: Terms) -> None:
        self.do(self._register(session, terms))

    async def _register(self, session: str, terms: Terms) -> None:
        expected, run = self.expected(session, terms), f"run {self.runs}"
        self.runs += 1
        info = msgspec.structs.replace(running(run), sessionId=session)
        if not isinstance(expected, Registered):
            with pytest.raises(expected):
                await self.registry.register(info, terms)
            self.outcomes[expected.__name__] += 1
            return
        got = await self.registry.register(info, terms)
        assert (got.existing, set(got.others)) == (expected.existing, set(expected.others))
        self.outcomes["existing" if got.existing else "new"] += 1
        if not got.existing:
            self.model[run], self.known[run] = [], Known(session, terms)
            if terms.key:
                self.keys[terms.key] = run

    @precondition(lambda self: bool(self.model))
    @rule(data=st.data(), wish=st.sampled_from(("cancel", "come", "go")))
    def give_order(self, data: st.DataObject, wish: Wish) -> None:
        self.do(self._give_order(data.draw(st.sampled_from(sorted(self.model))), wish))

    async def _give_order(self, run: str, wish: Wish) -> None:
        """An order comes when the run goes on and its owner is to know of it; otherwise none does."""
        await self.registry.order(run, wish)
        self.order = self.order or asyncio.ensure_future(anext(self.orders))  # type: ignore[arg-type]
        if self.ended(run) or not (wish == "cancel" or self.known[run].terms.watched):
            await turns()
            assert not self.order.done()
            return
        order, self.order = self.order, None
        assert await order == Order(run, wish)
        self.outcomes["order"] += 1

    @rule()
    def list_chat(self) -> None:
        self.do(self._list_chat())

    async def _list_chat(self) -> None:
        infos = await self.registry.of_chat("flow", "chat")
        assert {info.id for info in infos} == set(self.model)
        assert {info.id for info in infos if info.endedDate is None} == set(self.open_runs())
        dates = [info.createdDate for info in infos]
        assert dates == sorted(dates, reverse=True)

    async def leave_orders(self) -> None:
        if self.order:
            self.order.cancel()
            await asyncio.wait([self.order])
            self.order = None
        await self.orders.aclose()

    @precondition(lambda self: bool(self.open_runs()))
    @rule(data=st.data(), size=st.integers(1, 4))
    def append(self, data: st.DataObject, size: int) -> None:
        run = data.draw(st.sampled_from(self.open_runs()))
        events: list[Event] = [Token(str(self.count + n)) for n in range(size)]
        self.count += size
        self.do(self._append(run, events))

    @precondition(lambda self: bool(self.open_runs()))
    @rule(data=st.data(), last=st.sampled_from((Abort("[DONE]"), FAILURE)))
    def end(self, data: st.DataObject, last: Event) -> None:
        self.do(self._append(data.draw(st.sampled_from(self.open_runs())), [last, End()]))

    async def _append(self, run: str, events: list[Event]) -> None:
        count = len(self.model[run])
        self.model[run] += [Entry(count + seq, data) for seq, data in numbered(events)]
        assert self.log.append(run, events) == len(self.model[run])

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
        expected = self.rest(reader)
        task = reader.step()
        if not expected and not self.ended(reader.run):
            await turns()
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
            if reader.pending and not self.rest(reader):
                task, reader.pending = reader.pending, None
                if self.ended(reader.run):
                    await asyncio.wait([task])
                    task.exception()
                else:
                    assert list(await task) == []

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
        await self.leave_orders()


class MemoryMachine(BackendMachine):
    """The backend in memory: its log outlives a process, whose runs the next one closes."""

    outcomes: ClassVar[Counter[str]] = Counter()

    def begin(self) -> None:
        self.memory = Memory()
        self._process()

    def _process(self) -> None:
        backend = self.memory.backend()
        self.log, self.registry = backend.log, backend.registry

    @rule()
    def crash(self) -> None:
        owner = self.registry.id
        self.do(self.leave_orders())
        self.registry.close()
        self._process()
        self.orders = self.registry.orders()
        assert self.registry.gone(owner)
        assert not self.registry.gone(self.registry.id)
        self.do(self._recovered())

    async def _recovered(self) -> None:
        cut = self.open_runs()
        assert await self.registry.close_abandoned() == len(cut)
        for run in cut:
            closing = await collected(self.log.follow(run, len(self.model[run])))
            error, end = (entry.event for entry in closing)
            assert isinstance(error, Error)
            assert (error.code, error.retryable, end) == ("interrupted", True, End())
            self.model[run] += closing
            self.outcomes["interrupted"] += 1


class DurableMachine(BackendMachine):
    """The same over a folder: what is committed survives a crash, and nothing else does."""

    outcomes: ClassVar[Counter[str]] = Counter()

    def begin(self) -> None:
        self.folder = Path(mkdtemp())
        self.committed: dict[str, int] = {}
        self._process()

    def _process(self) -> None:
        self.process = Process(self.folder)
        self.log, self.registry = self.process.log, self.process.registry

    def stored(self, run: str) -> bool:
        """Only runs whose terms others must know of are stored before the next commit."""
        terms = self.known[run].terms
        return run in self.committed or bool(terms.key or terms.watched or terms.session != "parallel")

    @rule()
    def commit(self) -> None:
        self.do(self.process.log.commit())
        self.committed = {run: len(entries) for run, entries in self.model.items()}

    @rule()
    def crash(self) -> None:
        for reader in self.readers:
            self.do(reader.close())
        self.do(self.leave_orders())
        self.process.die()
        self._process()
        self.orders = self.registry.orders()
        self.do(self._recovered())
        self.readers = [Reader(self.log, r.run, r.after) for r in self.readers if r.run in self.model]

    async def _recovered(self) -> None:
        """Each log is what was committed, closed with an error and an end that every reader has still before it."""
        kept_counts = {run: self.committed.get(run, 0) for run in self.model if self.stored(run)}
        before, self.model = self.model, {run: self.model[run][:count] for run, count in kept_counts.items()}
        cut = self.open_runs()
        assert await self.process.registry.close_abandoned() == len(cut)
        for run in cut:
            closing = await collected(self.log.follow(run, len(kept := self.model[run])))
            error, end = (entry.event for entry in closing)
            assert isinstance(error, Error)
            assert (error.code, error.retryable, end) == ("interrupted", True, End())
            assert closing[0].seq > len(before[run])
            self.model[run] = kept + closing
        self.committed = {run: len(entries) for run, entries in self.model.items()}

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.process.close()
            shutil.rmtree(self.folder)


def test_any_sequence_of_calls_and_crashes_leaves_the_memory_backend_as_it_should_be() -> None:
    run_state_machine_as_test(MemoryMachine, settings=SETTINGS)
    assert MemoryMachine.outcomes.keys() >= {"new", "existing", "order", "interrupted"}


def test_any_sequence_of_calls_and_crashes_leaves_the_durable_backend_as_it_should_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(durable, "_HOT_BYTES", 100)  # two or three events: readers fall behind
    run_state_machine_as_test(DurableMachine, settings=SETTINGS)
    assert DurableMachine.outcomes.keys() >= {"new", "existing", "order"}
