"""The client: `Headrace` and, for asyncio, `AsyncHeadrace`, with the streams they give.

transport.py does the I/O; requests.py and response.py do the rest. httpx2's types stay out of every public signature.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

import httpx2

from headrace.client.flowise import PredictionData, to_request
from headrace.client.requests import Ask, ClientLimits, Home, Options, Server
from headrace.client.response import Chunk, ResponseReader
from headrace.client.transport import AsyncCall, Call
from headrace.events import Event, Prediction, Token
from headrace.schema import Attachment, Feedback, FileUpload, FlowRow, Look, Rating, RunInfo

if TYPE_CHECKING:
    import ssl

# The pool must not bound how many streams are open at once: a stream lasts as long as its run.
_LIMITS: Final = httpx2.Limits(max_connections=None, max_keepalive_connections=20)


class _Place:
    """The place of a stream in its run."""

    _answer: ResponseReader

    @property
    def run_id(self) -> str | None:
        """The run's id, once the answer has begun, if the server names one."""
        return self._answer.run_id

    @property
    def last_event_id(self) -> str | None:
        """Id of the last event that was read, `<run>:<seq>`: what a resumed stream follows."""
        return self._answer.last_event_id


class Stream(_Place, Iterator[Event]):
    """The events of one run, as they come, each once.

    The request is sent on entering the `with` block or with the first event. Every way to read goes on where the last
    one stopped. When the connection breaks, the stream goes on over another one. Reading raises the error that the
    server answers with, and ConnectionFailed when the stream cannot go on; an `error` event is an event like others,
    and `text` and `final` raise its error after the last event.
    """

    def __init__(self, call: Call) -> None:
        self._call, self._answer = call, call.answer
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

    def text(self) -> Iterator[str]:
        """The answer's text in pieces. Raises the error of an `error` event after the last piece."""
        for event in self:
            if isinstance(event, Token):
                yield event.data
        self._answer.result()

    def final(self) -> Prediction:
        """Reads to the end and gives the whole answer, with what was read before.

        Raises the error of an `error` event. The answer of a cancelled run is what there is of it, and says `aborted`.
        """
        for _ in self:
            pass
        return self._answer.result()

    def cancel(self) -> RunInfo:
        """Stops the run, also from another thread. The stream then ends with `abort` and `end`, unless it had ended.

        Raises InvalidRequest when the stream has not begun.
        """
        return self._call.cancel()

    def close(self) -> None:
        """Closes the connection. `on_disconnect` decides whether the run goes on."""
        self._events.close()
        self._call.close()


class AsyncStream(_Place, AsyncIterator[Event]):
    """`Stream` for asyncio: `async with`, `async for`, `await stream.final()`."""

    def __init__(self, call: AsyncCall) -> None:
        self._call, self._answer = call, call.answer
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

    async def text(self) -> AsyncGenerator[str, None]:
        """The answer's text in pieces. Raises the error of an `error` event after the last piece."""
        async for event in self:
            if isinstance(event, Token):
                yield event.data
        self._answer.result()

    async def final(self) -> Prediction:
        """Reads to the end and gives the whole answer. Raises the error of an `error` event."""
        async for _ in self:
            pass
        return self._answer.result()

    async def cancel(self) -> RunInfo:
        """Stops the run. The stream then ends with `abort` and `end`, unless it had ended.

        Raises InvalidRequest when the stream has not begun.
        """
        return await self._call.cancel()

    async def aclose(self) -> None:
        """Closes the connection. `on_disconnect` decides whether the run goes on."""
        await self._events.aclose()
        await self._call.close()


