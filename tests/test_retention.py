"""What becomes of a run's events when it is old: one text for its tokens, every number still valid, then nothing."""

import json
from collections.abc import Generator, Sequence
from itertools import groupby
from pathlib import Path
from time import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import Process, collected, numbered, running
from servers import conversation, serving
from sqlalchemy import Connection, Engine, case, func, select
from upstream import Upstream
from waiting import within

from headrace.errors import RunNotFound
from headrace.events import End, Error, Event, Metadata, RunMetadata, Start, Thinking, Token, encode
from headrace.runtime.log import Entry, Retention
from headrace.storage import journal
from headrace.storage.database import Database
from headrace.storage.dialect import engine_for
from headrace.storage.storage import timestamp
from headrace.storage.tables import run_events

pytestmark = pytest.mark.usefixtures("kind")

HOUR = 3600.0
AT_ONCE = Retention(hours=-1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)  # any character, `\n` and the empty text too
EVENTS = st.one_of(
    TEXTS.map(Token), TEXTS.map(Token), TEXTS.map(Token), TEXTS.map(Start), TEXTS.map(Thinking), TEXTS.map(Error)
)


def stored(c: Connection, run: str, events: Sequence[Event], group: int = 3) -> list[Entry]:
    """A run that has ended, its events in groups as they were committed."""
    entries = numbered(events)
    journal.add_run(c, info := running(run), "owner")
    for n in range(0, len(entries), group):
        part = entries[n : n + group]
        journal.add_pieces(c, [journal.pieces_of(run, part[0].seq, [entry.data for entry in part])])
    info.state, info.endedDate, info.lastSeq = "finished", timestamp(), len(entries)
    journal.end_runs(c, [(info, sum(len(entry.data) for entry in entries))])
    return entries


def read(c: Connection, run: str, after: int) -> list[Entry]:
    """All that a reader gets, in as many steps as it takes."""
    got: list[Entry] = []
    while more := journal.events_after(c, run, got[-1].seq if got else after, most=2):
        got += [Entry(*item) for item in more]
    return got


def merged(entries: Sequence[Entry]) -> list[Entry]:
    """Entries with each run of tokens as one, under its last number."""
    result: list[Entry] = []
    for is_token, group in groupby(entries, key=lambda entry: isinstance(entry.event, Token)):
        same = list(group)
        text = "".join(str(entry.event.data) for entry in same)
        result += [Entry(same[-1].seq, encode(Token(text)))] if is_token else same
    return result


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Engine]:
    Database(path := tmp_path_factory.mktemp("compacted") / "headrace.sqlite").close()
    engine = engine_for(path).execution_options(writes=True)
    yield engine
    engine.dispose()


@settings(max_examples=200, deadline=None)
@given(events=st.lists(EVENTS, max_size=12), group=st.integers(1, 5))
def test_every_position_of_a_compacted_run_still_gives_exactly_what_is_missing(
    engine: Engine, events: list[Event], group: int
) -> None:
    with engine.connect() as c:
        entries = stored(c, "r", [*events, End()], group)
        assert read(c, "r", 0) == entries
        for _ in range(2):  # doing it again changes nothing
            journal.compact(c, "r")
            for after in range(len(entries) + 2):
                assert read(c, "r", after) == merged(entries[after:])
        c.rollback()


def answer(words: int) -> list[Event]:
    return [Start(""), *[Token(f"w{n} ") for n in range(words)], Metadata(RunMetadata()), End()]


async def sizes(process: Process) -> dict[str, int]:
    """How many events each run has, compacted ones counting as one."""
    count = func.sum(case((run_events.c.compact, 1), else_=run_events.c.count))
    statement = select(run_events.c.run, count).group_by(run_events.c.run)
    return {row[0]: row[1] for row in await process.database.read(lambda c: c.execute(statement).all())}


async def kept(process: Process, run: str, events: Sequence[Event], ended: float | None = None) -> None:
    """Stores an ended run, as if it had ended at that time."""
    await process.log.open(running(run, ended))
    process.log.append(run, events)
    process.log.memory.tails[run].info.endedDate = timestamp(ended)
    await process.log.commit()


def test_events_are_kept_one_by_one_for_as_long_as_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        process, now = Process(tmp_path), time()
        for hours in (0, 1, 23, 25, 100):
            await kept(process, f"{hours} h", answer(10), now - hours * HOUR)
        await process.tidy(Retention())
        assert await sizes(process) == {"0 h": 13, "1 h": 13, "23 h": 13, "25 h": 4, "100 h": 4}
        got = [entry.event for entry in await collected(process.log.follow("100 h"))]
        text = Token("".join(f"w{n} " for n in range(10)))
        assert got == [Start(""), text, Metadata(RunMetadata()), End()]
        await process.tidy(Retention(hours=0.5))
        assert (await sizes(process))["1 h"] == 4
        process.close()

    within(scenario())


