"""Any sequence of what a server does to a log, crashes included, compared with a plain list for every run."""

import asyncio
import shutil
from collections.abc import Coroutine, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from logs import Process, collected, numbered, running
from waiting import BOUND, turns

from headrace.events import Abort, End, Error, Event, Token
from headrace.runtime import durable
from headrace.runtime.log import Entry, EventLog, MemoryLog

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


class LogMachine(RuleBasedStateMachine):
    """Drives a log beside what it should hold."""

    log: EventLog

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model: dict[str, list[Entry]] = {}
        self.readers: list[Reader] = []
        self.count = 0
        self.begin()

    def begin(self) -> None:
        self.log = MemoryLog()

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

    @rule()
    def start(self) -> None:
        run = f"run {len(self.model)}"
        self.model[run] = []
        self.do(self.log.open(running(run)))

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
        self.do(self._append(data.draw(st.sampled_from(self.open_runs())), [Abort("[DONE]"), End()]))

    async def _append(self, run: str, events: list[Event]) -> None:
        count = len(self.model[run])
        self.model[run] += [Entry(count + seq, data) for seq, data in numbered(events)]
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


class DurableMachine(LogMachine):
    """The same over a folder: what is committed survives a crash, and nothing else does."""

    def begin(self) -> None:
        self.folder = Path(mkdtemp())
        self.committed: dict[str, int] = {}
        self._process()

    def _process(self) -> None:
        self.process = Process(self.folder)
        self.log = self.process.log

    @rule()
    def commit(self) -> None:
        self.do(self.process.log.commit())
        self.committed = {run: len(entries) for run, entries in self.model.items()}

    @rule()
    def crash(self) -> None:
        for reader in self.readers:
            self.do(reader.close())
        self.process.die()
        self._process()
        self.do(self._recovered())
        self.readers = [Reader(self.log, r.run, r.after) for r in self.readers if r.run in self.model]

    async def _recovered(self) -> None:
        """Each log is what was committed, closed with an error and an end that every reader has still before it."""
        before, self.model = self.model, {run: self.model[run][:count] for run, count in self.committed.items()}
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


def test_any_sequence_of_reads_and_writes_gives_every_reader_its_part_of_the_memory_log() -> None:
    run_state_machine_as_test(LogMachine, settings=SETTINGS)


def test_any_sequence_of_reads_writes_and_crashes_gives_every_reader_its_part_of_the_durable_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(durable, "_HOT_BYTES", 100)  # two or three events: readers fall behind
    run_state_machine_as_test(DurableMachine, settings=SETTINGS)
