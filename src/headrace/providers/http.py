"""The way out to model providers: one connection pool per process, retries before the first byte, real timeouts."""

from __future__ import annotations

import asyncio
import random
import re
from email.utils import parsedate_to_datetime
from math import inf
from time import monotonic, time

import aiohttp
import msgspec

from headrace.engine.ports import HttpCall, Tries
from headrace.errors import (
    ProviderCut,
    ProviderError,
    ProviderNotFound,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)
from headrace.providers.error_mapping import complaint, refusal_class

_USER = re.compile(r"//[^/@]*@")
_ERROR_BODY = 64 * 1024  # bytes read of an error's body
_ERROR_PATIENCE = 5.0  # seconds for it to arrive
_LONGEST_WAIT = 30.0  # seconds: what a Retry-After may ask for; longer, and the error is the better answer


class ProviderLimits(msgspec.Struct, frozen=True):
    """Timeouts of a provider's calls in seconds, and the number of attempts."""

    connect: float = 10.0
    read: float = 300.0
    """Between two reads: a reasoning model may be silent for minutes."""
    attempts: int = 4
    first_pause: float = 0.5


class ProviderBody:
    """Implements `headrace.engine.ports.Body` on an aiohttp response."""

    __slots__ = ("_content", "_deadline", "_open", "_place", "_response", "_stalled", "waiting_since")

    def __init__(
        self, response: aiohttp.ClientResponse, place: str, deadline: float | None, open_bodies: set[ProviderBody]
    ) -> None:
        self._response, self._content, self._place, self._deadline = response, response.content, place, deadline
        self._open = open_bodies
        self._open.add(self)
        self._stalled = False
        self.waiting_since = inf
        """When the reader began to wait; infinite while it does not."""

    async def read(self) -> bytes:
        """Reads the bytes that have arrived. Raises ProviderTimeout and ProviderCut."""
        self.waiting_since = monotonic()
        try:
            if self._deadline is None:
                return await self._content.readany()
            async with asyncio.timeout_at(self._deadline):
                return await self._content.readany()
        except TimeoutError:
            raise ProviderTimeout(f"{self._place} took longer than its timeout") from None
        except (aiohttp.ClientError, OSError):
            if self._stalled:
                raise ProviderTimeout(f"{self._place} stopped answering") from None
            raise ProviderCut(f"the connection to {self._place} broke inside the answer") from None
        finally:
            self.waiting_since = inf

    def close(self) -> None:
        """Gives the connection back when the answer was read to its end, else closes it."""
        self._open.discard(self)
        self._response.close()

    def cut(self) -> None:
        """Ends a read that has waited for too long."""
        self._stalled = True
        self.close()


class CallTries:
    """Implements `headrace.engine.ports.Tries`."""

    def __init__(self, limits: ProviderLimits, timeout: float | None) -> None:
        self.deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        """For all attempts, in the loop's time."""
        self._left, self._pause = limits.attempts - 1, limits.first_pause

    async def again(self, failure: ProviderError) -> None:
        """See Tries."""
        asked = failure.retry_after
        wait = asked if asked is not None else self._pause * random.uniform(0.5, 1.0)  # noqa: S311 jitter
        if not failure.retryable or self._left <= 0 or wait > _LONGEST_WAIT:
            raise failure
        if self.deadline is not None and asyncio.get_running_loop().time() + wait >= self.deadline:
            raise failure
        self._left -= 1
        await asyncio.sleep(wait)
        self._pause *= 2


class ProviderHttp:
    """Implements `headrace.engine.ports.Http` on one aiohttp session."""

    def __init__(self, limits: ProviderLimits | None = None) -> None:
        self.limits = limits or ProviderLimits()
        self._session: aiohttp.ClientSession | None = None
        self._open_bodies: set[ProviderBody] = set()
        self._watch: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Closes all connections."""
        if self._session and self._watch:
            self._watch.cancel()
            await self._session.close()
            self._session = None

    async def _cut_stalled(self) -> None:
        """Closes answers whose model is silent for too long. One look a second costs less than a timer a read."""
        while True:
            await asyncio.sleep(min(1.0, self.limits.read / 4))
            silent = monotonic() - self.limits.read
            for body in [body for body in self._open_bodies if body.waiting_since < silent]:
                body.cut()

    def tries(self, call: HttpCall) -> CallTries:
        """See Http."""
        return CallTries(self.limits, call.timeout)

    async def send(self, call: HttpCall, tries: Tries | None = None) -> ProviderBody:
        """The answer, once it has begun.

        Retries connection errors, silence, 408, 429 and 5xx with growing pauses, honouring Retry-After. Raises
        ProviderError.
        """
        mine = tries if isinstance(tries, CallTries) else self.tries(call)
        while True:
            try:
                response = await self._attempt(call, mine.deadline)
                return ProviderBody(response, _place(call), mine.deadline, self._open_bodies)
            except ProviderError as error:
                failure = error
            await mine.again(failure)

    async def _attempt(self, call: HttpCall, deadline: float | None) -> aiohttp.ClientResponse:
        patience = asyncio.get_running_loop().time() + self.limits.connect + self.limits.read
        try:
            async with asyncio.timeout_at(min(deadline or patience, patience)):
                session = self._opened_session()
                # A redirect is not followed: the headers hold a key, which is for this address alone.
                response = await session.request(
                    call.method, call.url, data=call.body, headers=call.headers, allow_redirects=False
                )
        except aiohttp.ConnectionTimeoutError:
            raise ProviderUnavailable(f"cannot connect to {_place(call)}: no answer") from None
        except TimeoutError:
            raise ProviderTimeout(f"{_place(call)} did not answer in time") from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise ProviderNotFound(f"{_place(call)} is not an address: check the base path") from None
        except ValueError as error:  # a line break inside a header
            raise ProviderRefused(f"the call to {_place(call)} cannot be sent: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ProviderUnavailable(f"cannot reach {_place(call)}: {_reason(error)}") from None
        if response.status in (200, 201):
            return response
        try:
            raise await _refusal(response, call)
        finally:
            response.close()

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(sock_connect=self.limits.connect),
            )
            self._watch = asyncio.create_task(self._cut_stalled(), name="stalled answers")
        return self._session


def _place(call: HttpCall) -> str:
    """Host and path of a call, without the parts of the address that may be secret."""
    return f"{call.whom} at {_USER.sub('//', call.url.split('?')[0])}"


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or "connection refused"
    if isinstance(error, aiohttp.ClientResponseError):  # whose text holds the whole address
        return "what it sent is not HTTP"
    return "the server closed the connection" if isinstance(error, aiohttp.ServerDisconnectedError) else str(error)


async def _refusal(response: aiohttp.ClientResponse, call: HttpCall) -> ProviderError:
    """The error that a status other than 200 stands for, with the provider's own message, its key masked."""
    try:
        async with asyncio.timeout(_ERROR_PATIENCE):
            body = await response.content.read(_ERROR_BODY)
    except (aiohttp.ClientError, TimeoutError, OSError):
        body = b""
    said, status = complaint(body, call.secret), response.status
    kind = refusal_class(status, said)
    error = kind(f"{_place(call)} answered {status}: {said.message or response.reason}")
    error.retry_after = _retry_after(response.headers.get("Retry-After"))
    return error


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for; it holds a number or a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return None