def test_the_oldest_make_room_when_all_together_are_too_large(tmp_path: Path) -> None:
    async def scenario() -> None:
        process, now = Process(tmp_path), time()
        for n in range(10):
            await kept(process, f"{n}", answer(100), now - 100 + n)
        await process.log.open(running("goes on"))
        process.log.append("goes on", [Token("x" * 100_000)])
        await process.log.commit()
        one = sum(len(entry.data) for entry in numbered(answer(100)))
        await process.tidy(Retention(bytes=one * 4 + one // 2))
        found = await sizes(process)
        assert [n for n in range(10) if found[f"{n}"] == 103] == [6, 7, 8, 9]
        assert found["goes on"] == 1
        await process.tidy(Retention(bytes=one * 4 + one // 2))
        assert await sizes(process) == found
        process.close()

    within(scenario())


def test_runs_of_a_month_ago_are_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        process, now = Process(tmp_path), time()
        for days in (29, 31, 40):
            await kept(process, f"{days} d", answer(3), now - days * 24 * HOUR)
        await process.log.open(running("goes on since", now - 50 * 24 * HOUR))
        await process.log.commit()
        await process.tidy(Retention(hours=35 * 24))
        assert await sizes(process) == {"29 d": 6, "31 d": 6}  # what is to be kept longer is kept longer
        await process.tidy(Retention())
        assert await sizes(process) == {"29 d": 4}
        for run in ("31 d", "40 d"):
            with pytest.raises(RunNotFound):
                await anext(process.log.follow(run))
        assert (await process.log.info("goes on since")).state == "running"
        process.close()

    within(scenario())


def test_a_run_that_a_crash_cut_off_is_compacted_like_any_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        dead = Process(tmp_path)
        await dead.log.open(running("r"))
        dead.log.append("r", answer(50)[:-2])
        await dead.log.commit()
        dead.die()
        process = Process(tmp_path)
        await process.registry.close_abandoned()
        before = await collected(process.log.follow("r"))
        await process.tidy(AT_ONCE)
        for after in (0, 1, 2, 30, 51, 60, 1000, before[-2].seq):
            missing = [entry for entry in before if entry.seq > after]
            assert merged(await collected(process.log.follow("r", after))) == merged(missing)
        process.close()

    within(scenario())


def test_a_reader_in_the_middle_of_a_run_that_is_compacted_misses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        process = Process(tmp_path)
        await process.log.open(running("r"))
        events: list[Event] = [Start(""), *[Token(f"w{n} ") for n in range(600)], End()]
        for event in events:  # a row for each: a reader gets 200 of them at a time
            process.log.append("r", [event])
            await process.log.commit()
        batches = process.log.follow("r")
        got = list(await anext(batches))
        assert len(got) < len(events)
        await process.tidy(AT_ONCE)
        got += await collected(batches)
        assert merged(got) == merged(numbered(events))
        process.close()

    within(scenario())


def test_a_late_reader_gets_the_whole_answer_in_one_token(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data") as server:
        flow = server.create_flow(conversation(upstream.url))
        whole = server.ask(flow, "/count 40 | /burst", streaming=True, chatId="late")
        run = whole.headers["X-Run-Id"]
        assert len(whole.events) == 43
        assert server.stop() == 0
    with serving(tmp_path / "data", HEADRACE_KEEP_LOG_HOURS="0") as server:  # tidies as it starts

        def resumed(after: int) -> list[dict[str, str]]:
            return server.send("GET", f"/api/v1/runs/{run}/events?after={after}").events

        while len(resumed(0)) != 4:
            assert server.process.poll() is None
        expected = " ".join(f"w{n}" for n in range(1, 41))
        assert [event["event"] for event in resumed(0)] == ["start", "token", "metadata", "end"]
        for after in range(1, 41):
            had = "".join(event["data"] for event in whole.events[1:after])
            assert had + resumed(after)[0]["data"] == expected
        assert resumed(41) == whole.events[41:]
        assert server.send("GET", f"/api/v1/runs/{run}").json["lastSeq"] == 43
        named = server.send("GET", f"/api/v1/runs/{run}/events?format=named").text
        assert f"id: {run}:41\nevent: token\ndata: {expected}\n" in named
        body = json.dumps({"question": "/count 40 | /burst", "streaming": True}).encode()
        again = server.send("POST", f"/api/v1/prediction/{flow}", body, {"Last-Event-ID": f"{run}:41"})
        assert again.events == whole.events[41:]


def test_times_of_events_are_stored_and_survive_compaction_as_far_as_events_do(tmp_path: Path) -> None:
    async def scenario() -> None:
        process = Process(tmp_path)
        await process.log.open(running("r"))
        for event in answer(3):
            process.log.append("r", [event])
            if event == Token("w1 "):
                await process.log.commit()
        before = await process.log.times("r", 1, 6)
        await process.log.commit()
        assert process.log.tail("r") is None
        assert await process.log.times("r", 1, 6) == before
        assert await process.log.times("r", 3, 4) == {seq: before[seq] for seq in (3, 4)}
        await process.tidy(AT_ONCE)
        assert await process.log.times("r", 1, 6) == {seq: before[seq] for seq in (1, 4, 5, 6)}
        process.close()

    within(scenario())
