"""The client: `Headrace` and, for asyncio, `AsyncHeadrace`.

Only the I/O is here; answer.py does the rest. httpx2's types stay out of every public signature.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from types import TracebackType
from typing import Any, Final, Self, TypedDict, Unpack

import httpx2

from headrace.answer import Answer, Chunk, Server
from headrace.compat import PredictionData, to_request
from headrace.events import Event, Prediction, Token
from headrace.schema import FileUpload, HistoryMessage, PredictionRequest

__all__ = ["AsyncHeadrace", "AsyncStream", "Chunk", "Headrace", "Options", "Stream"]

# The pool must not bound how many streams are open at once: a stream lasts as long as its run.
_LIMITS: Final = httpx2.Limits(max_connections=None, max_keepalive_connections=20)


class Options(TypedDict, total=False):
    """What may come with a question.

    - `chat_id`: the thread; the server makes one when absent.
    - `session_id`: the memory to use, when it is not the thread's; wins over `override_config["sessionId"]`.
    - `override_config`: parameters of the flow's nodes, as far as the flow lets callers set them.
    - `history`: earlier turns that the server has not stored itself.
    - `uploads`: files.
    """

    chat_id: str | None
    session_id: str | None
    override_config: dict[str, Any] | None
    history: Sequence[HistoryMessage] | None
    uploads: Sequence[FileUpload] | None


def _body(question: str, *, streaming: bool, options: Options) -> PredictionRequest:
    config = options.get("override_config")
    if session := options.get("session_id"):
        config = {**(config or {}), "sessionId": session}
    return PredictionRequest(
        question=question,
        streaming=streaming or None,
        chatId=options.get("chat_id"),
        overrideConfig=config,
        history=list(options.get("history") or []) or None,
        uploads=list(options.get("uploads") or []) or None,
    )


class _Call:
    """One request and its answer over a connection."""

    def __init__(self, http: httpx2.Client, request: httpx2.Request, server: Server) -> None:
        self.answer = Answer(server)
        self._http, self._request = http, request
        self._response: httpx2.Response | None = None

    def open(self) -> httpx2.Response:
        """Sends the request, once. Returns when the answer's headers are there."""
        if self._response is None:
            with self.answer.failures():
                self._response = self._http.send(self._request, stream=True, follow_redirects=True)
                if not self._response.is_success:
                    self._response.read()
            self.answer.begin(self._response)
        return self._response

    def chunks(self) -> Generator[Chunk, None, None]:
        """The stream, chunk by chunk; none when the answer is JSON. The place to resume when the connection breaks."""
        try:
            response = self.open()
            with self.answer.failures():
                for data in response.iter_bytes():
                    yield from self.answer.feed(data)
            self.answer.finish()
        finally:
            self.close()

    def events(self) -> Generator[Event, None, None]:
        with closing(self.chunks()) as chunks:
            for chunk in chunks:
                yield self.answer.event(chunk)
        yield from self.answer.events()

    def close(self) -> None:
        if self._response is not None:
            self._response.close()


class _AsyncCall:
    """`_Call` for asyncio."""

    def __init__(self, http: httpx2.AsyncClient, request: httpx2.Request, server: Server) -> None:
        self.answer = Answer(server)
        self._http, self._request = http, request
        self._response: httpx2.Response | None = None

    async def open(self) -> httpx2.Response:
        if self._response is None:
            with self.answer.failures():
                self._response = await self._http.send(self._request, stream=True, follow_redirects=True)
                if not self._response.is_success:
                    await self._response.aread()
            self.answer.begin(self._response)
        return self._response

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        try:
            response = await self.open()
            with self.answer.failures():
                async with aclosing(response.aiter_bytes()) as pieces:
                    async for data in pieces:
                        for chunk in self.answer.feed(data):
                            yield chunk
            self.answer.finish()
        finally:
            await self.close()

    async def events(self) -> AsyncGenerator[Event, None]:
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                yield self.answer.event(chunk)
        for event in self.answer.events():
            yield event

    async def close(self) -> None:
        if self._response is not None:
            await self._response.aclose()


class Stream(Iterator[Event]):
    """The events of one prediction, as they come.

    The request is sent on entering the `with` block or with the first event. Every way to read goes on where the last
    one stopped. Reading raises the error that the server answers with, and ConnectionFailed when the connection breaks;
    an `error` event is an event like others, and `text` and `final` raise its error after the last event.
    """

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._events = call.events()  # made by the call, not by a method: dropping the stream must close it

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> Self:
        self._call.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def run_id(self) -> str | None:
        """The run's id, once the answer has begun, if the server names one."""
        return self._call.answer.run_id

    @property
    def last_event_id(self) -> str | None:
        """Id of the last event that was read, `<run>:<seq>`: what a resumed stream would follow."""
        return self._call.answer.last_event_id

    def text(self) -> Iterator[str]:
        """The answer's text in pieces. Raises the error of an `error` event after the last piece."""
        for event in self:
            if isinstance(event, Token):
                yield event.data
        self._call.answer.result()

    def final(self) -> Prediction:
        """Reads to the end and gives the whole answer, with what was read before.

        Raises the error of an `error` event.
        """
        for _ in self:
            pass
        return self._call.answer.result()

    def close(self) -> None:
        """Closes the connection. The run goes on at the server."""
        self._events.close()
        self._call.close()


