"""What every backend's registry must hold. A new implementation is one more line in `logs.WORLDS`."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from logs import WORLDS, World, collected, running
from waiting import turns, until, within

from headrace.errors import Conflict, IdempotencyConflict, Interrupted, RunNotFound, SessionBusy
from headrace.events import Abort, End, Error, Event, Token
from headrace.runtime.backend import Backend
from headrace.runtime.log import Retention
from headrace.runtime.queue import Job
from headrace.runtime.registry import MOST_CRASHES, Order, Registered, SameSession, Terms
from headrace.schema import PredictionRequest, RunInfo
from headrace.storage.storage import timestamp

pytestmark = pytest.mark.usefixtures("kind")

Play = Callable[[Callable[[World], Coroutine[None, None, None]]], None]
PLAIN = Terms()
FAILED: dict[str, tuple[Event, bool]] = {
    "for the moment": (Error("busy", Interrupted.code, retryable=True), True),
    "for good": (Error("wrong", "flow_error"), False),
}


@pytest.fixture(params=WORLDS.values(), ids=list(WORLDS))
def play(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[Callable[[World], Coroutine[None, None, None]]], None]:
    """Plays a scenario in a world of processes."""

    def played(scenario: Callable[[World], Coroutine[None, None, None]]) -> None:
        async def whole() -> None:
            async with request.param(tmp_path) as world:
                await scenario(world)

        within(whole(), 20)

    return played


@asynccontextmanager
async def taking(backend: Backend) -> AsyncGenerator[list[Order]]:
    """The orders that a process gets."""
    got: list[Order] = []

    async def take() -> None:
        async for order in backend.registry.orders():
            got.append(order)  # noqa: PERF401 read while it fills

    task = asyncio.create_task(take())
    try:
        yield got
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def begun(backend: Backend, run: str, terms: Terms = PLAIN, *events: Event) -> Registered:
    found = await backend.registry.register(running(run), terms)
    if events:
        backend.log.append(found.existing or run, events)
    return found


async def known(backend: Backend, run: str) -> RunInfo:
    """The run, once this process knows of it."""
    while True:
        with suppress(RunNotFound):
            return await backend.log.info(run)


def test_a_registered_run_is_open(play: Play) -> None:
    async def scenario(world: World) -> None:
        one = world.process()
        assert await begun(one, "r") == Registered(None)
        assert (await one.log.info("r")).state == "running"
        assert one.log.append("r", [Token("x"), End()]) == 2

    play(scenario)


def test_a_key_gives_the_run_that_it_began_in_every_process(play: Play) -> None:
    async def scenario(world: World) -> None:
        one, other = world.process(), world.process()
        terms = Terms(key="k", digest="d")
        assert (await begun(one, "r", terms)).existing is None
        for process in (one, other):
            assert (await begun(process, "again", terms)).existing == "r"
            with pytest.raises(IdempotencyConflict):
                await begun(process, "again", Terms(key="k", digest="another"))
            assert process.log.tail("again") is None
        one.log.append("r", [Token("x"), End()])
        for process in (one, other):
            assert (await begun(process, "again", terms)).existing == "r"

    play(scenario)


@pytest.mark.parametrize(("error", "anew"), FAILED.values(), ids=list(FAILED))
def test_a_key_begins_anew_only_after_a_failure_for_the_moment(play: Play, error: Event, anew: bool) -> None:
    async def scenario(world: World) -> None:
        one = world.process()
        terms = Terms(key="k", digest="d")
        await begun(one, "first", terms, error, End())
        found = await begun(one, "second", terms)
        assert found.existing == (None if anew else "first")
        assert (await begun(one, "third", terms)).existing == ("second" if anew else "first")

    play(scenario)


@pytest.mark.parametrize("policy", ["queue", "interrupt"])
def test_the_other_runs_of_a_session_are_named_oldest_first(play: Play, policy: SameSession) -> None:
    async def scenario(world: World) -> None:
        one, other = world.process(), world.process()
        terms = Terms(session=policy)
        assert await begun(one, "a", terms) == Registered(None)
        assert (await begun(other, "b", terms)).others == ("a",)
        assert (await begun(one, "c", terms)).others == (
            "a",
            "b",
        )
        one.log.append("a", [End()])
        assert (await begun(one, "d", terms)).others == (
            "b",
            "c",
        )

    play(scenario)


def test_a_busy_session_is_refused_everywhere_until_its_run_has_ended(play: Play) -> None:
    async def scenario(world: World) -> None:
        one, other = world.process(), world.process()
        terms = Terms(session="reject")
        await begun(one, "a", terms)
        for process in (one, other):
            with pytest.raises(SessionBusy):
                await begun(process, "b", terms)
            assert process.log.tail("b") is None
        one.log.append("a", [End()])
        assert await begun(one, "b", terms) == Registered(None)

    play(scenario)


def test_runs_that_may_be_parallel_do_not_look_at_each_other(play: Play) -> None:
    async def scenario(world: World) -> None:
        one = world.process()
        await begun(one, "a", Terms(session="reject"))
        assert await begun(one, "b") == Registered(None)

    play(scenario)


def test_an_order_reaches_the_owner_alone_whoever_gives_it(play: Play) -> None:
    async def scenario(world: World) -> None:
        one, other, third = world.process(), world.process(), world.process()
        await begun(one, "r", Terms(watched=True), Token("x"))
        async with taking(one) as got, taking(other) as others, taking(third) as thirds:
            given: list[Order] = []
            for process in (one, other, third):
                await known(process, "r")
                for wish in ("come", "go", "cancel"):
                    await process.registry.order("r", wish)
                    given.append(Order("r", wish))
                await until(lambda: len(got) >= len(given))
            await turns()
            assert got == given
            assert others == thirds == []

    play(scenario)


def test_owners_hear_of_readers_only_for_runs_that_are_watched(play: Play) -> None:
    async def scenario(world: World) -> None:
        one, other = world.process(), world.process()
        await begun(one, "r", PLAIN, Token("x"))
        async with taking(one) as got:
            for process in (one, other):
                await known(process, "r")
                await process.registry.order("r", "come")
                await process.registry.order("r", "go")
                await process.registry.order("r", "cancel")
            await until(lambda: len(got) >= 2)
            assert got == [Order("r", "cancel")] * 2

    play(scenario)


def test_orders_for_unknown_and_ended_runs_come_to_nothing(play: Play) -> None:
    async def scenario(world: World) -> None:
        one, other = world.process(), world.process()
        await begun(one, "ended", Terms(watched=True), Token("x"), End())
        await begun(one, "goes on", Terms(watched=True), Token("x"))
        await collected(other.log.follow("ended"))
        async with taking(one) as got:
            for process in (one, other):
                await known(process, "goes on")
                for run in ("unknown", "ended", "goes on"):
                    await process.registry.order(run, "cancel")
            await until(lambda: len(got) >= 2)
            assert got == [Order("goes on", "cancel")] * 2

    play(scenario)


def test_orders_wait_for_somebody_to_take_them(play: Play) -> None:
    async def scenario(world: World) -> None:
        one = world.process()
        await begun(one, "r", Terms(watched=True))
        await one.registry.order("r", "come")
        await one.registry.order("r", "cancel")
        async with taking(one) as got:
            await until(lambda: len(got) == 2)
            assert got == [Order("r", "come"), Order("r", "cancel")]

    play(scenario)


def test_the_runs_of_a_chat_are_found_in_every_process_newest_first(play: Play) -> None:
    async def scenario(world: World) -> None:
        one, other = world.process(), world.process()
        for n, process in enumerate((one, other, one)):
            await process.registry.register(running(f"r{n}", 1000.0 + n), Terms())
            process.log.append(f"r{n}", [Token("x")])
        one.log.append("r0", [Abort("[DONE]"), End()])
        for process in (one, other):
            await collected(process.log.follow("r0"))
            for run in ("r1", "r2"):
                await known(process, run)
            found = await process.registry.of_chat("flow", "chat")
            assert [(info.id, info.state) for info in found] == [
                ("r2", "running"),
                ("r1", "running"),
                ("r0", "cancelled"),
            ]
            assert list(await process.registry.of_chat("flow", "another")) == []

    play(scenario)


def test_only_runs_of_processes_that_are_gone_are_closed(play: Play) -> None:
    async def scenario(world: World) -> None:
        dead, alive, third = world.process(), world.process(), world.process()
        await begun(dead, "ended", Terms(), Token("x"), End())
        await begun(dead, "cut", Terms(), Token("x"))
        await begun(alive, "goes on", Terms(), Token("x"))
        for run in ("cut", "goes on"):
            await known(third, run)
        await collected(third.log.follow("ended"))
        assert not third.registry.gone(dead.registry.id)
        assert await third.registry.close_abandoned() == 0
        world.kill(dead)
        assert await third.registry.close_abandoned() == 1
        assert third.registry.gone(dead.registry.id)
        assert not third.registry.gone(alive.registry.id)
        assert await third.registry.close_abandoned() == 0
        first, error, end = [entry.event for entry in await collected(third.log.follow("cut"))]
        assert isinstance(error, Error)
        assert (first, error.code, error.retryable, end) == (Token("x"), Interrupted.code, True, End())
        assert (await third.log.info("cut")).state == "failed"
        assert (await third.log.info("goes on")).state == "running"

    play(scenario)


def surviving(run: str) -> Job:
    return Job(
        run=run,
        flow="flow",
        chat="chat",
        session="chat",
        message="m",
        request=PredictionRequest(question="Hi"),
        received=0.0,
        survives=True,
    )


def test_a_run_with_a_job_is_taken_over_by_one_process_and_goes_on_for_its_readers(play: Play) -> None:
    async def scenario(world: World) -> None:
        dead, one, two = world.process(), world.process(), world.process()
        await begun(dead, "r", Terms(job=msgspec.json.encode(surviving("r"))), Token("x"))
        readers = [asyncio.create_task(collected(process.log.follow("r"))) for process in (one, two)]
        while (await one.log.info("r")).lastSeq < 1:  # it is stored
            await turns()
        assert await one.registry.take_over() == []
        await two.registry.order("r", "cancel")
        world.kill(dead)
        assert await one.registry.close_abandoned() == 0
        assert await one.registry.take_over() == [msgspec.structs.replace(surviving("r"), resumed=True)]
        assert await two.registry.take_over() == []
        assert one.log.append("r", [Token("y"), End()]) == 3
        for reader in readers:
            assert [(entry.seq, entry.event) for entry in await reader] == [
                (1, Token("x")),
                (2, Token("y")),
                (3, End()),
            ]
        assert (await two.log.info("r")).state == "finished"

    play(scenario)


def test_a_run_that_kills_its_processes_is_ended(play: Play) -> None:
    async def scenario(world: World) -> None:
        process = world.process()
        await begun(process, "r", Terms(job=msgspec.json.encode(surviving("r"))), Token("x"))
        while (await process.log.info("r")).lastSeq < 1:
            await turns()
        for crashes in range(MOST_CRASHES + 1):
            world.kill(process)
            process = world.process()
            assert len(await process.registry.take_over()) == (crashes < MOST_CRASHES)
        assert await process.registry.close_abandoned() == 1
        assert (await process.log.info("r")).code == Interrupted.code

    play(scenario)


def test_a_process_that_lives_although_it_was_taken_for_gone_can_write_nothing_more(play: Play) -> None:
    """The fence: its run has one ending, also for its own readers, and it is told to stop."""

    async def scenario(world: World) -> None:
        lost, other = world.process(), world.process()
        await begun(lost, "r", PLAIN, Token("before"))
        await begun(lost, "another", Terms(), Token("x"))
        await known(other, "r")
        await known(other, "another")
        reader = asyncio.create_task(collected(lost.log.follow("r")))
        await turns()
        world.vanish(lost)
        assert await other.registry.close_abandoned() == 2
        with suppress(Conflict):
            lost.log.append("r", [Token("after")])
        seen = [entry.event for entry in await reader]
        assert [type(event) for event in seen if event != Token("after")] == [Token, Error, End]
        with pytest.raises((Conflict, RunNotFound)):
            lost.log.append("r", [Token("later"), End()])
        for process in (lost, other):
            kept = [entry.event for entry in await collected(process.log.follow("r"))]
            assert [type(event) for event in kept] == [Token, Error, End]
            assert kept[0] == Token("before")
            assert (await process.log.info("r")).state == "failed"

    play(scenario)


def test_runs_that_ended_long_ago_are_forgotten_and_those_that_go_on_stay(play: Play) -> None:
    async def scenario(world: World) -> None:
        one = world.process()
        await one.registry.register(running("old", 1000.0), Terms(key="k", digest="d"))
        await one.registry.register(running("goes on", 1000.0), Terms())
        tail = one.log.tail("old")
        assert tail
        one.log.append("old", [Token("x")])
        one.log.append("goes on", [Token("x")])
        await world.ended(one, "old", timestamp(1000.0))
        await one.log.tidy(Retention())
        await one.registry.forget_old(Retention())
        with pytest.raises(RunNotFound):
            await one.log.info("old")
        assert (await one.log.info("goes on")).state == "running"
        assert [info.id for info in await one.registry.of_chat("flow", "chat")] == ["goes on"]
        assert (await begun(one, "new", Terms(key="k", digest="d"))).existing is None

    play(scenario)
