"""What every event log must hold. A new implementation is one more line in `logs.LOGS`."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from logs import LOGS, Open, Play, collected, found, numbered, running
from waiting import turns, until, within

from headrace.errors import Conflict, RunNotFound
from headrace.events import Abort, End, Error, Event, Start, Token, Unknown, Usage
from headrace.runtime.log import Entry, EventLog, MemoryLog

pytestmark = pytest.mark.usefixtures("kind")

EVENTS: list[Event] = [Start(""), Token("One"), Token(' "two"\n'), Unknown("weather", {"data": [1]}), Error("x"), End()]


@pytest.fixture(params=LOGS.values(), ids=list(LOGS))
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Plays a scenario on a log."""
    opened: Open = request.param

    def played(scenario: Callable[[EventLog], Coroutine[None, None, None]]) -> None:
        async def whole() -> None:
            async with opened(tmp_path) as log:
                await scenario(log)

        within(whole())

    return played


async def begun(log: EventLog, *runs: str) -> None:
    for run in runs:
        await log.open(running(run))


def test_an_ended_run_is_read_from_any_position(play: Play) -> None:
    async def scenario(log: EventLog) -> None:
        await begun(log, "r")
        assert log.append("r", EVENTS[:3]) == 3
        assert log.append("r", EVENTS[3:]) == len(EVENTS)
        for after in range(len(EVENTS) + 1):
            assert await collected(log.follow("r", after)) == numbered(EVENTS, after)
        assert [entry.event for entry in await collected(log.follow("r"))] == EVENTS

    play(scenario)


def test_a_position_past_the_end_of_an_ended_run_gives_nothing(play: Play) -> None:
    async def scenario(log: EventLog) -> None:
        await begun(log, "r")
        log.append("r", EVENTS)
        assert await collected(log.follow("r", 99)) == []

    play(scenario)


def test_a_reader_gets_what_comes_after_it_began(play: Play) -> None:
    async def scenario(log: EventLog) -> None:
        await begun(log, "r")
        got: list[Entry] = []

        async def read() -> None:
            async with aclosing(log.follow("r")) as batches:
                async for batch in batches:
                    got.extend(batch)

        reader = asyncio.create_task(read())
        for count, event in enumerate(EVENTS):
            await until(lambda count=count: len(got) == count)
            assert not reader.done()
            log.append("r", [event])
        await reader
        assert got == numbered(EVENTS)

    play(scenario)


@pytest.mark.parametrize("after", range(len(EVENTS)))
def test_a_reader_resumes_while_the_run_goes_on(play: Play, after: int) -> None:
    async def scenario(log: EventLog) -> None:
        await begun(log, "r")
        log.append("r", EVENTS[:2])
        reader = asyncio.create_task(collected(log.follow("r", after)))
        await turns()
        for event in EVENTS[2:]:
            log.append("r", [event])
        assert await reader == numbered(EVENTS, after)

    play(scenario)


def test_many_readers_of_one_run_get_the_same(play: Play) -> None:
    async def scenario(log: EventLog) -> None:
        await begun(log, "r")
        readers = [asyncio.create_task(collected(log.follow("r", n % 3))) for n in range(30)]
        for event in EVENTS:
            await turns(1)
            log.append("r", [event])
        for n, reader in enumerate(readers):
            assert await reader == numbered(EVENTS, n % 3)

    play(scenario)


def test_runs_do_not_mix(play: Play) -> None:
    async def scenario(log: EventLog) -> None:
        runs = [f"run {n}" for n in range(20)]
        await begun(log, *runs)
        readers = {run: asyncio.create_task(collected(log.follow(run))) for run in runs}
        for n in range(10):
            for run in runs:
                log.append(run, [Token(f"{run}, {n}")])
        for run in runs:
            log.append(run, [End()])
            assert await readers[run] == numbered([*(Token(f"{run}, {n}") for n in range(10)), End()])

    play(scenario)


def test_a_batch_reaches_a_waiting_reader_in_one_piece(play: Play) -> None:
    async def scenario(log: EventLog) -> None:
        await begun(log, "r")
        async with aclosing(log.follow("r")) as batches:
            first = asyncio.ensure_future(anext(batches))
            await turns()
            log.append("r", EVENTS[:4])
            assert list(await first) == numbered(EVENTS[:4])

    play(scenario)


@pytest.mark.parametrize("after", [0, 5])
def test_an_unknown_run_is_said_to_be_unknown_and_never_waited_for(play: Play, after: int) -> None:
    async def scenario(log: EventLog) -> None:
        await begun(log, "other")
        log.append("other", [Token("x")])
        with pytest.raises(RunNotFound, match="there is no run 'r', or it has expired"):
            await anext(log.follow("r", after))
        with pytest.raises(RunNotFound):
            await log.info("r")

    play(scenario)


def test_a_run_is_known_before_its_first_event(play: Play) -> None:
    async def scenario(log: EventLog) -> None:
        await begun(log, "r")
        assert log.append("r", ()) == 0
        reader = asyncio.create_task(collected(log.follow("r")))
        info = await log.info("r")
        assert (info.state, info.lastSeq) == ("running", 0)
        assert not reader.done()
        log.append("r", [Abort("[DONE]"), End()])
        assert await reader == numbered([Abort("[DONE]"), End()])

    play(scenario)


