"""From a run's log to bytes on the wire: Flowise's frames, named events, signs of life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Literal

from litestar import Response
from litestar.types import ASGIApp, HTTPResponseBodyEvent, Receive, Scope, Send

from headrace import sse
from headrace.engine.references import text_of
from headrace.events import Unknown
from headrace.runtime.log import Entry

Dialect = Literal["flowise", "named"]
_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
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


class EventStream(Response[None]):
    """Sends what a reader of a run's log receives. The run does not notice when the reader leaves."""

    def __init__(self, run: str, entries: AsyncGenerator[Sequence[Entry]], dialect: Dialect) -> None:
        super().__init__(None)
        self._run, self._entries, self._frame = run, entries, FRAMES[dialect]

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """The response itself is the ASGI application: a batch costs one send, and no framework in between."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends frames until the log ends or the reader leaves."""
        headers = [*_HEADERS, (b"x-run-id", self._run.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        send = scope.get(_SERVERS_SEND, send)
        # An id without data: a client that drops before the first event already knows what to resume.
        await send(_piece(f"id:{self._run}:0\n\n".encode()))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            async with aclosing(self._entries) as batches:
                async for entries in batches:
                    if gone.done():  # granian drops what is sent to a closed connection without a word
                        return
                    await send(_piece(self._bytes(entries)))
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
        await send({**_piece(b""), "more_body": False})

    def _bytes(self, entries: Sequence[Entry]) -> bytes:
        return b"".join([self._frame(self._run, entry) for entry in entries]) or _SIGN_OF_LIFE


_SERVERS_SEND: Any = "headrace.send"


def keeping_send(app: ASGIApp) -> ASGIApp:
    """Lets event streams write to the server itself: every layer between costs microseconds a token."""

    async def kept(scope: Scope, receive: Receive, send: Send) -> None:
        scope[_SERVERS_SEND] = send
        await app(scope, receive, send)

    return kept


def _piece(data: bytes) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