class Headrace(Home):
    """A connection to a Headrace or Flowise server. Safe to share between threads.

    `base_url` defaults to the environment's HEADRACE_URL, then to http://localhost:3000; `api_key` to HEADRACE_API_KEY,
    then to none. Times are in seconds: `timeout` bounds connecting and sending, `read_timeout` every silence of a
    stream (Headrace gives a sign of life each 15 s, Flowise each 30 s), `answer_timeout` the wait for an answer
    without streaming, which comes when the run is done. None waits for ever. After so many `attempts` in a row that
    brought nothing, the error is raised; 1 never tries again. The pause between two begins with about `backoff` and
    doubles. `ssl_context` says whose certificates are trusted; without it SSL_CERT_FILE does, else the system. Raises
    InvalidRequest when an address or a key cannot be used.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30,
        read_timeout: float | None = 60,
        answer_timeout: float | None = 600,
        attempts: int = 5,
        backoff: float = 0.5,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._server = Server(
            base_url, api_key, ClientLimits(timeout, read_timeout, answer_timeout, attempts, backoff), type(self)
        )
        self._http = httpx2.Client(limits=_LIMITS, verify=ssl_context or True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create_prediction(self, data: PredictionData) -> Generator[Chunk | dict[str, Any], None, None]:
        """Yields as Flowise's SDK does: a stream's chunks or, without streaming, the answer's JSON object once.

        The request is sent with the first step.
        """
        call = self._call(self._server.predict(data.chatflowId, to_request(data)))
        with closing(call.chunks()) as chunks:
            yield from chunks
        if call.answer.is_json:
            yield call.answer.decoded(dict[str, Any])

    def stream(self, flow: str, question: str, **options: Unpack[Options]) -> Stream:
        """Asks a flow and streams its answer. A flow that does not stream gives its answer in one token."""
        return Stream(self._call(self._server.question(flow, question, "stream", options)))

    def predict(self, flow: str, question: str, **options: Unpack[Options]) -> Prediction:
        """Asks a flow and waits for the whole answer."""
        return Stream(self._call(self._server.question(flow, question, "answer", options))).final()

    def start(self, flow: str, question: str, **options: Unpack[Options]) -> RunInfo:
        """Asks a flow and waits for nothing: `resume` reads the answer, `run` says how far it is."""
        return self._call(self._server.question(flow, question, "call", options)).decoded(RunInfo)

    def resume(self, run_id: str, after: int = 0) -> Stream:
        """The events of a run after the event number `after`, and on with it as it goes on. Needs no question.

        With `after`, what the stream's `text` and `final` give lacks what came before. Reading raises RunNotFound when
        the server does not know the run, or no longer.
        """
        return Stream(self._call(self._server.events(run_id, f"{run_id}:{after}")))

    def run(self, run_id: str) -> RunInfo:
        """The run's state. Raises RunNotFound."""
        return self._call(self._server.run(run_id)).decoded(RunInfo)

    def runs(self, flow: str, chat_id: str) -> list[RunInfo]:
        """The state of each run of a chat, newest first."""
        return self._call(self._server.runs(flow, chat_id)).decoded(list[RunInfo])

    def cancel(self, run_id: str) -> RunInfo:
        """Stops a run; one that is over stays as it is. Raises RunNotFound."""
        return self._call(self._server.cancel(run_id)).decoded(RunInfo)

    def flows(self) -> list[FlowRow]:
        """All flows. Needs a key with the permission `chatflows:view`."""
        return self._call(self._server.flows()).decoded(list[FlowRow])

    def chat_config(self, flow: str) -> dict[str, Any]:
        """The configuration of a flow's chat: starter prompts, uploads, title."""
        return self._call(self._server.chat_config(flow)).decoded(dict[str, Any])

    def attach(self, flow: str, chat_id: str, files: Sequence[tuple[str, bytes, str]]) -> list[FileUpload]:
        """Reads files, given as name, content and media type, into what goes along with a question as `uploads`."""
        found = self._call(self._server.attach(flow, chat_id, files)).decoded(list[Attachment])
        return [FileUpload("file:full", file.name, file.mimeType, file.content) for file in found]

    def rate(self, flow: str, message_id: str, rating: Rating, remark: str | None = None) -> Feedback:
        """Rates an answer by its `chatMessageId`; another time changes the rating."""
        return self._call(self._server.rate(flow, message_id, rating, remark)).decoded(Feedback)

    def look(self) -> Look:
        """The look of the server's pages."""
        return self._call(self._server.look()).decoded(Look)

    def logo(self) -> bytes:
        """The picture that goes with the server's name. Raises NotFound where `look` names none."""
        return self._call(self._server.logo()).content()

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def _call(self, ask: Ask) -> Call:
        return Call(self._http, self._server, ask)


