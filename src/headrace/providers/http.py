"""The way out to model providers: one connection pool per process, retries before the first byte, real timeouts."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from time import monotonic, time

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
from headrace.providers.connection import Closed, Connection, NotHttp
from headrace.providers.error_mapping import complaint, refusal_class
from headrace.providers.pool import ConnectingTimeout, InvalidAddress, Pool

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
    """Implements `headrace.engine.ports.Body` on a connection."""

    __slots__ = ("_connection", "_deadline", "_place", "_pool")

    def __init__(self, pool: Pool, connection: Connection, place: str, deadline: float | None) -> None:
        self._pool, self._connection, self._place, self._deadline = pool, connection, place, deadline

    async def read(self) -> bytes:
        """Reads the bytes that have arrived. Raises ProviderTimeout and ProviderCut."""
        with self._failing():
            if self._deadline is None:
                return await self._connection.read()
            async with asyncio.timeout_at(self._deadline):
                return await self._connection.read()

    async def push(self, take: Callable[[bytes], bool]) -> None:
        """Gives each read to `take`. Raises ProviderTimeout and ProviderCut, and what `take` raises."""
        with self._failing():
            async with asyncio.timeout_at(self._deadline):
                await self._connection.push(take)

    @contextmanager
    def _failing(self) -> Generator[None]:
        try:
            yield
        except TimeoutError:
            raise ProviderTimeout(f"{self._place} took longer than its timeout") from None
        except (NotHttp, OSError):
            if self._connection.stalled:
                raise ProviderTimeout(f"{self._place} stopped answering") from None
            raise ProviderCut(f"the connection to {self._place} broke inside the answer") from None

    def close(self) -> None:
        """Gives the connection back when the answer was read to its end, else closes it."""
        self._pool.leave(self._connection)


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
    """Implements `headrace.engine.ports.Http` on one pool of connections."""

    def __init__(self, limits: ProviderLimits | None = None) -> None:
        self.limits = limits or ProviderLimits()
        self._pool = Pool(self.limits.connect)
        self._watch: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Closes all connections."""
        if self._watch:
            self._watch.cancel()
            self._watch = None
        self._pool.close()

    async def _look_after(self) -> None:
        """Closes answers whose model is silent for too long. One look a second costs less than a timer a read."""
        while True:
            await asyncio.sleep(min(1.0, self.limits.read / 4))
            for connection in self._pool.silent(monotonic() - self.limits.read):
                connection.stall()
            self._pool.sweep()

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
                connection = await self._attempt(call, mine.deadline)
                return ProviderBody(self._pool, connection, _place(call), mine.deadline)
            except ProviderError as error:
                failure = error
            await mine.again(failure)

    async def _attempt(self, call: HttpCall, deadline: float | None) -> Connection:
        self._watch = self._watch or asyncio.create_task(self._look_after(), name="stalled answers")
        patience = asyncio.get_running_loop().time() + self.limits.connect + self.limits.read
        try:
            async with asyncio.timeout_at(min(deadline or patience, patience)):
                connection = await self._pool.answer(call)
        except ConnectingTimeout:
            raise ProviderUnavailable(f"cannot connect to {_place(call)}: no answer") from None
        except TimeoutError:
            raise ProviderTimeout(f"{_place(call)} did not answer in time") from None
        except InvalidAddress:
            raise ProviderNotFound(f"{_place(call)} is not an address: check the base path") from None
        except (NotHttp, OSError) as error:
            raise ProviderUnavailable(f"cannot reach {_place(call)}: {_reason(error)}") from None
        except ValueError as error:  # a line break inside a header
            raise ProviderRefused(f"the call to {_place(call)} cannot be sent: {error}") from None
        # A redirect is not followed: the headers hold a key, which is for this address alone.
        if connection.status in (200, 201):
            return connection
        try:
            raise await _refusal(connection, call)
        finally:
            self._pool.leave(connection)


def _place(call: HttpCall) -> str:
    """Host and path of a call, without the parts of the address that may be secret."""
    return f"{call.whom} at {_USER.sub('//', call.url.split('?')[0])}"


def _reason(error: Exception) -> str:
    if isinstance(error, NotHttp):
        return "what it sent is not HTTP"
    return str(error) if isinstance(error, Closed | ssl.SSLError) else getattr(error, "strerror", None) or str(error)


async def _refusal(connection: Connection, call: HttpCall) -> ProviderError:
    """The error that a status other than 200 stands for, with the provider's own message, its key masked."""
    body = b""
    with suppress(TimeoutError, NotHttp, OSError):
        async with asyncio.timeout(_ERROR_PATIENCE):
            while len(body) < _ERROR_BODY and (data := await connection.read()):
                body += data
    said, status = complaint(body[:_ERROR_BODY], call.secret), connection.status
    kind = refusal_class(status, said)
    error = kind(f"{_place(call)} answered {status}: {said.message or connection.reason}")
    error.retry_after = _retry_after(connection.headers.get("retry-after"))
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