def test_a_run_that_is_open_cannot_be_opened_again(play: Play) -> None:
    async def scenario(log: EventLog) -> None:
        await begun(log, "r")
        log.append("r", EVENTS[:2])
        with pytest.raises(Conflict, match="'r' is open already"):
            await log.open(running("r"))
        assert log.append("r", EVENTS[2:]) == len(EVENTS)
        assert await collected(log.follow("r")) == numbered(EVENTS)

    play(scenario)


def test_nothing_can_be_added_to_an_unknown_or_ended_run(play: Play) -> None:
    async def scenario(log: EventLog) -> None:
        with pytest.raises(RunNotFound):
            log.append("r", [Token("x")])
        await begun(log, "r")
        log.append("r", EVENTS)
        with pytest.raises(Conflict, match="'r' has ended"):
            log.append("r", [Token("x")])
        assert await collected(log.follow("r")) == numbered(EVENTS)
        with pytest.raises((Conflict, RunNotFound)):  # an ended run may be out of memory by now
            log.append("r", [Token("x")])
        assert await collected(log.follow("r")) == numbered(EVENTS)

    play(scenario)


ENDINGS: dict[str, tuple[Sequence[Event], str]] = {
    "finished": ([], "finished"),
    "failed": ([Error("no", "flow_error")], "failed"),
    "cancelled": ([Abort("[DONE]", Usage(1, 2, 3))], "cancelled"),
}


@pytest.mark.parametrize(("ending", "state"), ENDINGS.values(), ids=list(ENDINGS))
def test_how_a_run_ended_is_known(play: Play, ending: Sequence[Event], state: str) -> None:
    async def scenario(log: EventLog) -> None:
        await begun(log, "r")
        log.append("r", [Token("x"), *ending, End()])
        await collected(log.follow("r"))
        info = await log.info("r")
        assert (info.state, info.lastSeq) == (state, len(ending) + 2)
        assert info.endedDate
        assert info.code == ("flow_error" if state == "failed" else None)
        assert info.usage == (Usage(1, 2, 3) if state == "cancelled" else None)

    play(scenario)


def test_a_beat_gives_waiting_readers_an_empty_batch_and_costs_no_event(play: Play) -> None:
    async def scenario(log: EventLog) -> None:
        await begun(log, "r")
        log.append("r", EVENTS[:1])
        got: list[Entry] = []
        async with aclosing(log.follow("r")) as batches:
            for count, event in enumerate(EVENTS[1:], 1):
                while len(got) < count:
                    got += await anext(batches)
                waiting = asyncio.ensure_future(anext(batches))
                while not waiting.done():
                    await turns()
                    log.beat()
                assert list(await waiting) == []
                log.append("r", [event])
            async for batch in batches:
                got += batch
        assert got == numbered(EVENTS)

    play(scenario)


def test_a_reader_that_leaves_while_it_waits_disturbs_nobody(play: Play) -> None:
    async def scenario(log: EventLog) -> None:
        await begun(log, "r")
        readers = [asyncio.create_task(collected(log.follow("r"))) for _ in range(4)]
        await turns()
        for reader in readers[:3]:
            reader.cancel()
        log.append("r", EVENTS)
        left = await asyncio.gather(*readers[:3], return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in left)
        assert await readers[3] == numbered(EVENTS)

    play(scenario)


# What only the memory log does: it has nowhere to put what it forgets


def test_old_ended_runs_go_when_there_are_too_many_and_running_ones_stay() -> None:
    async def scenario() -> None:
        log = MemoryLog(keep_bytes=1000)
        await begun(log, "running")
        log.append("running", [Token("x" * 5000)])
        for n in range(10):
            await begun(log, f"ended {n}")
            log.append(f"ended {n}", [Token("x" * 300), End()])
        known = [n for n in range(10) if await found(log, f"ended {n}")]
        assert known == list(range(min(known), 10))
        assert 0 < len(known) < 10
        assert await found(log, "running")

    within(scenario())


def test_the_newest_ended_run_can_be_read_however_large_it_is() -> None:
    async def scenario() -> None:
        log = MemoryLog(keep_bytes=10)
        await begun(log, "r")
        log.append("r", [Token("x" * 5000), End()])
        assert len(await collected(log.follow("r"))) == 2

    within(scenario())


def test_a_slow_reader_gets_to_the_end_of_a_run_that_has_expired_meanwhile() -> None:
    async def scenario() -> None:
        log = MemoryLog(keep_bytes=10)
        await begun(log, "r", "next")
        log.append("r", EVENTS[:2])
        async with aclosing(log.follow("r")) as batches:
            got = list(await anext(batches))
            log.append("r", EVENTS[2:])
            log.append("next", [Token("x" * 50), End()])
            with pytest.raises(RunNotFound):
                await anext(log.follow("r"))
            async for batch in batches:
                got += batch
        assert got == numbered(EVENTS)

    within(scenario())
