"""Turns a run's log into bytes on the wire: Flowise's frames, named events, signs of life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from math import inf
from time import monotonic
from typing import Any, Literal

import msgspec
from litestar import Request, Response
from litestar.types import Receive, Scope, Send

from headrace import sse
from headrace.engine.references import text_of
from headrace.errors import InvalidRequest
from headrace.events import Prediction, Unknown
from headrace.runtime.log import Entry, Tail
from headrace.runtime.runs import Runs
from headrace.server.backpressure import PIECE, Sending, piece
from headrace.server.deltas import Deltas
from headrace.server.exchange import Exchange, exchange_of
from headrace.server.follower import Follower
from headrace.server.head_requests import HEAD
from headrace.server.internals import prediction_without_internals, without_internals
from headrace.settings import Settings

Dialect = Literal["flowise", "named"]
_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
_LAST = 10**15  # no run has an event of this number
_SOON = 1.0  # seconds
_SIGN_OF_LIFE = sse.comment("still here")


def flowise_frame(run: str, entry: Entry) -> bytes:
    """The default frame; a resumed stream has the same bytes."""
    return sse.frame(f"{run}:{entry.seq}", entry.data)


def named_frame(run: str, entry: Entry) -> bytes:
    """`event: token` / `data: Once upon a time...`; structured payloads as JSON."""
    event = entry.event
    kind = event.event if isinstance(event, Unknown) else str(event.__struct_config__.tag)
    return sse.named_frame(f"{run}:{entry.seq}", kind, text_of(event.data))


FRAMES: dict[Dialect, Callable[[str, Entry], bytes]] = {"flowise": flowise_frame, "named": named_frame}


def dialect_of(request: Request[Any, Any, Any], asked: str) -> Dialect:
    """The dialect that a request asks for, by `?format=` or its Accept header."""
    return "named" if asked == "named" or "format=named" in request.headers.get("accept", "") else "flowise"


def position(request: Request[Any, Any, Any], run_id: str, after: int) -> int:
    """The number of the last event that the reader has, from `Last-Event-ID` or `after`."""
    run, _, seq = request.headers.get("last-event-id", "").rpartition(":")
    if not seq:
        return min(max(after, 0), _LAST)
    if run != run_id or not seq.isascii() or not seq.isdigit() or len(seq) > len(str(_LAST)):
        raise InvalidRequest(f"the Last-Event-ID must be {run_id}:<number>, as the stream gave it")
    return int(seq)


def first_event_wait(request: Request[Any, Any, Any]) -> float:
    """Seconds that a stream waits for its run's first event, to refuse with a status when that is an error.

    None for a caller that comes back to its run, since that has been sent something, and none for a web page that
    accepts event streams alone: chat widgets show people what `error` events say, and nothing of most statuses.
    """
    page = "origin" in request.headers and request.headers.get("accept") == "text/event-stream"
    settings: Settings = request.app.state.settings
    return 0.0 if page or "last-event-id" in request.headers else settings.first_event_wait


class EventStream(Response[None]):
    """Sends what a reader of a run's log receives, from after the event that the reader has already.

    A run whose first event is an error, and comes within `wait` seconds, is refused as without a stream.
    """

    def __init__(
        self,
        runs: Runs,
        run: str,
        after: int,
        dialect: Dialect,
        *,
        timed: bool = False,
        internals: bool = False,
        deltas: bool = False,
        wait: float = 0.0,
    ) -> None:
        """Visitors are shown no `internals` of agent flows; with `deltas` executed nodes are told once."""
        super().__init__(None)
        self._runs, self._run, self._after, self._frame = runs, run, after, FRAMES[dialect]
        self._timed, self._internals, self._wait = timed, internals, wait
        self._deltas = Deltas() if deltas else None
        self._silence = _SOON
        self.headers_beside: Sequence[tuple[bytes, bytes]] = ()
        """Headers of the response besides those of every event stream."""

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """The response itself is the ASGI application: a batch costs one send, and no framework in between."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends frames until the log ends, the reader leaves, or it has not read for too long. Raises the error of a
        run that is refused."""
        if scope["state"].get(HEAD):
            await self._begin(send)
            await send({**piece(b""), "more_body": False})
            return
        sending: Sending = scope["state"]["sending"]
        sending.run = self._run

        def leave(_: asyncio.Task[None]) -> None:
            """The reader has left: a run that wants one must know now, not with its next event."""
            sending.cut()

        if exchange := exchange_of(scope):
            with exchange.leaving(sending.cut):
                await self._answer(send, sending, exchange)
            return
        gone = asyncio.create_task(_disconnected(receive))
        gone.add_done_callback(leave)  # granian drops what is sent to a closed connection without a word
        try:
            await self._answer(send, sending, None)
        finally:
            gone.remove_done_callback(leave)
            with suppress(asyncio.CancelledError):  # the reader may leave in this very moment
                await _cancelled(gone)

    async def _answer(self, send: Send, sending: Sending, exchange: Exchange | None) -> None:
        async with self._runs.reading(self._run):
            if self._wait:
                await self._refuse()
            await self._begin(send)
            await self._send_all(sending, exchange)

    async def _refuse(self) -> None:
        """Waits for the run's first event, and raises the error that it is."""
        try:
            async with asyncio.timeout(self._wait):
                error = await self._runs.first_failure(self._run)
        except TimeoutError:
            self._silence = max(0.0, _SOON - self._wait)
            return
        if error:
            raise error

    async def _begin(self, send: Send) -> None:
        headers = [*_HEADERS, (b"x-run-id", self._run.encode()), *self.headers_beside]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _send_all(self, sending: Sending, exchange: Exchange | None) -> None:
        await sending(piece(b""))  # the headers go out now: a reader knows the run before its first event
        waiting = asyncio.create_task(self._tell_position(sending.send))
        after: int | None = self._after
        try:
            while after is not None and not sending.over:
                tail = self._runs.tail(self._run) if exchange and not self._timed else None
                if exchange and tail and after >= tail.base:
                    after = await self._write_from(tail, after, exchange, sending, waiting)
                else:
                    after = await self._send_from(after, sending, waiting, until_hot=exchange is not None)
        finally:
            await _cancelled(waiting)
        if not sending.over:
            await sending.send({**piece(b""), "more_body": False})

    async def _write_from(
        self, tail: Tail, after: int, exchange: Exchange, sending: Sending, waiting: asyncio.Task[None]
    ) -> int | None:
        """Writes events as they come; returns the last one's number where something has to be waited for, or None."""

        def encoded(entries: Sequence[Entry]) -> bytes:
            waiting.cancel()
            return self.encoded(entries)

        follower = Follower(tail, after, exchange, sending, encoded)
        await follower.follow()
        if follower.left:
            await sending.all(follower.left)
        return None if follower.done else follower.after

    async def _send_from(
        self, after: int, sending: Sending, waiting: asyncio.Task[None], *, until_hot: bool
    ) -> int | None:
        """Sends events one batch after the other; returns None at the end, or where the rest can be written at once."""
        async with aclosing(self._runs.follow(self._run, after)) as batches:
            async for entries in batches:
                if not waiting.done():
                    await _cancelled(waiting)
                after = entries[-1].seq if entries else after
                data = await self._with_times(entries) if self._timed else self.encoded(entries)
                del entries  # a slow reader holds the frames alone
                if len(data) > PIECE:
                    await sending.all(data)
                    if sending.over:
                        return None
                else:  # as `sending` does it: every layer between costs microseconds a token
                    sending.since = monotonic()
                    sending.sent += len(data)
                    await sending.send(piece(data))
                    sending.since = inf
                if until_hot and (tail := self._runs.tail(self._run)) and after >= tail.base and not self._timed:
                    return after
        return None

    async def _tell_position(self, send: Send) -> None:
        """Sends the line with the reader's position ahead of a first frame that is long in coming.

        Browsers' libraries, which do not look at headers, come back with that id instead of asking again. It is no
        frame of its own: older widgets parse every frame as JSON.
        """
        await asyncio.sleep(self._silence)
        await send(piece(f"id:{self._run}:{self.position}\n".encode()))

    @property
    def position(self) -> str:
        """The frame that the reader has, as it stands behind the run in a frame's id."""
        return str(self._after)

    def encoded(self, entries: Sequence[Entry]) -> bytes:
        """The frames of the next events; without events a sign of life."""
        return b"".join([self._frame(self._run, entry) for entry in self.visible(entries)]) or _SIGN_OF_LIFE

    def visible(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The events as this reader may see them."""
        seen = entries if self._internals else [without_internals(entry) for entry in entries]
        return [self._deltas.of(entry) for entry in seen] if self._deltas else seen

    async def _with_times(self, entries: Sequence[Entry]) -> bytes:
        """The same frames, each with a line in front that says when its event was written, where that is known."""
        if not entries:
            return _SIGN_OF_LIFE
        times = await self._runs.times(self._run, entries[0].seq, entries[-1].seq)
        lines = [b"time:%d\n" % at if (at := times.get(entry.seq)) is not None else b"" for entry in entries]
        frames = [self._frame(self._run, entry) for entry in self.visible(entries)]
        return b"".join([line + frame for line, frame in zip(lines, frames, strict=True)])


class PredictionResponse(Response[None]):
    """Sends a run's answer as JSON when the run has ended, unless its caller has left by then."""

    def __init__(self, runs: Runs, run: str, *, internals: bool = False) -> None:
        """Visitors are shown no `internals` of agent flows."""
        super().__init__(None)
        self._runs, self._run, self._internals = runs, run, internals

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """The response itself is the ASGI application, so that it notices when its caller leaves."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the run's `error` event says, before anything is sent."""
        sending: Sending = scope["state"]["sending"]
        sending.run = self._run
        if exchange := exchange_of(scope):
            with exchange.leaving(sending.cut):
                await self._send(await self._runs.answer(self._run), send)
            return
        gone = asyncio.create_task(_disconnected(receive))
        answer = asyncio.create_task(self._runs.answer(self._run))
        try:
            await asyncio.wait([gone, answer], return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                await self._send(answer.result(), send)
        finally:
            await _cancelled(gone, answer)

    async def _send(self, prediction: Prediction, send: Send) -> None:
        if not self._internals:
            prediction = prediction_without_internals(prediction)
        prediction.isStreamValid = False  # Flowise says so in every JSON answer
        headers = [(b"content-type", b"application/json"), (b"x-run-id", self._run.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({**piece(self.body(prediction)), "more_body": False})

    def body(self, prediction: Prediction) -> bytes:
        """The answer as JSON."""
        return _body(prediction)


def _body(prediction: Prediction) -> bytes:
    if prediction.fields is None:
        return msgspec.json.encode(prediction)
    own = msgspec.to_builtins(msgspec.structs.replace(prediction, fields=None))
    return msgspec.json.encode({**prediction.fields, **own})


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks and waits for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
