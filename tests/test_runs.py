"""Runs from start to end inside one process: real log, real store, real sockets."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from calls import only
from servers import conversation
from sqlalchemy import select
from upstream import Upstream
from waiting import turns, until, within

from headrace.assembly import backend_on
from headrace.documents.library import DocumentLibrary
from headrace.errors import HeadraceError, IdempotencyConflict, Interrupted, RunNotFound, SessionBusy
from headrace.events import Abort, End, Error, Event, Metadata, Start, Token, fold
from headrace.nodes import built_in
from headrace.providers.http import ProviderHttp
from headrace.runtime.durable import DurableLog
from headrace.runtime.flows import Flow
from headrace.runtime.local import Local
from headrace.runtime.log import Retention
from headrace.runtime.python_flows import PythonFlows
from headrace.schema import FlowRow, PredictionRequest
from headrace.storage.rows import MessageFilter
from headrace.storage.storage import Storage
from headrace.storage.tables import run as run_table


class Here(Local):
    """A data folder with everything that runs flows on it."""

    async def flow(self, upstream: Upstream, **api: object) -> Flow:
        text = msgspec.json.encode(conversation(upstream.url)).decode()
        row = FlowRow("", "test", text, apiConfig=msgspec.json.encode(api).decode())
        return await self.flows.get((await self.storage.add_flow(row)).id)

    async def start(self, flow: Flow, question: str, chat: str = "c", *, key: str | None = None, **more: object) -> str:
        request = msgspec.convert({"question": question, "chatId": chat, **more}, PredictionRequest)
        return await self.runs.start(flow, request, streaming=True, key=key)

    async def written(self, run: str) -> list[Event]:
        return [entry.event async for batch in self.runs.follow(run) for entry in batch]

    async def rows(self) -> dict[str, str]:
        """State of every run that the database knows."""
        found = await self.storage.database.read(lambda c: c.execute(select(run_table.c.id, run_table.c.state)).all())
        return {row.id: row.state for row in found}


@asynccontextmanager
async def idle(folder: Path) -> AsyncGenerator[Here]:
    """Nothing is run yet."""
    http = ProviderHttp()
    storage = Storage(folder)
    library = DocumentLibrary(storage.database, folder, {})
    here = Here(storage, backend_on(storage), built_in(), only(http), Retention(), library, PythonFlows(()))
    try:
        yield here
    finally:
        await http.close()
        here.backend.registry.close()
        here.storage.close()


@asynccontextmanager
async def at_work(folder: Path, grace: float = 10) -> AsyncGenerator[Here]:
    async with idle(folder) as here, here.working(heartbeat=15, grace=grace):
        yield here


def test_a_job_runs_and_what_was_said_is_stored(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path / "data") as here:
            flow = await here.flow(upstream)
            events = await here.written(run := await here.start(flow, "/say Hi there"))
            assert [type(event) for event in events] == [Start, Token, Token, Metadata, End]
            answer = await here.runs.answer(run)
            assert answer == fold(events)
            rows = await here.storage.messages(flow.row.id, MessageFilter())
            assert [(row.role, row.content) for row in rows] == [
                ("userMessage", "/say Hi there"),
                ("apiMessage", "Hi there"),
            ]
            assert answer.chatMessageId == rows[1].id

    within(scenario())


def test_a_run_is_known_before_any_worker_takes_it(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with idle(tmp_path / "data") as here:
            run = await here.start(await here.flow(upstream), "/say Hi")
            reader = asyncio.create_task(here.written(run))
            await turns()
            assert not reader.done()
            async with here.working(heartbeat=15, grace=10):
                assert (await reader)[-1] == End()
            with pytest.raises(RunNotFound):
                await here.runs.answer("another")

    within(scenario())


@pytest.mark.parametrize("when", ["at once", "in the middle"])
def test_a_cancelled_run_ends_with_abort_and_keeps_what_was_said(tmp_path: Path, upstream: Upstream, when: str) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path / "data") as here:
            flow = await here.flow(upstream)
            run = await here.start(flow, "/count 500 | /pace 10")
            if when == "in the middle":
                assert await anext(here.runs.follow(run))
            await here.runs.cancel(run)
            await here.runs.cancel(run)
            await here.runs.cancel("unknown")
            events = await here.written(run)
            assert isinstance(events[-2], Abort)
            assert [type(event) for event in events].count(Abort) == events.count(End()) == 1
            assert (await here.runs.answer(run)).aborted
            await here.runs.cancel(run)
            await turns(20)
            assert await here.written(run) == events
            rows = await here.storage.messages(flow.row.id, MessageFilter())
            said = "".join(event.data for event in events if isinstance(event, Token))
            assert [(row.content, row.aborted) for row in rows] == (
                [] if when == "at once" else [("/count 500 | /pace 10", None), (said, True)]
            )

    within(scenario())
    upstream.wait_until(lambda requests: all(r.closed_by_peer_at_token is not None for r in requests))


def test_runs_that_go_on_are_interrupted_after_the_grace_time(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with idle(tmp_path / "data") as here:
            async with here.working(heartbeat=15, grace=0.1):
                flow = await here.flow(upstream)
                runs = [await here.start(flow, "/count 500 | /pace 10", f"c{n}") for n in range(10)]
                for run in runs:
                    assert await anext(here.runs.follow(run))
            for run in runs:
                *_, error, end = await here.written(run)
                assert isinstance(error, Error)
                assert (error.code, error.retryable, end) == ("interrupted", True, End())
                with pytest.raises(Interrupted):
                    await here.runs.answer(run)
            assert set((await here.rows()).values()) == {"failed"}

    within(scenario())


def test_one_run_that_fails_does_not_disturb_the_others(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path / "data") as here:
            flow = await here.flow(upstream)
            questions = ["/say fine", "/status 401", "/count 9 | /cut 2", "/count 3 | /garbage 1"] * 3
            runs = [await here.start(flow, text, f"c{n}") for n, text in enumerate(questions)]
            for text, run in zip(questions, runs, strict=True):
                events = await here.written(run)
                assert events.count(End()) == 1
                assert sum(isinstance(event, Error) for event in events) == (text != "/say fine")

    within(scenario())


def test_a_flow_that_is_gone_when_its_job_is_taken_is_an_error_of_the_run(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with idle(tmp_path / "data") as here:
            flow = await here.flow(upstream)
            run = await here.start(flow, "/say Hi")
            await here.storage.delete_flow(flow.row.id)
            async with here.working(heartbeat=15, grace=10):
                error, end = await here.written(run)
                assert isinstance(error, Error)
                assert (error.code, end) == ("flow_not_found", End())
                with pytest.raises(HeadraceError, match=flow.row.id):
                    await here.runs.answer(run)

    within(scenario())


def test_a_run_that_is_refused_leaves_nothing_behind(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path / "data") as here:
            flow = await here.flow(upstream, sameSession="reject")
            first = await here.start(flow, "/count 500 | /pace 10", key="k")
            for _ in range(3):
                with pytest.raises(SessionBusy):
                    await here.start(flow, "/say other")
                with pytest.raises(IdempotencyConflict):
                    await here.start(flow, "/say other", key="k")
                assert await here.start(flow, "/count 500 | /pace 10", key="k") == first
            log = here.backend.log
            assert isinstance(log, DurableLog)
            await until(lambda: not log._changed)
            assert list(await here.rows()) == list(log.memory.tails) == [first]
            await here.runs.cancel(first)

    within(scenario())


def test_a_session_is_free_as_soon_as_its_run_has_ended(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path / "data") as here:
            flow = await here.flow(upstream, sameSession="reject")
            for n in range(10):
                assert (await here.written(await here.start(flow, f"/say {n}")))[-1] == End()

    within(scenario())


def test_a_key_begins_anew_as_soon_as_its_run_has_failed_for_the_moment(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path / "data") as here:
            flow = await here.flow(upstream)
            runs = [await here.start(flow, "/say x | /cut 1", key="k")]
            for _ in range(5):
                *_, error, _ = await here.written(runs[-1])
                assert isinstance(error, Error)
                assert error.retryable
                runs.append(await here.start(flow, "/say x | /cut 1", key="k"))
            assert len(set(runs)) == 6
            await here.written(runs[-1])

    within(scenario())


def test_nothing_is_kept_of_readers_once_a_run_has_ended(tmp_path: Path, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path / "data") as here:
            flow = await here.flow(upstream)
            for policy in ("cancel", {"continueFor": 5}):
                run = await here.start(flow, "/say Hi", onDisconnect=policy)
                async with here.runs.reading(run):
                    await here.written(run)
            readers = here._worker._readers
            await until(lambda: not here._worker._runs)
            assert (readers._patience, readers._counts, readers._timers) == ({}, {}, {})

    within(scenario())