class AsyncHeadrace(Home):
    """`Headrace` for asyncio, with the same arguments: `async with`, `async for`, `await client.predict(...)`."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30,
        read_timeout: float | None = 60,
        answer_timeout: float | None = 600,
        attempts: int = 5,
        backoff: float = 0.5,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._server = Server(
            base_url, api_key, ClientLimits(timeout, read_timeout, answer_timeout, attempts, backoff), type(self)
        )
        self._http = httpx2.AsyncClient(limits=_LIMITS, verify=ssl_context or True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def create_prediction(self, data: PredictionData) -> AsyncGenerator[Chunk | dict[str, Any], None]:
        """Yields as Flowise's SDK does: a stream's chunks or, without streaming, the answer's JSON object once.

        The request is sent with the first step. Who leaves early closes it (`contextlib.aclosing`).
        """
        call = self._call(self._server.predict(data.chatflowId, to_request(data)))
        async with aclosing(call.chunks()) as chunks:
            async for chunk in chunks:
                yield chunk
        if call.answer.is_json:
            yield call.answer.decoded(dict[str, Any])

    def stream(self, flow: str, question: str, **options: Unpack[Options]) -> AsyncStream:
        """Asks a flow and streams its answer. A flow that does not stream gives its answer in one token."""
        return AsyncStream(self._call(self._server.question(flow, question, "stream", options)))

    async def predict(self, flow: str, question: str, **options: Unpack[Options]) -> Prediction:
        """Asks a flow and waits for the whole answer."""
        return await AsyncStream(self._call(self._server.question(flow, question, "answer", options))).final()

    async def start(self, flow: str, question: str, **options: Unpack[Options]) -> RunInfo:
        """Asks a flow and waits for nothing: `resume` reads the answer, `run` says how far it is."""
        return await self._call(self._server.question(flow, question, "call", options)).decoded(RunInfo)

    def resume(self, run_id: str, after: int = 0) -> AsyncStream:
        """The events of a run after the event number `after`, and on with it as it goes on. Needs no question.

        With `after`, what the stream's `text` and `final` give lacks what came before. Reading raises RunNotFound when
        the server does not know the run, or no longer.
        """
        return AsyncStream(self._call(self._server.events(run_id, f"{run_id}:{after}")))

    async def run(self, run_id: str) -> RunInfo:
        """The run's state. Raises RunNotFound."""
        return await self._call(self._server.run(run_id)).decoded(RunInfo)

    async def runs(self, flow: str, chat_id: str) -> list[RunInfo]:
        """The state of each run of a chat, newest first."""
        return await self._call(self._server.runs(flow, chat_id)).decoded(list[RunInfo])

    async def cancel(self, run_id: str) -> RunInfo:
        """Stops a run; one that is over stays as it is. Raises RunNotFound."""
        return await self._call(self._server.cancel(run_id)).decoded(RunInfo)

    async def flows(self) -> list[FlowRow]:
        """All flows. Needs a key with the permission `chatflows:view`."""
        return await self._call(self._server.flows()).decoded(list[FlowRow])

    async def chat_config(self, flow: str) -> dict[str, Any]:
        """The configuration of a flow's chat: starter prompts, uploads, title."""
        return await self._call(self._server.chat_config(flow)).decoded(dict[str, Any])

    async def attach(self, flow: str, chat_id: str, files: Sequence[tuple[str, bytes, str]]) -> list[FileUpload]:
        """Reads files, given as name, content and media type, into what goes along with a question as `uploads`."""
        found = await self._call(self._server.attach(flow, chat_id, files)).decoded(list[Attachment])
        return [FileUpload("file:full", file.name, file.mimeType, file.content) for file in found]

    async def rate(self, flow: str, message_id: str, rating: Rating, remark: str | None = None) -> Feedback:
        """Rates an answer by its `chatMessageId`; another time changes the rating."""
        return await self._call(self._server.rate(flow, message_id, rating, remark)).decoded(Feedback)

    async def look(self) -> Look:
        """The look of the server's pages."""
        return await self._call(self._server.look()).decoded(Look)

    async def logo(self) -> bytes:
        """The picture that goes with the server's name. Raises NotFound where `look` names none."""
        return await self._call(self._server.logo()).content()

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    def _call(self, ask: Ask) -> AsyncCall:
        return AsyncCall(self._http, self._server, ask)
