"""Every request's way in and out: so many at once for each caller, its body in time, its response in pieces."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from time import monotonic
from typing import Any, Final

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from headrace.errors import BodyTimeout, InvalidRequest, RateLimited
from headrace.server.backpressure import Outgoing, Sending
from headrace.server.error_responses import refuse
from headrace.server.health import PROBES
from headrace.server.logs import log_request
from headrace.server.rate_limits import block_of, caller
from headrace.settings import Settings

Peer = tuple[str, int]
_SLOWEST: Final = 4096  # bytes in a second that a body must have in the long run
_HOST: Final = re.compile(rb"([\w.~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.%]+\])(:[0-9]{0,5})?")
_WAIT: Final = 1.0  # seconds after which a caller with too many requests may try again


class Admission:
    """ASGI middleware around everything else. It knows which connections have requests in progress."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._most, self._patience = settings.connections_per_address, settings.body_timeout
        self._trusted = settings.trusted
        self._callers: Counter[str] = Counter()
        self.outgoing = Outgoing(settings.slow_reader_timeout)
        self.busy: Counter[Peer] = Counter()
        """How many requests of each connection are in progress; a connection is known by its other end."""
        self.seen: set[Peer] = set()
        """Connections that have had a request since they were looked at last."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request, or refuses it with 400 or 429, and writes its line of the access log."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, method, path = monotonic(), scope["method"], scope["path"]
        sending = scope["state"]["sending"] = Sending(send, self.outgoing)
        try:
            await self._admit(scope, receive, sending)
        finally:
            sending.close()
            if path not in PROBES or sending.status != 200:
                log_request(method, path, sending.status, sending.sent, monotonic() - began, sending.run)

    async def _admit(self, scope: HTTPScope, receive: Receive, sending: Sending) -> None:
        if not all(_HOST.fullmatch(value) for key, value in scope["headers"] if key == b"host"):
            await refuse(
                InvalidRequest("the Host header must be a name or an address, with a port or without"), sending
            )
            return
        host, port = scope["client"] or ("", 0)
        peer = host, int(port)  # granian gives a text
        who = block_of(caller(peer[0], _forwarded(scope) if peer[0] in self._trusted else "", self._trusted))
        if self._callers[who] >= self._most:
            await refuse(RateLimited("this address has too many requests in progress: wait for one", _WAIT), sending)
            return
        self._callers[who] += 1
        self.busy[peer] += 1
        self.seen.add(peer)
        try:
            await self._serve(scope, receive, sending)
        finally:
            _less(self._callers, who)
            _less(self.busy, peer)

    async def _serve(self, scope: HTTPScope, receive: Receive, sending: Sending) -> None:
        try:
            await self._app(scope, Body(receive, self._patience), sending)
        except asyncio.CancelledError:
            if not sending.over:
                raise


def _forwarded(scope: HTTPScope) -> str:
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == b"x-forwarded-for")


def _less(counts: Counter[Any], key: Any) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


class Body:
    """A request's body as the server below gives it. Raises BodyTimeout when it comes too slowly."""

    def __init__(self, receive: Receive, patience: float) -> None:
        self._receive, self._patience = receive, patience
        self._complete = False
        self._got, self._waited = 0, 0.0

    async def __call__(self) -> Any:
        """The next message."""
        if self._complete:
            return await self._receive()
        began = monotonic()
        left = self._patience + self._got / _SLOWEST - self._waited
        try:
            async with asyncio.timeout(min(self._patience, left)):
                message = await self._receive()
        except TimeoutError:
            self._complete = True
            raise BodyTimeout("the request's body comes too slowly: send it again") from None
        self._waited += monotonic() - began
        self._got += len(message.get("body", b""))
        self._complete = not message.get("more_body")
        return message
