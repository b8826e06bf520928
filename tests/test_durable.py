"""What the durable log does beyond the contract: other processes, bounded memory, crashes."""

import asyncio
import json
import sqlite3
from contextlib import aclosing
from pathlib import Path

import pytest
from logs import Elsewhere, Process, at_work, collected, found, numbered, running
from waiting import turns, until, within

from headrace.errors import RunNotFound, StorageError
from headrace.events import End, Error, Event, Start, Token
from headrace.runtime.durable import _HOT_BYTES, DurableLog
from headrace.runtime.log import Entry
from headrace.schema import RunInfo
from headrace.storage import journal

pytestmark = pytest.mark.usefixtures("kind")


async def begun(log: DurableLog | Elsewhere, run: str, *events: Event) -> None:
    await log.open(running(run))
    log.append(run, events)


def test_another_process_reads_every_byte_live_and_after_the_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path) as one, at_work(tmp_path) as other:
            await begun(one.log, "r", Start(""))
            readers = [asyncio.create_task(collected(log.follow("r", 1))) for log in (one.log, other.log)]
            for n in range(200):
                one.log.append("r", [Token(f"w{n} ü \U0001f30a\n")])
                await turns(2)
            one.log.append("r", [End()])
            here, there = await asyncio.gather(*readers)
            assert here == there
            assert len(here) == 201
            for after in range(0, 203, 13):
                expected = here[max(0, after - 1) :]
                if after:
                    assert await collected(other.log.follow("r", after)) == expected
                    assert await collected(one.log.follow("r", after)) == expected

    within(scenario())


def test_what_is_written_while_a_reader_looks_is_not_missed(tmp_path: Path) -> None:
    """A commit between a reader's look and its going to sleep must wake it, not leave it to the next heartbeat."""

    async def scenario() -> None:
        async with at_work(tmp_path) as one, at_work(tmp_path) as other:
            await begun(one.log, "r", Start(""))
            read, held = other.log.info, asyncio.Event()

            async def late(run: str) -> RunInfo:
                info = await read(run)
                if not held.is_set():
                    held.set()
                    sights = other.log._sights
                    one.log.append("r", [Token("x"), End()])
                    await until(lambda: other.log._sights > sights)
                return info

            other.log.info = late
            assert await collected(other.log.follow("r")) == numbered([Start(""), Token("x"), End()])
            assert held.is_set()

    within(scenario())


def test_ended_runs_leave_memory_once_they_are_stored(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path) as process:
            log = process.log
            for n in range(50):
                await begun(log, f"r{n}", Token("x"), End())
            await begun(log, "goes on", Token("x"))
            await until(lambda: len(log.memory.tails) == 1)
            assert list(log.memory.tails) == list(log._stored) == list(log._bytes) == ["goes on"]
            assert (log.memory._ended, log._new) == ({}, {})
            assert await collected(log.follow("r7")) == numbered([Token("x"), End()])
            assert (await log.info("r7")).state == "finished"

    within(scenario())


def test_a_log_goes_on_however_much_has_ended(tmp_path: Path) -> None:
    """The memory log alone forgets ended runs past 64 MiB; here they are gone from memory by then."""

    async def scenario() -> None:
        process = Process(tmp_path)
        for n in range(5):
            await begun(process.log, f"r{n}", *[Token("x" * 4_000_000)] * 4, End())
            await process.log.commit()
            assert await collected(process.log.follow(f"r{n}", 4)) == numbered([*[Token("")] * 4, End()], 4)
        process.close()

    within(scenario(), 30)


def test_a_run_in_progress_keeps_its_newest_part_in_memory(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path) as process:
            log = process.log
            await begun(log, "r", Start(""))
            events: list[Event] = [Start("")]
            tail = log.memory.tails["r"]
            for n in range(30):
                batch = [Token(f"{n}.{m} " + "x" * 1000) for m in range(100)]
                events.extend(batch)
                log.append("r", batch)
                await until(lambda: log._stored["r"] == len(events))
                assert tail.size <= _HOT_BYTES
            assert tail.base > 0
            readers = [asyncio.create_task(collected(log.follow("r", after))) for after in range(0, 3001, 250)]
            await turns()
            log.append("r", [End()])
            events.append(End())
            for after, reader in zip(range(0, 3001, 250), readers, strict=True):
                assert await reader == numbered(events, after)
            assert (await log.info("r")).lastSeq == len(events)

    within(scenario(), 30)


