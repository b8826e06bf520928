"""A request over HTTP/1.1 and its response, as an ASGI application meets them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Any, Final, Protocol, cast

from litestar.types import ASGIApp, HTTPScope, Message, Scope

_logger = logging.getLogger("headrace.server")
EXCHANGE: Final = "headrace.exchange"
"""Among the extensions of a request's scope: the request's `Exchange`."""
REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
_BODILESS: Final = (204, 304)
_BREAKS: Final = re.compile(rb"[\r\n\0]")


class Wire(Protocol):
    """The connection below."""

    transport: asyncio.Transport
    paused: bool
    """The caller takes less than is written."""

    def read_on(self) -> None:
        """Lets more of the request come."""
        ...

    def over(self, exchange: Exchange) -> None:
        """The first request is answered, or never will be."""
        ...


class Exchange:
    """A request and its response."""

    def __init__(self, connection: Wire, scope: HTTPScope, *, keep: bool) -> None:
        self._connection, self._scope, self.keep = connection, scope, keep
        self._body: list[bytes] = []
        self._size = 0
        self._continues = any(key == b"expect" and v.lower() == b"100-continue" for key, v in scope["headers"])
        self._given = self._chunked = False
        self._bodiless = scope["method"] == "HEAD"
        self._head = b""
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self.whole = False
        """The request has come to its end."""
        self.began = self.complete = self.gone = False
        """The response has begun; it is complete; the caller has left."""
        self._on_leave: Callable[[], None] | None = None
        self.on_room: Callable[[], None] | None = None
        """Called when the caller has taken enough for `write` to go on."""

    def start(self, app: ASGIApp) -> None:
        """Has the application answer."""
        if not self.whole:
            self._connection.read_on()
        self._task = asyncio.get_running_loop().create_task(self._answer(app))

    async def _answer(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:
            _logger.exception("%s %s failed", self._scope["method"], self._scope["path"])
            if not self.began and not self.gone:
                self._begin(500, [(b"content-length", b"0")])
                self.write(b"", more=False)
        finally:
            self._connection.over(self)

    def add_body(self, data: bytes) -> int:
        """Takes a part of the body; says how many bytes wait."""
        self._body.append(data)
        self._size += len(data)
        self._news.set()
        return self._size

    def end_body(self) -> None:
        """The request is whole."""
        self.whole = True
        self._news.set()

    def leave(self) -> None:
        """The caller has left."""
        self.gone = True
        self._news.set()
        self._room.set()
        if self._on_leave:
            self._on_leave()

    @contextmanager
    def leaving(self, leave: Callable[[], None]) -> Generator[None]:
        """Calls `leave` once if the caller has left, or leaves inside the block."""
        self._on_leave = leave
        if self.gone:
            leave()
        try:
            yield
        finally:
            self._on_leave = None

    def resume(self) -> None:
        """The caller takes what is written."""
        self._room.set()
        if self.on_room:
            self.on_room()

    @property
    def paused(self) -> bool:
        """True while enough waits for the caller."""
        return self._connection.paused

    async def receive(self) -> Any:
        """See ASGI."""
        while not (self.gone or self.complete):
            if not self._given and (self._body or self.whole):
                body, self._body, self._size = b"".join(self._body), [], 0
                self._given = self.whole
                if not self.whole:
                    self._connection.read_on()
                return {"type": "http.request", "body": body, "more_body": not self.whole}
            if self._continues and not self.began and not self.whole:
                self._continues = False
                self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._news.clear()
            await self._news.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """See ASGI. Returns when the caller has taken enough of what was sent before."""
        if message["type"] == "http.response.start":
            self._begin(message["status"], list(message["headers"]))
        elif message["type"] == "http.response.body":
            self.write(message["body"], more=message["more_body"])
            while self.paused and not self.gone:
                self._room.clear()
                await self._room.wait()

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Keeps the head, which goes out with the first part of the body. Raises ValueError for one with a break."""
        self.began = True
        bodiless = status in _BODILESS
        self._bodiless = self._bodiless or bodiless
        lines = [b"HTTP/1.1 %d %b" % (status, REASONS.get(status, b"")), b"date: " + _date(int(time()))]
        lines += [name + b": " + value for name, value in headers]
        if any(map(_BREAKS.search, lines)):
            raise ValueError("a header of the response has a line break")
        if not bodiless and not any(name.lower() == b"content-length" for name, _ in headers):
            self._chunked = self._scope["http_version"] == "1.1"
            self.keep = self.keep and self._chunked
            lines += [b"transfer-encoding: chunked"] if self._chunked else []
        if not self.keep or not self.whole:
            lines.append(b"connection: close")
        elif self._scope["http_version"] == "1.0":
            lines.append(b"connection: keep-alive")
        self._head = b"\r\n".join((*lines, b"", b""))

    def write(self, data: bytes, *, more: bool = True) -> None:
        """Writes a part of the body, at once; without `more` the last one. Once the caller has left, it is lost."""
        if self.gone or self.complete:
            return
        if self._bodiless:
            data = b""
        elif self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            data += b"" if more else b"0\r\n\r\n"
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            self._connection.transport.write(data)
        if not more:
            self.complete = True
            self._news.set()


def exchange_of(scope: Scope) -> Exchange | None:
    """The request's exchange, where the connection is written to from the event loop."""
    return cast("dict[str, Any]", scope.get("extensions") or {}).get(EXCHANGE)


@lru_cache(1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
