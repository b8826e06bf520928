"""The connections of a process to its providers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from math import inf
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

from aiohappyeyeballs import start_connection
from yarl import URL

from headrace.engine.ports import HttpCall
from headrace.providers.connection import Closed, Connection
from headrace.providers.turns import Turns

_IDLE: Final = 30.0  # seconds that a connection is kept for the next call
_NAMES_LAST: Final = 10.0  # seconds that a name's addresses are taken to be the same
_SECOND_TRY: Final = 0.25  # seconds that an address gets before the next one is tried beside it (RFC 8305)
_USUAL: Final = {"accept": "*/*", "accept-encoding": "gzip, deflate", "user-agent": "headrace"}
_PORTS: Final = {"http": 80, "https": 443}

Addresses: TypeAlias = list[tuple[Any, ...]]


class InvalidAddress(ValueError):
    """A call's address is none."""


class ConnectingTimeout(TimeoutError):
    """Nobody has taken the connection in time."""


class Origin(NamedTuple):
    """The place that a connection leads to."""

    scheme: str
    host: str
    port: int


class Place(NamedTuple):
    """A call's address, taken apart: `target` is the path with its query, `user` the credentials for Basic."""

    origin: Origin
    host: str
    target: str
    user: str | None


class Pool:
    """Open connections by origin, as many as are needed."""

    def __init__(self, patience: float) -> None:
        """Connecting may take `patience` seconds."""
        self._patience = patience
        self._idle: defaultdict[Origin, list[Connection]] = defaultdict(list)
        self._busy: dict[Connection, Origin] = {}
        self._names: dict[Origin, tuple[float, Addresses]] = {}
        self._context: ssl.SSLContext | None = None
        self._turns = Turns()

    async def answer(self, call: HttpCall) -> Connection:
        """The connection on which the answer to a call has begun. Raises InvalidAddress, ValueError for a header that
        cannot be sent, ConnectingTimeout where the connection is not taken, NotHttp, OSError.
        """
        place = place_of(call.url)
        request = _request(call, place)
        while True:
            connection = self._kept(place.origin)
            used = connection is not None
            connection = connection or await self._connected(place.origin)
            self._busy[connection] = place.origin
            try:
                await connection.ask(request)
            except Closed:
                self.leave(connection)
                if not used or connection.status:
                    raise  # else it was closed while nobody used it
            except BaseException:
                self.leave(connection)
                raise
            else:
                return connection

    def leave(self, connection: Connection) -> None:
        """Says that a call is over."""
        origin = self._busy.pop(connection, None)
        if connection.close() and origin:
            self._idle[origin].append(connection)

    def silent(self, since: float) -> list[Connection]:
        """The connections on which somebody has waited since then for an answer that has begun."""
        return [connection for connection in self._busy if connection.status >= 200 and connection.since < since]

    def sweep(self) -> None:
        """Closes connections that nobody has used for a while."""
        before = monotonic() - _IDLE
        for origin, idle in list(self._idle.items()):
            for connection in [one for one in idle if one.since < before or not one.usable]:
                idle.remove(connection)
                connection.abort()
            if not idle:
                del self._idle[origin]

    def close(self) -> None:
        """Closes all connections."""
        for connection in [*self._busy, *(one for idle in self._idle.values() for one in idle)]:
            connection.abort()
        self._idle.clear()

    def _kept(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.usable and connection.since > monotonic() - _IDLE:
                connection.since = inf
                return connection
            connection.abort()
        return None

    async def _connected(self, origin: Origin) -> Connection:
        try:
            async with asyncio.timeout(self._patience):
                return await self._begun(origin)
        except TimeoutError:
            raise ConnectingTimeout from None

    async def _begun(self, origin: Origin) -> Connection:
        loop, secure = asyncio.get_running_loop(), origin.scheme == "https"
        found = await start_connection(
            await self._addresses(origin), happy_eyeballs_delay=_SECOND_TRY, interleave=1, loop=loop
        )
        _, connection = await loop.create_connection(
            lambda: Connection(self._turns),
            sock=found,
            ssl=self._secure() if secure else None,
            server_hostname=origin.host if secure else None,
        )
        return connection

    async def _addresses(self, origin: Origin) -> Addresses:
        now = monotonic()
        until, known = self._names.get(origin, (0.0, []))
        if until < now:
            loop = asyncio.get_running_loop()
            known = [*await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)]
            self._names = {name: kept for name, kept in self._names.items() if kept[0] > now}
            self._names[origin] = now + _NAMES_LAST, known
        return known

    def _secure(self) -> ssl.SSLContext:
        self._context = self._context or ssl.create_default_context()
        return self._context


@lru_cache(256)
def place_of(address: str) -> Place:
    """Takes a call's address apart. Raises InvalidAddress."""
    try:
        url = URL(address)
        scheme, host, port = url.scheme, url.raw_host, url.port
    except ValueError as error:
        raise InvalidAddress(str(error)) from None
    if scheme not in _PORTS or not host or not port:
        raise InvalidAddress("it has no host, or another scheme than http and https")
    shown = f"[{host}]" if ":" in host else host
    user = None
    if url.user is not None:
        user = b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
    return Place(
        Origin(scheme, host, port), shown if port == _PORTS[scheme] else f"{shown}:{port}", url.raw_path_qs, user
    )


def _request(call: HttpCall, place: Place) -> bytes:
    """The whole request. Raises ValueError for a header with a line break."""
    size = len(call.body) if call.body or call.method != "GET" else None
    return _head(call.method, place, call.headers, size) + call.body


def _head(method: str, place: Place, given: Mapping[str, str], size: int | None) -> bytes:
    named = {name.lower() for name in given}
    headers = {"host": place.host, **{name: value for name, value in _USUAL.items() if name not in named}, **given}
    if place.user is not None:
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        headers["authorization"] = f"Basic {place.user}"
    if size is not None:
        headers["content-length"] = str(size)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    for line in lines:
        if "\n" in line or "\r" in line or "\0" in line:
            raise ValueError("one of its headers has a line break")
    return "\r\n".join([f"{method} {place.target} HTTP/1.1", *lines, "", ""]).encode()