def test_a_reader_that_memory_leaves_behind_reads_on_from_the_database(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path) as process:
            log, got = process.log, list[Entry]()
            await begun(log, "r", Start(""))
            events: list[Event] = [Start("")]
            async with aclosing(log.follow("r")) as batches:
                got += await anext(batches)
                for n in range(8):
                    batch = [Token(f"{n}.{m} " + "y" * 2000) for m in range(100)]
                    events.extend(batch)
                    log.append("r", batch)
                    await until(lambda: log._stored["r"] == len(events))
                assert log.memory.tails["r"].base > got[-1].seq
                log.append("r", [Token("newest"), End()])
                events += [Token("newest"), End()]
                async for batch in batches:
                    got += batch
            assert got == numbered(events)

    within(scenario(), 30)


def test_a_row_never_says_more_than_its_events(tmp_path: Path) -> None:
    """While the database is locked a run may begin and end; a crash after the first commit must not hide its end."""

    async def scenario() -> None:
        process = Process(tmp_path)
        await begun(process.log, "r", Token("a"))
        with sqlite3.connect(tmp_path / "headrace.sqlite", isolation_level=None) as lock:
            lock.execute("BEGIN IMMEDIATE")
            commit = asyncio.create_task(process.log.commit())
            await turns()
            process.log.append("r", [End()])
            assert not commit.done()
            lock.execute("ROLLBACK")
        await commit
        info = await process.database.read(lambda c: journal.info_of(c, "r"))
        assert info
        assert (info.state, info.lastSeq) == ("running", 1)
        process.die()
        after = Process(tmp_path)
        assert await after.registry.close_abandoned() == 1
        kinds = [type(entry.event) for entry in await collected(after.log.follow("r"))]
        assert kinds == [Token, Error, End]
        after.close()

    within(scenario())


def test_a_reader_who_had_what_a_crash_lost_still_learns_how_it_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        process = Process(tmp_path)
        await begun(process.log, "r", Start(""), Token("kept"))
        await process.log.commit()
        process.log.append("r", [Token(" lost")] * 50)
        had = await anext(process.log.follow("r"))
        assert len(had) == 52
        process.die()
        other = Process(tmp_path)
        await other.registry.close_abandoned()
        for after in (2, 3, 4, 51, 52):
            error, end = await collected(other.log.follow("r", after))
            assert json.loads(error.data)["code"] == "interrupted"
            assert json.loads(error.data)["retryable"] is True
            assert end.event == End()
            assert error.seq > after
        info = await other.log.info("r")
        assert (info.state, info.code, info.lastSeq) == ("failed", "interrupted", end.seq)
        other.close()

    within(scenario())


def test_only_runs_of_processes_that_are_gone_are_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        dead, alive = Process(tmp_path), Process(tmp_path)
        for process, run in ((dead, "cut"), (dead, "ended"), (alive, "goes on")):
            await begun(process.log, run, Token("x"))
        dead.log.append("ended", [End()])
        await dead.log.commit()
        await alive.log.commit()
        third = Process(tmp_path)
        assert await third.registry.close_abandoned() == 0
        dead.die()
        assert await third.registry.close_abandoned() == 1
        assert await third.registry.close_abandoned() == 0
        assert (await third.log.info("cut")).state == "failed"
        assert (await third.log.info("ended")).state == "finished"
        assert (await third.log.info("goes on")).state == "running"
        assert not (tmp_path / "processes" / dead.presence.id).exists()
        alive.close()
        third.close()

    within(scenario())


def test_a_reader_in_another_process_learns_of_a_crash(tmp_path: Path) -> None:
    async def scenario() -> None:
        dead = Process(tmp_path)
        await begun(dead.log, "r", Token("x"))
        await dead.log.commit()
        async with at_work(tmp_path) as other:
            reader = asyncio.create_task(collected(other.log.follow("r")))
            await turns()
            dead.die()
            await other.registry.close_abandoned()
            assert [type(entry.event) for entry in await reader] == [Token, Error, End]

    within(scenario())


def test_a_commit_that_fails_is_made_up_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        process = Process(tmp_path)
        write = process.database.write

        async def refused(_: object, *, alone: bool = True) -> None:
            raise StorageError("full")

        await begun(process.log, "r", Start(""))
        for _ in range(3):
            process.database.write = refused  # type: ignore[method-assign]
            with pytest.raises(StorageError, match="full"):
                await process.log.commit()
            process.log.append("r", [Token("x")])
        process.database.write = write  # type: ignore[method-assign]
        await process.log.commit()
        process.log.append("r", [End()])
        await process.log.commit()
        assert await collected(process.log.follow("r")) == numbered([Start(""), *[Token("x")] * 3, End()])
        process.close()

    within(scenario())


def test_an_unknown_run_is_given_the_time_of_a_commit_to_appear(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path) as one, at_work(tmp_path) as other:
            looking = asyncio.create_task(found(Elsewhere(one.log, other.log), "r"))
            await turns()
            await begun(one.log, "r", Token("x"))
            assert await looking
            with pytest.raises(RunNotFound, match="nobody's"):
                await other.log.info("nobody's")

    within(scenario())
