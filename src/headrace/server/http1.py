"""HTTP/1.1 without TLS, served in the event loop itself: what is sent is written to the socket at once.

The server for TLS and HTTP/2 has threads of its own, and every piece of a response crosses from one to the other.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes

import httptools
from litestar.types import ASGIApp, HTTPScope

from headrace.server.exchange import EXCHANGE, REASONS, Exchange

BUFFER: Final = 64 * 1024
"""Bytes that a head may have, that of a body may wait to be taken, and that of a response may wait for the caller."""
_OF_UPGRADES: Final = (b"connection", b"upgrade", b"http2-settings")
_LINGER: Final = 2.0  # seconds that a caller gets to take an answer that came before the request's end


class Http1Server:
    """Listens on an address and hands requests to an ASGI application."""

    def __init__(
        self, app: ASGIApp, *, address: str, port: int, backlog: int, connections: int, header_timeout: float
    ) -> None:
        """`connections` are served at once, more are closed. A request's head must come in `header_timeout` seconds."""
        self.app, self.address = app, (address, port)
        self.connections, self.header_timeout, self._backlog = connections, header_timeout, backlog
        self.open: set[Connection] = set()
        self.stopping = False
        self._stop = asyncio.Event()

    async def serve(self) -> None:
        """Serves until `stop`, then until every response in progress is complete. Raises OSError."""
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):  # workers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(self.address)
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(lambda: Connection(self), sock=listener, backlog=self._backlog)
        try:
            await self._stop.wait()
        finally:
            listening.close()
        for connection in list(self.open):
            connection.finish()
        await asyncio.gather(*[connection.lost.wait() for connection in self.open])

    def stop(self) -> None:
        """Takes no more connections; each is closed after the response that is in progress on it."""
        self.stopping = True
        self._stop.set()


class Connection(asyncio.Protocol):
    """A caller's connection: its requests, answered one after the other."""

    def __init__(self, server: Http1Server) -> None:
        self._server, self._loop = server, asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_head = False
        self._parsed = self._came = 0  # bytes of the head: in parts that are complete, and in reads after its first
        self._late: asyncio.TimerHandle | None = None
        self._reading: Exchange | None = None
        self._waiting: deque[Exchange] = deque()  # the first one is being answered
        self._deaf = False  # nothing more is read
        self.lost = asyncio.Event()
        self.paused = False
        """The caller takes less than is written."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self.transport = cast("asyncio.Transport", transport)
        if len(self._server.open) >= self._server.connections:
            self.transport.abort()
            return
        self._server.open.add(self)
        self.transport.set_write_buffer_limits(high=BUFFER)
        self._peer = tuple((transport.get_extra_info("peername") or ("", 0))[:2])
        self._late = self._loop.call_later(self._server.header_timeout, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._server.open.discard(self)
        self._in_time()
        for exchange in self._waiting:
            exchange.leave()
        self.lost.set()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self.paused = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self.paused = False
        if self._waiting:
            self._waiting[0].resume()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._deaf:
            return
        continued = self._in_head
        while data:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as found:
                data = self._without_upgrade() + data[found.args[0] :]
            except httptools.HttpParserError:
                if not self._deaf:
                    self._refuse(400)
                return
        if not self._in_head:
            return
        self._came = self._came + len(data) if continued else 0
        if self._came > BUFFER:
            self._refuse(431)
        elif not self._late and not self._waiting:
            self._late = self._loop.call_later(self._server.header_timeout, self._give_up)

    def _without_upgrade(self) -> bytes:
        """The head once more for a new parser, without the wish for another protocol: none is spoken here.

        The parser takes everything behind such a head for that protocol, the request's body too.
        """
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        closes = any(name == b"connection" and b"close" in value.lower() for name, value in self._headers)
        kept = [name + b": " + value for name, value in self._headers if name not in _OF_UPGRADES]
        head = [b"%b %b HTTP/%b" % (method, self._url, version), *kept, *([b"connection: close"] if closes else ())]
        self._parser = httptools.HttpRequestParser(self)
        return b"\r\n".join((*head, b"", b""))

    def _give_up(self) -> None:
        self._late = None
        self.transport.abort()

    def _in_time(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None

    def _refuse(self, status: int) -> None:
        """Answers what is no request, after those before it."""
        self._deaf = True
        if self._waiting and not self._reading:
            self._waiting[-1].keep = False
            return
        begun = any(exchange.began for exchange in self._waiting)
        for exchange in self._waiting:
            exchange.leave()
        if begun:
            self.transport.abort()
            return
        head = b"HTTP/1.1 %d %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % (status, REASONS[status])
        self.transport.write(head)
        self._linger()

    def _linger(self) -> None:
        """Closes when the caller has, or soon: a socket that is closed with bytes unread takes the answer back."""
        self._deaf = True
        self._in_time()
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        self._late = self._loop.call_later(_LINGER, self._give_up)

    # Called by the parser

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url, self._headers, self._in_head = b"", [], True
        self._parsed = self._came = 0

    def on_url(self, url: bytes) -> None:
        """Its target, or a part of that."""
        self._url += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers, or of the trailers behind its body, which nobody wants."""
        self._grow(len(name) + len(value))
        if self._in_head:
            self._headers.append((name.lower(), value))

    def _grow(self, size: int) -> None:
        self._parsed += size
        if self._parsed > BUFFER:
            self._refuse(431)
            raise ValueError("the head is too long")  # which ends the parser's work

    def on_headers_complete(self) -> None:
        """It is served, or waits for those before it."""
        if self._parser.should_upgrade():
            if self._parser.get_method() == b"CONNECT":
                raise ValueError("this is no proxy")  # which ends the parser's work
            return
        self._in_head, self._parsed = False, 0
        self._in_time()
        parser, (path, _, query) = self._parser, _target(self._url).partition(b"?")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": parser.get_http_version(),
            "method": parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": (unquote_to_bytes(path) if b"%" in path else path).decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "client": self._peer,
            "server": self._server.address,
            "state": {},
            "extensions": {},
        }
        exchange = Exchange(self, cast("HTTPScope", scope), keep=parser.should_keep_alive())
        scope["extensions"][EXCHANGE] = self._reading = exchange
        self._waiting.append(exchange)
        if len(self._waiting) == 1:
            exchange.start(self._server.app)
        else:
            self.transport.pause_reading()

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        if self._reading and self._reading.add_body(body) > BUFFER:
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        """Its end."""
        if self._reading:
            self._reading.end_body()
            self._reading = None

    # Called by exchanges

    def read_on(self) -> None:
        """Lets more of the request come."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def over(self, exchange: Exchange) -> None:
        """The first request is answered, or never will be."""
        self._waiting.popleft()
        if exchange.gone:
            return
        if not exchange.complete:
            self.transport.abort()
        elif not exchange.whole:
            self._linger()
        elif not exchange.keep or self._server.stopping:
            self.transport.close()
        elif self._waiting:
            self._waiting[0].start(self._server.app)
        else:
            self.read_on()

    def finish(self) -> None:
        """Closes the connection unless a response is in progress."""
        if not self._waiting:
            self.transport.close()


def _target(url: bytes) -> bytes:
    """The path and query of a request's target, which proxies are sent as a whole address."""
    if url[:1] == b"/" or b"://" not in url:
        return url
    return b"/" + url.partition(b"://")[2].partition(b"/")[2]
