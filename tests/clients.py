"""Both clients behind one face, so that one table of cases serves them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from itertools import islice
from typing import Any, TypeVar

import pytest
from scripted import BOUND, STARTING

from headrace import (
    AsyncHeadrace,
    AsyncStream,
    Chunk,
    Headrace,
    HeadraceError,
    Prediction,
    PredictionData,
    RunInfo,
    Stream,
)
from headrace.events import Event, Token

T = TypeVar("T")

KEY = "hr-test-key-4711"


def said(events: list[Event]) -> str:
    return "".join(event.data for event in events if isinstance(event, Token))


def counted(count: int) -> str:
    """What the scripted model says to `/count`."""
    return " ".join(f"w{number}" for number in range(1, count + 1))


async def collected(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


class SyncDriver:
    """Uses `Headrace`; `AsyncDriver` does the same with `AsyncHeadrace`."""

    def __init__(self, url: str) -> None:
        self.url, self.key, self.question = url, KEY, "Hi"
        self.limits: dict[str, Any] = {
            "timeout": BOUND,
            "read_timeout": BOUND,
            "answer_timeout": BOUND,
            "backoff": 0.001,
        }

    def open(self) -> Headrace:
        return Headrace(self.url, self.key, **self.limits)

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        """One of the methods that give an answer at once."""
        with self.open() as client:
            return getattr(client, name)(*args, **options)

    def resumed(self, run: str, after: int = 0) -> list[Event]:
        with self.open() as client, client.resume(run, after) as stream:
            return list(stream)

    def cancelled(self, flow: str, count: int) -> tuple[RunInfo, list[Event], Prediction]:
        """What cancelling after `count` events gives, the events that follow, and the answer."""

        def read(stream: Stream) -> tuple[RunInfo, list[Event], Prediction]:
            assert len(list(islice(stream, count))) == count
            return stream.cancel(), list(stream), stream.final()

        return self.streamed(flow, read)

    def cancel_unbegun(self, flow: str) -> None:
        with self.open() as client:
            client.stream(flow, self.question).cancel()

    def streamed(self, flow: str, read: Callable[[Stream], T], **options: Any) -> T:
        with self.open() as client, client.stream(flow, self.question, **options) as stream:
            return read(stream)

    def events(self, flow: str) -> list[Event]:
        return self.streamed(flow, lambda stream: list(stream))

    def read(self, flow: str) -> tuple[list[Event], HeadraceError | None]:
        """The events that come before an error, and the error."""
        events: list[Event] = []
        try:
            with self.open() as client:
                events.extend(client.stream(flow, self.question))
        except HeadraceError as error:
            return events, error
        return events, None

    def many(self, asked: list[tuple[str, str]]) -> list[list[Event]]:
        """The events of many streams at once: (flow, question) each."""
        with self.open() as client, ThreadPoolExecutor(len(asked)) as pool:
            return list(pool.map(lambda ask: list(client.stream(*ask)), asked, timeout=STARTING))

    def text(self, flow: str) -> list[str]:
        return self.streamed(flow, lambda stream: list(stream.text()))

    def final(self, flow: str, **options: Any) -> Prediction:
        return self.streamed(flow, lambda stream: stream.final(), **options)

    def place(self, flow: str, count: int) -> list[tuple[str | None, str | None]]:
        """(run id, last event id) on opening and after each of `count` events."""

        def read(stream: Stream) -> list[tuple[str | None, str | None]]:
            places = [(stream.run_id, stream.last_event_id)]
            return places + [(stream.run_id, stream.last_event_id) for _ in islice(stream, count)]

        return self.streamed(flow, read)

    def first_then_final(self, flow: str) -> Prediction:
        def read(stream: Stream) -> Prediction:
            for _ in stream:
                break
            return stream.final()

        return self.streamed(flow, read)

    def final_after_close(self, flow: str) -> Prediction:
        def read(stream: Stream) -> Prediction:
            next(stream)
            stream.close()
            assert list(stream) == []
            return stream.final()

        return self.streamed(flow, read)

    def leave(self, flow: str, **options: Any) -> None:
        self.streamed(flow, lambda stream: next(stream), **options)

    def drop(self, flow: str, gone: threading.Event, **options: Any) -> bool:
        with self.open() as client:
            for _ in client.stream(flow, self.question, **options):
                break
            return gone.wait(BOUND)

    def leave_chunks(self, flow: str, gone: threading.Event) -> bool:
        with self.open() as client:
            for _ in client.create_prediction(PredictionData(flow, self.question, streaming=True)):
                break
            return gone.wait(BOUND)

    def predict(self, flow: str, **options: Any) -> Prediction:
        with self.open() as client:
            return client.predict(flow, self.question, **options)

    def chunks(self, data: PredictionData) -> list[Chunk | dict[str, Any]]:
        with self.open() as client:
            return list(client.create_prediction(data))

    def twice(self, flow: str) -> None:
        with self.open() as client:
            client.stream(flow, self.question).final()
            client.predict(flow, self.question)


class AsyncDriver(SyncDriver):
    def open_async(self) -> AsyncHeadrace:
        return AsyncHeadrace(self.url, self.key, **self.limits)

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        async def run() -> Any:
            async with asyncio.timeout(BOUND), self.open_async() as client:
                return await getattr(client, name)(*args, **options)

        return asyncio.run(run())

    def resumed(self, run: str, after: int = 0) -> list[Event]:
        async def read() -> list[Event]:
            async with asyncio.timeout(BOUND), self.open_async() as client, client.resume(run, after) as stream:
                return await collected(stream)

        return asyncio.run(read())

    def cancelled(self, flow: str, count: int) -> tuple[RunInfo, list[Event], Prediction]:
        async def read(stream: AsyncStream) -> tuple[RunInfo, list[Event], Prediction]:
            for _ in range(count):
                await anext(stream)
            return await stream.cancel(), await collected(stream), await stream.final()

        return self.reading(flow, read)

    def cancel_unbegun(self, flow: str) -> None:
        async def run() -> None:
            async with asyncio.timeout(BOUND), self.open_async() as client:
                await client.stream(flow, self.question).cancel()

        asyncio.run(run())

    def reading(self, flow: str, read: Callable[[AsyncStream], Any], **options: Any) -> Any:
        async def run() -> Any:
            async with (
                asyncio.timeout(BOUND),
                self.open_async() as client,
                client.stream(flow, self.question, **options) as stream,
            ):
                return await read(stream)

        return asyncio.run(run())

    def events(self, flow: str) -> list[Event]:
        return self.reading(flow, collected)

    def read(self, flow: str) -> tuple[list[Event], HeadraceError | None]:
        events: list[Event] = []

        async def run() -> None:
            async with asyncio.timeout(STARTING), self.open_async() as client:
                async for event in client.stream(flow, self.question):
                    events.append(event)  # noqa: PERF401  # what came before an error counts

        try:
            asyncio.run(run())
        except HeadraceError as error:
            return events, error
        return events, None

    def many(self, asked: list[tuple[str, str]]) -> list[list[Event]]:
        async def run() -> list[list[Event]]:
            async with asyncio.timeout(STARTING), self.open_async() as client:
                return await asyncio.gather(*(collected(client.stream(*ask)) for ask in asked))

        return asyncio.run(run())

    def text(self, flow: str) -> list[str]:
        return self.reading(flow, lambda stream: collected(stream.text()))

    def final(self, flow: str, **options: Any) -> Prediction:
        return self.reading(flow, lambda stream: stream.final(), **options)

    def place(self, flow: str, count: int) -> list[tuple[str | None, str | None]]:
        async def read(stream: AsyncStream) -> list[tuple[str | None, str | None]]:
            places = [(stream.run_id, stream.last_event_id)]
            for _ in range(count):
                await anext(stream)
                places.append((stream.run_id, stream.last_event_id))
            return places

        return self.reading(flow, read)

    def first_then_final(self, flow: str) -> Prediction:
        async def read(stream: AsyncStream) -> Prediction:
            async for _ in stream:
                break
            return await stream.final()

        return self.reading(flow, read)

    def final_after_close(self, flow: str) -> Prediction:
        async def read(stream: AsyncStream) -> Prediction:
            await anext(stream)
            await stream.aclose()
            assert await collected(stream) == []
            return await stream.final()

        return self.reading(flow, read)

    def leave(self, flow: str, **options: Any) -> None:
        self.reading(flow, lambda stream: anext(stream), **options)

    def drop(self, flow: str, gone: threading.Event, **options: Any) -> bool:
        async def run() -> bool:
            async with asyncio.timeout(BOUND), self.open_async() as client:
                async for _ in client.stream(flow, self.question, **options):
                    break
                return await asyncio.to_thread(gone.wait, BOUND)

        return asyncio.run(run())

    def leave_chunks(self, flow: str, gone: threading.Event) -> bool:
        async def run() -> bool:
            async with asyncio.timeout(BOUND), self.open_async() as client:
                async with aclosing(
                    client.create_prediction(PredictionData(flow, self.question, streaming=True))
                ) as chunks:
                    await anext(chunks)
                return await asyncio.to_thread(gone.wait, BOUND)

        return asyncio.run(run())

    def predict(self, flow: str, **options: Any) -> Prediction:
        async def run() -> Prediction:
            async with asyncio.timeout(BOUND), self.open_async() as client:
                return await client.predict(flow, self.question, **options)

        return asyncio.run(run())

    def chunks(self, data: PredictionData) -> list[Chunk | dict[str, Any]]:
        async def run() -> list[Chunk | dict[str, Any]]:
            async with asyncio.timeout(BOUND), self.open_async() as client:
                return await collected(client.create_prediction(data))

        return asyncio.run(run())

    def twice(self, flow: str) -> None:
        async def run() -> None:
            async with asyncio.timeout(BOUND), self.open_async() as client:
                await client.stream(flow, self.question).final()
                await client.predict(flow, self.question)

        asyncio.run(run())


DRIVERS = [pytest.param(SyncDriver, id="sync"), pytest.param(AsyncDriver, id="async")]
