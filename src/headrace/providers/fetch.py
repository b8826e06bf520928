"""The guarded way out: requests that a flow, a script or a model can steer. It connects to what was checked."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import TypeAlias

import aiohttp
import msgspec
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from headrace.engine.ports import FetchReply, FetchRequest
from headrace.errors import FetchFailed, FetchRefused
from headrace.providers.guard import Address, Allowed, Target, check_addresses, check_target, target

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""All addresses of a host name. Raises OSError."""

# Threads of their own: names whose servers keep silent must not take those that everything else needs.
_LOOK_UPS = ThreadPoolExecutor(8, "headrace-look-up")
_PIECE = 1024 * 1024  # bytes that are unpacked at once
_MOST_MEMBERS = 1000  # of a gzip file: each costs, also an empty one
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_METHOD = re.compile(r"[A-Z]+")
_REFUSED_METHODS = ("CONNECT", "TRACE", "TRACK")
# They belong to the connection, or would make another host or another framing of the request.
_OURS = re.compile(
    r"host|content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|accept-encoding|proxy-.*",
    re.IGNORECASE,
)
_SECRET = re.compile(r".*(auth|cookie|token|key|secret|password|credential|session).*", re.IGNORECASE)


class FetchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one request."""

    bytes: int = 10 * 1024 * 1024
    """Of the answer, unpacked."""
    connect: float = 10.0
    read: float = 60.0
    """Seconds between two pieces of the answer."""
    total: float = 300.0
    """Seconds for all of it, redirects included."""
    redirects: int = 5


async def look_up(host: str, port: int) -> Sequence[str]:
    """The system's own look-up."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, ask)
    return [str(entry[4][0]) for entry in found]


class _Pinned(AbstractResolver):
    """Resolves a host to the addresses that were checked, without a second look-up."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=families[address.version],
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
            if family in (socket.AF_UNSPEC, families[address.version])
        ]

    async def close(self) -> None:
        """Nothing is held."""


class _Unpacker:
    """Unpacks gzip and deflate, never much at once."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        self._members = 1

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Unpacks `data` piece by piece. Raises zlib.error."""
        if not self._encoding:
            yield data
            return
        piece = b""
        while data or len(piece) == _PIECE:
            yield (piece := self._piece(data))
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                data = self._stream.unused_data
                self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
                self._members += 1
                if self._members > _MOST_MEMBERS:
                    raise zlib.error("too many members")

    def _piece(self, data: bytes) -> bytes:
        try:
            return self._stream.decompress(data, _PIECE)
        except zlib.error:
            if self._encoding != "deflate":
                raise
            self._stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)  # some servers leave the zlib header out
            return self._stream.decompress(data, _PIECE)


class _Answer:
    """An answer whose body is still to be read, and the session that it came over."""

    def __init__(self, session: aiohttp.ClientSession, response: aiohttp.ClientResponse, at: Target) -> None:
        self.session, self.response, self.at = session, response, at

    @property
    def redirect(self) -> str | None:
        """The address of a redirect, if it is one."""
        return self.response.headers.get("Location") if self.response.status in _REDIRECTS else None

    async def parts(self, most: int, deadline: float) -> AsyncGenerator[bytes]:
        """The body. Raises FetchFailed, also when it has more than `most` bytes, packed or unpacked."""
        encoding = self.response.headers.get("Content-Encoding", "").strip().lower().replace("x-gzip", "gzip")
        if encoding not in ("", "identity", "gzip", "deflate"):
            raise FetchFailed(f"{self.at.host!r} answered in an encoding that was not asked for: {encoding[:40]!r}")
        unpacker = _Unpacker(encoding.replace("identity", ""))
        left = coming = most
        while True:
            async with asyncio.timeout_at(deadline):
                packed = await self.response.content.readany()
            if not packed:
                return
            coming -= len(packed)
            for piece in unpacker.pieces(packed):
                left -= len(piece)
                if min(left, coming) < 0:
                    raise FetchFailed(f"the answer of {self.at.host!r} is larger than {most} bytes")
                yield piece
                await asyncio.sleep(0)  # a thousand pieces may come of one read, and others want to go on

    async def close(self) -> None:
        """Closes the connection."""
        self.response.close()
        await self.session.close()


class Fetcher:
    """Makes requests within limits, only to addresses that may be reached."""

    def __init__(
        self, allowed: Allowed | None = None, limits: FetchLimits | None = None, resolve: Resolve = look_up
    ) -> None:
        self._allowed, self.limits, self._resolve = allowed or Allowed(), limits or FetchLimits(), resolve

    async def fetch(self, request: FetchRequest) -> FetchReply:
        """The whole answer, whatever its status. Raises FetchRefused and FetchFailed."""
        deadline = self._deadline(request)
        body = bytearray()
        try:
            answer = await self._open(request, deadline)
            try:
                async with aclosing(answer.parts(self.limits.bytes, deadline)) as parts:
                    async for part in parts:
                        body += part
            finally:
                await answer.close()
        except _TROUBLE as error:
            raise _failure(request, error) from None
        gone = ("content-encoding", "content-length", "transfer-encoding", "connection")
        headers = [(str(name), value) for name, value in answer.response.headers.items() if name.lower() not in gone]
        return FetchReply(answer.response.status, headers, bytes(body), str(answer.at.url))

    async def download(self, request: FetchRequest, most: int) -> AsyncGenerator[bytes]:
        """The body in parts, at most `most` bytes. Raises FetchRefused and FetchFailed, also for a status of 400 on."""
        deadline = self._deadline(request)
        try:
            answer = await self._open(request, deadline)
            try:
                if answer.response.status >= 400:
                    raise FetchFailed(f"{answer.at.host!r} answered {answer.response.status}")
                async with aclosing(answer.parts(most, deadline)) as parts:
                    async for part in parts:
                        yield part
            finally:
                await answer.close()
        except _TROUBLE as error:
            raise _failure(request, error) from None

    def _deadline(self, request: FetchRequest) -> float:
        return asyncio.get_running_loop().time() + min(request.timeout or self.limits.total, self.limits.total)

    async def _open(self, request: FetchRequest, deadline: float) -> _Answer:
        """The last answer of a chain of redirects, each step of it checked."""
        at = target(request.url)
        headers = [(name, value) for name, value in request.headers if not _OURS.fullmatch(name)]
        for name, value in headers:
            if not _HEADER.fullmatch(name) or re.search(r"[\r\n\0]", value):
                raise FetchFailed(f"the header {name[:100]!r} cannot be sent")
        request = msgspec.structs.replace(request, method=request.method.upper(), headers=headers)
        if not _METHOD.fullmatch(request.method) or request.method in _REFUSED_METHODS:
            raise FetchRefused(f"the method {request.method[:20]!r} is not for flows")
        for _ in range(self.limits.redirects + 1):
            async with asyncio.timeout_at(deadline):
                answer = await self._step(request, at)
            if answer.redirect is None:
                return answer
            await answer.close()
            request, at = _redirected(request, at, answer)
        raise FetchFailed(f"{at.host!r} redirects more than {self.limits.redirects} times")

    async def reach(self, url: str) -> list[str]:
        """The addresses behind a URL, for a connection of somebody else's. Raises FetchRefused and FetchFailed."""
        at = target(url)
        try:
            return [str(address) for address in await self._checked(at)]
        except TimeoutError:
            raise FetchFailed(f"{at.host!r} took too long") from None

    async def _checked(self, at: Target) -> list[Address]:
        check_target(at, self._allowed)
        addresses = [at.address] if at.address else await self._addresses(at)
        check_addresses(at, addresses, self._allowed)
        return addresses

    async def _step(self, request: FetchRequest, at: Target) -> _Answer:
        addresses = await self._checked(at)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_Pinned(addresses), use_dns_cache=False, force_close=True),
            timeout=aiohttp.ClientTimeout(sock_connect=self.limits.connect, sock_read=self.limits.read),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "headrace"},
            auto_decompress=False,
        )
        try:
            sent = [*request.headers, ("Accept-Encoding", "gzip, deflate")]
            response = await session.request(
                request.method, at.url, headers=sent, data=request.body or None, allow_redirects=False
            )
        except BaseException:
            await session.close()
            raise
        return _Answer(session, response, at)

    async def _addresses(self, at: Target) -> list[Address]:
        """The one look-up. Raises FetchFailed and TimeoutError."""
        try:
            async with asyncio.timeout(self.limits.connect):
                found = await self._resolve(at.host, at.port)
            addresses = [ipaddress.ip_address(text) for text in found]
        except TimeoutError:
            raise
        except (OSError, UnicodeError, ValueError):
            addresses = []
        if not addresses:
            raise FetchFailed(f"there is no host {at.host!r}")
        return list(dict.fromkeys(addresses))


