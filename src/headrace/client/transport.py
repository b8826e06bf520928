"""Moves the bytes of an answer, and reconnects when the connection breaks; response.py decides what happens next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from typing import TypeVar

import httpx2

from headrace.client.requests import Ask, Server
from headrace.client.response import Chunk, ResponseReader
from headrace.errors import HeadraceError
from headrace.events import Event
from headrace.schema import RunInfo

T = TypeVar("T")


class Call:
    """One answer, over as many connections as it takes."""

    def __init__(self, http: httpx2.Client, server: Server, ask: Ask) -> None:
        self.answer = ResponseReader(server, ask)
        self._http, self._server = http, server
        self._response: httpx2.Response | None = None

    def open(self) -> httpx2.Response:
        """Sends the request, unless its answer has begun. Returns when the answer's headers are there."""
        while self._response is None:
            try:
                with self.answer.failures():
                    self._response = self._http.send(self.answer.request(), stream=True, follow_redirects=True)
                    if not self._response.is_success:
                        self._response.read()
                self.answer.begin(self._response)
            except HeadraceError as error:
                self.close()
                time.sleep(self.answer.pause(error))
        return self._response

    def chunks(self) -> Generator[Chunk, None, None]:
        """The stream, chunk by chunk, however often the connection breaks; none when the answer is JSON."""
        try:
            while not self.answer.arrived:
                response = self.open()
                try:
                    with self.answer.failures():
                        for data in response.iter_bytes():
                            yield from self.answer.feed(data)
                    self.answer.finish()
                except HeadraceError as error:
                    self.close()
                    time.sleep(self.answer.pause(error))
        finally:
            self.close()

    def events(self) -> Generator[Event, None, None]:
        """The answer's events, whether it came as a stream or as JSON."""
        with closing(self.chunks()) as chunks:
            for chunk in chunks:
                yield self.answer.event(chunk)
        yield from self.answer.events()

    def decoded(self, kind: type[T]) -> T:
        """The JSON answer."""
        for _ in self.chunks():
            pass
        return self.answer.decoded(kind)

    def content(self) -> bytes:
        """The answer as it came, when it is no stream."""
        for _ in self.chunks():
            pass
        return self.answer.body

    def cancel(self) -> RunInfo:
        """Ends the run that the answer comes from."""
        return Call(self._http, self._server, self._server.cancel(self.answer.run_id)).decoded(RunInfo)

    def close(self) -> None:
        """Closes the connection; `open` makes a new one."""
        response, self._response = self._response, None
        if response is not None:
            response.close()


class AsyncCall:
    """`Call` for asyncio."""

    def __init__(self, http: httpx2.AsyncClient, server: Server, ask: Ask) -> None:
        self.answer = ResponseReader(server, ask)
        self._http, self._server = http, server
        self._response: httpx2.Response | None = None

    async def open(self) -> httpx2.Response:
        """As `Call.open`."""
        while self._response is None:
            try:
                with self.answer.failures():
                    self._response = await self._http.send(self.answer.request(), stream=True, follow_redirects=True)
                    if not self._response.is_success:
                        await self._response.aread()
                self.answer.begin(self._response)
            except HeadraceError as error:
                await self.close()
                await asyncio.sleep(self.answer.pause(error))
        return self._response

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """As `Call.chunks`."""
        try:
            while not self.answer.arrived:
                response = await self.open()
                try:
                    with self.answer.failures():
                        async with aclosing(response.aiter_bytes()) as pieces:
                            async for data in pieces:
                                for chunk in self.answer.feed(data):
                                    yield chunk
                    self.answer.finish()
                except HeadraceError as error:
                    await self.close()
                    await asyncio.sleep(self.answer.pause(error))
        finally:
            await self.close()

    async def events(self) -> AsyncGenerator[Event, None]:
        """As `Call.events`."""
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                yield self.answer.event(chunk)
        for event in self.answer.events():
            yield event

    async def decoded(self, kind: type[T]) -> T:
        """As `Call.decoded`."""
        async for _ in self.chunks():
            pass
        return self.answer.decoded(kind)

    async def content(self) -> bytes:
        """As `Call.content`."""
        async for _ in self.chunks():
            pass
        return self.answer.body

    async def cancel(self) -> RunInfo:
        """As `Call.cancel`."""
        return await AsyncCall(self._http, self._server, self._server.cancel(self.answer.run_id)).decoded(RunInfo)

    async def close(self) -> None:
        """As `Call.close`."""
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()
