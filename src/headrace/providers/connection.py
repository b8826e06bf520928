"""One HTTP/1.1 connection to a provider, whose read callback hands the answer on."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, Final, TypeAlias, cast

import httptools

from headrace.providers.turns import Turns

Take: TypeAlias = Callable[[bytes], bool]
"""Takes the bytes of one read; says whether it wants more."""
_AHEAD: Final = 128 * 1024  # bytes of an answer that wait for their reader
_LONGEST_HEAD: Final = 256 * 1024  # bytes, with everything that is said before and behind the answer
_LONGEST_PIECE: Final = 32 * 1024 * 1024  # bytes that one read may unpack to
_CODINGS: Final = ("gzip", "x-gzip", "deflate")


class NotHttp(Exception):
    """The other side does not keep to HTTP."""


class Closed(OSError):
    """The other side has closed the connection before the end of its answer."""


class Connection(asyncio.Protocol):
    """A connection on which one call is made after the other. `close` ends a call."""

    def __init__(self, turns: Turns) -> None:
        """Reads are worked on as the `turns` of all connections allow."""
        self._turns = turns
        self._held: list[bytes] = []  # reads whose turn has not come
        self._held_size = 0
        self._parser: Any = None
        self._waiter: asyncio.Future[None] | None = None
        self._take: Take | None = None
        self._unpacking: _Unpacking | None = None
        self._parts: list[bytes] = []  # of the read that is being parsed: one for each chunk of HTTP
        self._ahead: list[bytes] = []
        self._failure: Exception | None = None
        self._lost = self._interim = self._sized = self._keeps = self._headed = self._whole = False
        self._head_size = self._ahead_size = 0
        self.status, self.reason = 0, ""
        self.headers: dict[str, str] = {}
        self.stalled = False
        """It was closed since nothing came."""
        self.since = inf
        """When the wait for the answer's next bytes began; infinite while nobody waits. For an idle one, since when."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    @property
    def usable(self) -> bool:
        """True while calls can be made."""
        return not self._lost and not self._transport.is_closing()

    def _new_parser(self) -> Any:
        parser = httptools.HttpResponseParser(self)
        # As lenient as other clients are: some servers leave line ends out, or put spaces behind the sizes of chunks.
        parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        return parser

    async def ask(self, request: bytes) -> None:
        """Sends a request and waits for the head of its answer. Raises NotHttp, OSError."""
        self._parser, self._unpacking, self._failure = self._new_parser(), None, None
        self._interim = self._sized = self._headed = self._whole = False
        self._head_size = 0
        self.status, self.reason, self.headers = 0, "", {}
        self._transport.write(request)
        while not self._headed:
            await self._wait()

    async def read(self) -> bytes:
        """The bytes since the last read, b"" at the end. Raises NotHttp, OSError."""
        while not self._ahead:
            if self._whole:
                return b""
            await self._wait()
        if self._ahead_size > _AHEAD and self.usable:
            self._transport.resume_reading()
        data, self._ahead, self._ahead_size = b"".join(self._ahead), [], 0
        return data

    async def push(self, take: Take) -> None:
        """Gives each read to `take`, in the callback that brings it, until it wants no more or the answer ends, which
        b"" says. Raises NotHttp, OSError, and what `take` raises.
        """
        while self._ahead or self._whole:
            data = await self.read()
            if not take(data) or not data:
                return
        self._take = take
        try:
            await self._wait()
        finally:
            self._take = None

    async def _wait(self) -> None:
        if self._failure:
            raise self._failure
        self._waiter = asyncio.get_running_loop().create_future()
        self.since = monotonic()
        try:
            await self._waiter
        finally:
            self._waiter, self.since = None, inf

    def _wake(self, error: BaseException | None = None) -> None:
        waiter = self._waiter
        if waiter and not waiter.done():
            if error:
                waiter.set_exception(error)
            else:
                waiter.set_result(None)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if not self._held and self._turns.take():
            self._parse(data)
            return
        if not self._held:
            self._turns.wait(self._catch_up)
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size > _AHEAD:
            self._transport.pause_reading()

    def _catch_up(self) -> None:
        if self._held:
            data, self._held = b"".join(self._held), []
            if self._held_size > _AHEAD and self.usable:
                self._transport.resume_reading()
            self._held_size = 0
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        if self._failure or self._whole or not self._parser:  # nothing was asked
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(NotHttp("it changes to another protocol"))
        except httptools.HttpParserError as error:
            self._fail(error.__context__ if isinstance(error.__context__, NotHttp) else NotHttp(str(error)))
        if not self._headed:
            self._head_size += len(data)
            if self._head_size > _LONGEST_HEAD:
                self._fail(NotHttp("its head is too long"))
        elif self._parts:
            self._bring()
        if self._whole:
            self._end()

    def _bring(self) -> None:
        """Hands on what a read has brought."""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        if self._unpacking:
            try:
                data = self._unpacking.piece(data)
            except NotHttp as error:
                self._whole = False
                self._fail(error)
                return
        if data:
            self._give(data)

    def _give(self, data: bytes) -> None:
        if not self._take:
            self._ahead.append(data)
            self._ahead_size += len(data)
            if self._ahead_size > _AHEAD:
                self._transport.pause_reading()
            self._wake()
            return
        self.since = monotonic()
        try:
            more = self._take(data)
        except BaseException as error:  # it belongs to whoever waits
            self._take = None
            self._wake(error)
        else:
            if not more:
                self._take = None
                self._wake()

    def _end(self) -> None:
        """The answer is whole, unless its packing is not."""
        if self._unpacking and not self._unpacking.whole:
            self._whole = False
            self._fail(NotHttp("its packed answer is not whole"))
            return
        if self._take:
            self._give(b"")
            self._take = None
        self._wake()

    def _fail(self, error: Exception) -> None:
        if self._failure is None and not self._whole:
            self._failure = error
            self._transport.abort()
            self._wake(error)

    # Called by the parser

    def on_status(self, reason: bytes) -> None:
        """The status line's words."""
        self.reason += reason.decode("utf-8", "replace")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or trailer."""
        self._head_size += len(name) + len(value)
        if self._head_size > _LONGEST_HEAD:
            raise NotHttp("its head is too long")
        if not self._headed:
            self.headers[name.decode("latin-1").lower()] = value.decode("utf-8", "replace")

    def on_headers_complete(self) -> None:
        """The head is there, if it is not that of an interim answer."""
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self._interim = True
            return
        self._sized = "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "").lower()
        coding = self.headers.get("content-encoding", "identity").strip().lower()
        if coding in _CODINGS:
            self._unpacking = _Unpacking(coding)
        elif coding != "identity":
            raise NotHttp(f"it is packed with {coding!r}, which was not asked for")
        self._headed, self._keeps = True, self._parser.should_keep_alive()
        self._wake()

    def on_body(self, body: bytes) -> None:
        """A part of the answer."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """The end of the answer, or of an interim one."""
        if self._interim:
            self._interim, self.reason = False, ""
            self.headers.clear()
        else:
            self._whole = True

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._lost = True
        self._catch_up()
        if self._headed and not self._whole and not self._sized and exc is None and not self._failure:
            self._whole = True  # an answer without a length ends with its connection
            self._end()
        self._fail(exc or Closed("the server closed the connection"))

    def close(self) -> bool:
        """Ends the call; True when its answer was read to the end, so that another can be made. Else closes it."""
        if not self._parser:
            return False
        clean = self._whole and not self._ahead and not self._held and not self._transport.get_write_buffer_size()
        self._parser = None
        if self.usable and clean and self._sized and self._keeps:
            self.since = monotonic()
            return True
        self._transport.abort()
        return False

    def stall(self) -> None:
        """Ends a call that has waited for too long."""
        self.stalled = True
        self._fail(Closed("the server says nothing"))

    def abort(self) -> None:
        """Closes the connection at once."""
        self._transport.abort()


class _Unpacking:
    """Unpacks the pieces of an answer, one after the other."""

    def __init__(self, coding: str) -> None:
        self._coding, self._begun = coding, False
        self._stream = zlib.decompressobj(47)  # with gzip's head, or zlib's

    def piece(self, data: bytes) -> bytes:
        """The unpacked bytes of a piece. Raises NotHttp."""
        try:
            found = self._unpacked(data)
        except zlib.error as error:
            raise NotHttp(f"its compression is broken: {error}") from None
        if self._stream.unconsumed_tail:
            raise NotHttp("it unpacks to too much")
        self._begun = True
        return found

    def _unpacked(self, data: bytes) -> bytes:
        try:
            return self._stream.decompress(data, _LONGEST_PIECE)
        except zlib.error:
            if self._begun or self._coding != "deflate":
                raise
            self._stream = zlib.decompressobj(-15)  # some servers leave the head out
            return self._stream.decompress(data, _LONGEST_PIECE)

    @property
    def whole(self) -> bool:
        """True at the end."""
        return self._stream.eof or not self._begun