_TROUBLE = (aiohttp.ClientError, OSError, TimeoutError, ValueError, zlib.error)


def _failure(request: FetchRequest, error: Exception) -> FetchFailed:
    host = target(request.url).host
    if isinstance(error, TimeoutError):
        return FetchFailed(f"{host!r} took too long")
    if isinstance(error, zlib.error):
        return FetchFailed(f"the answer of {host!r} cannot be unpacked")
    if isinstance(error, aiohttp.ClientSSLError):
        return FetchFailed(f"{host!r} has no certificate that can be trusted")
    if isinstance(error, aiohttp.ClientConnectorError):
        return FetchFailed(f"cannot connect to {host!r}")
    if isinstance(error, aiohttp.ClientError | OSError):
        return FetchFailed(f"the connection to {host!r} broke, or what it sent is not HTTP")
    return FetchFailed(f"the request to {host!r} cannot be sent")


def _redirected(request: FetchRequest, at: Target, answer: _Answer) -> tuple[FetchRequest, Target]:
    """The request that follows a redirect: without body where the method changes, without secrets on another host."""
    try:
        place = answer.redirect or ""
        there = target(str(at.url.join(yarl.URL(place, encoded=place.isascii()))))
    except ValueError:
        raise FetchFailed(f"{at.host!r} redirects to what is not an address") from None
    headers = request.headers
    status, method, body = answer.response.status, request.method, request.body
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method, body = "GET", b""
        headers = [pair for pair in headers if not pair[0].lower().startswith("content-")]
    if there.origin != at.origin:
        headers = [pair for pair in headers if not _SECRET.fullmatch(pair[0])]
    return msgspec.structs.replace(request, method=method, headers=headers, body=body), there