class AsyncStream(AsyncIterator[Event]):
    """`Stream` for asyncio: `async with`, `async for`, `await stream.final()`."""

    def __init__(self, call: _AsyncCall) -> None:
        self._call = call
        self._events = call.events()

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def __aenter__(self) -> Self:
        await self._call.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def run_id(self) -> str | None:
        """The run's id, once the answer has begun, if the server names one."""
        return self._call.answer.run_id

    @property
    def last_event_id(self) -> str | None:
        """Id of the last event that was read, `<run>:<seq>`: what a resumed stream would follow."""
        return self._call.answer.last_event_id

    async def text(self) -> AsyncGenerator[str, None]:
        """The answer's text in pieces. Raises the error of an `error` event after the last piece."""
        async for event in self:
            if isinstance(event, Token):
                yield event.data
        self._call.answer.result()

    async def final(self) -> Prediction:
        """Reads to the end and gives the whole answer. Raises the error of an `error` event."""
        async for _ in self:
            pass
        return self._call.answer.result()

    async def aclose(self) -> None:
        """Closes the connection. The run goes on at the server."""
        await self._events.aclose()
        await self._call.close()


class Headrace:
    """A connection to a Headrace or Flowise server. Safe to share between threads.

    `base_url` defaults to the environment's HEADRACE_URL, then to http://localhost:3000; `api_key` to HEADRACE_API_KEY,
    then to none. Times are in seconds: `timeout` bounds connecting and sending, `read_timeout` every silence of a
    stream (Headrace gives a sign of life each 15 s, Flowise each 30 s), `answer_timeout` the wait for an answer
    without streaming, which comes when the run is done. None waits for ever. Raises InvalidRequest when an address or
    a key cannot be used.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30,
        read_timeout: float | None = 60,
        answer_timeout: float | None = 600,
    ) -> None:
        self._server = Server(base_url, api_key, timeout, read_timeout, answer_timeout)
        self._http = httpx2.Client(limits=_LIMITS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create_prediction(self, data: PredictionData) -> Generator[Chunk | dict[str, Any], None, None]:
        """What Flowise's SDK yields: a stream's chunks or, without streaming, the answer's JSON object once.

        The request is sent with the first step.
        """
        call = self._call(data.chatflowId, to_request(data))
        with closing(call.chunks()) as chunks:
            yield from chunks
        if call.answer.whole is not None:
            yield call.answer.whole

    def stream(self, flow: str, question: str, **options: Unpack[Options]) -> Stream:
        """Asks a flow and streams its answer. A flow that does not stream gives its answer in one token."""
        return Stream(self._call(flow, _body(question, streaming=True, options=options)))

    def predict(self, flow: str, question: str, **options: Unpack[Options]) -> Prediction:
        """Asks a flow and waits for the whole answer."""
        return Stream(self._call(flow, _body(question, streaming=False, options=options))).final()

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def _call(self, flow: str, body: PredictionRequest) -> _Call:
        return _Call(self._http, self._server.predict(flow, body), self._server)


class AsyncHeadrace:
    """`Headrace` for asyncio, with the same arguments: `async with`, `async for`, `await client.predict(...)`."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30,
        read_timeout: float | None = 60,
        answer_timeout: float | None = 600,
    ) -> None:
        self._server = Server(base_url, api_key, timeout, read_timeout, answer_timeout)
        self._http = httpx2.AsyncClient(limits=_LIMITS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def create_prediction(self, data: PredictionData) -> AsyncGenerator[Chunk | dict[str, Any], None]:
        """What Flowise's SDK yields: a stream's chunks or, without streaming, the answer's JSON object once.

        The request is sent with the first step. Who leaves early closes it (`contextlib.aclosing`).
        """
        call = self._call(data.chatflowId, to_request(data))
        async with aclosing(call.chunks()) as chunks:
            async for chunk in chunks:
                yield chunk
        if call.answer.whole is not None:
            yield call.answer.whole

    def stream(self, flow: str, question: str, **options: Unpack[Options]) -> AsyncStream:
        """Asks a flow and streams its answer. A flow that does not stream gives its answer in one token."""
        return AsyncStream(self._call(flow, _body(question, streaming=True, options=options)))

    async def predict(self, flow: str, question: str, **options: Unpack[Options]) -> Prediction:
        """Asks a flow and waits for the whole answer."""
        return await AsyncStream(self._call(flow, _body(question, streaming=False, options=options))).final()

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    def _call(self, flow: str, body: PredictionRequest) -> _AsyncCall:
        return _AsyncCall(self._http, self._server.predict(flow, body), self._server)
