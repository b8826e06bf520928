"""One child process of the sandbox, seen from the server. Nothing that it says is believed without a look."""

from __future__ import annotations

import asyncio
import base64
import binascii
import importlib.util
import os
import re
import signal
import struct
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from headrace.engine.ports import Fetch, FetchRequest
from headrace.errors import HeadraceError, Internal, ScriptError
from headrace.installation import remedy

_PROGRAM = str(Path(__file__).with_name("program.py"))
_OUT_OF_MEMORY = 3
_LARGEST_FRAME = 16 * 1024 * 1024  # bytes: reading more would keep the server from everything else
_MOST_QUESTIONS = 10_000  # about time zones, of one script
_DEEPEST = 200  # levels of a result: what encodes it later is recursive
_MOST_VALUES = 200_000  # of a result: reading many small ones costs much more than reading text
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_CONTROLS = bytes(set(range(32)) - set(b"\b\t\n\f\r"))
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_HALF = re.compile(rb"(?<!\\)((?:\\\\)*+)\\u[dD][89a-fA-F][0-9a-fA-F]{2}")

_T = TypeVar("_T")


class ScriptLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a script, and of scripts at once."""

    memory: int = 64 * 1024 * 1024
    """Bytes of the engine's heap."""
    cpu: float = 10.0
    """Seconds of computing."""
    wall: float = 300.0
    """Seconds from start to end, waiting included."""
    output: int = 4 * 1024 * 1024
    """Characters of the result as JSON."""
    console: int = 64 * 1024
    """Characters of console output; what comes after is left out."""
    fetches: int = 8
    """Requests of one script at once; further ones wait."""
    requests: int = 1000
    """Requests of one script in all."""
    children: int = 16
    """Processes, so scripts, at once; further ones wait. Most of their time they wait for services."""
    calls: int = 100
    """Scripts after which a process is replaced."""
    idle: float = 60.0
    """Seconds after which an unused process ends."""


class Outcome(msgspec.Struct, frozen=True):
    """A script's value and printed lines. `value` is UNSET for undefined, None for null."""

    console: Sequence[str] = ()
    value: Any | msgspec.UnsetType = msgspec.UNSET


class _Thrown(msgspec.Struct):
    message: str
    line: int | None = None
    console: list[str] = []


class _Asked(msgspec.Struct):
    id: int
    method: str
    url: str
    headers: list[tuple[str, str]]
    body: str
    timeout: float | None = None


def engine_library() -> str:
    """The engine's file. Raises Internal when the extra is not installed."""
    found = importlib.util.find_spec("_quickjs")
    if found is None or found.origin is None:
        raise Internal(f"JavaScript needs the package quickjs-ng: {remedy('server')}")
    return found.origin


class Child:
    """A process that runs one script at a time. `spent` once it must not be used again."""

    def __init__(self, process: asyncio.subprocess.Process, limits: ScriptLimits) -> None:
        self._process, self._limits = process, limits
        self._calls = 0
        self._ready = True
        self._questions = self._requests = 0
        self._fetching: dict[int, asyncio.Task[None]] = {}
        self._telling = asyncio.Lock()
        assert process.stdin
        assert process.stdout
        self._stdin, self._stdout = process.stdin, process.stdout

    @classmethod
    async def start(cls, limits: ScriptLimits) -> Child:
        """A new process with an empty environment in an empty folder that is gone once it stands in it."""
        limits_text = msgspec.json.encode(limits).decode()
        command = [sys.executable, "-I", "-S", _PROGRAM, engine_library(), str(os.getpid()), limits_text]
        folder = tempfile.mkdtemp(prefix="headrace-")
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                env={},
                cwd=folder,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.rmdir(folder)
        return cls(process, limits)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def spent(self) -> bool:
        """True when it has done its share, is in the middle of something, or is gone."""
        return not self._ready or self._calls >= self._limits.calls or self._stdout.at_eof()

    def kill(self) -> None:
        """Ends it at once."""
        self._ready = False
        with suppress(ProcessLookupError):
            self._process.kill()

    async def gone(self) -> None:
        """Waits for its end."""
        self._stdin.close()
        await self._process.wait()

    async def run(self, code: str, values: Mapping[str, Any], fetch: Fetch | None) -> Outcome:
        """Runs the script and returns its outcome. Raises ScriptError. A script that is stopped spends the process."""
        script = _script_message(code, values)
        self._ready, self._calls, self._questions = False, self._calls + 1, 0
        self._requests = 0
        try:
            async with asyncio.timeout(self._limits.wall):
                await self._send(b"s", script)
                return await self._until_done(fetch)
        except TimeoutError:
            raise _over("wall", f"it took longer than {self._limits.wall:g} seconds") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise await self._death() from None
        finally:
            if not self._ready:
                self.kill()
            await self._stop_fetching()

    async def _until_done(self, fetch: Fetch | None) -> Outcome:
        while True:
            kind, body = await self._frame()
            match kind:
                case b"d":
                    outcome = _outcome(body)
                    self._ready = True
                    return outcome
                case b"x":
                    raise self._thrown(_read(body, _Thrown))
                case b"l":
                    self._ready = True
                    raise _over("output", f"its result has more than {self._limits.output} characters")
                case b"z":
                    await self._tell_offset(*_read(body, tuple[str, float]))
                case b"f":
                    self._begin(fetch, _read(body, _Asked))
                case _:
                    raise _broken()

    def _thrown(self, thrown: _Thrown) -> ScriptError:
        if thrown.message.startswith("InternalError: out of memory"):
            return self._out_of_memory()
        if thrown.message == "null":  # what QuickJS throws when there is no room left for an error
            what = f"null, which is also what comes when its {self._limits.memory} bytes are used up (limit 'memory')"
            return ScriptError(what, thrown.line, thrown.console)
        self._ready = True
        return ScriptError(thrown.message, thrown.line, thrown.console)

    def _out_of_memory(self) -> ScriptError:
        return _over("memory", f"it needs more than {self._limits.memory} bytes")

    def _begin(self, fetch: Fetch | None, asked: _Asked) -> None:
        # Twice the limit: the child may ask for the next one before our task has quite ended.
        if asked.id in self._fetching or len(self._fetching) > 2 * self._limits.fetches:
            raise _broken()
        self._requests += 1
        if self._requests > self._limits.requests:
            raise _over("requests", f"it makes more than {self._limits.requests} requests")
        self._fetching[asked.id] = asyncio.create_task(self._fetch(fetch, asked), name="a script's fetch")

    async def _fetch(self, fetch: Fetch | None, asked: _Asked) -> None:
        """Answers one fetch. An error outside our exception tree ends the script."""
        try:
            reply = await _reply(fetch, asked)
            async with self._telling:  # several at once would all wait in memory until the child reads them
                await self._send(b"r", msgspec.json.encode({"id": asked.id, **reply}))
            del self._fetching[asked.id]
        except asyncio.CancelledError:  # the script has ended without waiting for this
            raise
        except BaseException:
            self.kill()
            raise

    async def _stop_fetching(self) -> None:
        tasks = list(self._fetching.values())
        self._fetching.clear()
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                raise result

    async def _tell_offset(self, name: str, moment: float) -> None:
        self._questions += 1
        if self._questions > _MOST_QUESTIONS:
            raise _over("zones", f"it asks for more than {_MOST_QUESTIONS} moments in time zones")
        await self._send(b"z", msgspec.json.encode(_offset(name[:64], moment)))

    async def _send(self, kind: bytes, body: bytes) -> None:
        self._stdin.write(struct.pack(">I", len(body) + 1) + kind)
        self._stdin.write(body)  # by itself: it may be large, and joined with its head it would be there twice
        await self._stdin.drain()

    async def _frame(self) -> tuple[bytes, bytes]:
        (size,) = struct.unpack(">I", await self._stdout.readexactly(4))
        if not 0 < size <= _LARGEST_FRAME:
            raise _over("output", "it sends more than fits")
        frame = await self._stdout.readexactly(size)
        return frame[:1], frame[1:]

    async def _death(self) -> ScriptError:
        status = await self._process.wait()
        if status == _OUT_OF_MEMORY:
            return self._out_of_memory()
        if status == -signal.SIGPROF:
            return _over("cpu", f"it computed for more than {self._limits.cpu:g} seconds")
        cause = f"signal {-status}" if status < 0 else f"status {status}"
        return ScriptError(f"the process that ran the script ended by itself ({cause})")


def _script_message(code: str, values: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode({"code": code, "values": values})
    except (UnicodeEncodeError, TypeError, RecursionError) as error:
        raise ScriptError(f"what is given to the script is not JSON: {error}") from None


def _over(limit: str, what: str) -> ScriptError:
    return ScriptError(f"the script was stopped: {what} (limit {limit!r})")


def _broken() -> ScriptError:
    return ScriptError("the script was stopped: its process sent what it must not")


def _read(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(_without_halves(body), type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise _broken() from None


def _without_halves(body: bytes) -> bytes:
    """Half a surrogate pair, which a script's text may hold and ours must not, becomes the replacement character."""
    return _HALF.sub(rb"\1\\ufffd", body) if b"\\ud" in body else body


def _outcome(body: bytes) -> Outcome:
    _check_shape(body)
    try:
        return msgspec.json.decode(_without_halves(body), type=Outcome)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _broken() from None


def _check_shape(body: bytes) -> None:
    """Raises ScriptError for JSON that holds too many values, or too many inside each other."""
    signs = _TEXT.sub(b"", body)
    brackets = signs.translate(_BRACKETS, _NO_BRACKETS)
    if signs.count(b",") + len(brackets) // 2 > _MOST_VALUES:
        raise ScriptError(f"the result holds more than {_MOST_VALUES} values")
    for _ in range(_DEEPEST + 1):  # one level is the frame's own
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise ScriptError(f"the result is nested deeper than {_DEEPEST} levels")


async def _reply(fetch: Fetch | None, asked: _Asked) -> dict[str, Any]:
    if fetch is None:
        return {"error": "fetch is not available to this script"}
    try:
        body = base64.b64decode(asked.body, validate=True)
        reply = await fetch(FetchRequest(asked.method, asked.url, tuple(asked.headers), body, asked.timeout))
    except binascii.Error:
        raise _broken() from None
    except HeadraceError as error:
        return {"error": str(error)}
    told = {"status": reply.status, "headers": reply.headers, "url": reply.url}
    controls = len(reply.body) - len(reply.body.translate(None, _CONTROLS))
    try:
        if controls * 6 < len(reply.body):  # as text each would take six times its room
            return {**told, "text": reply.body.decode()}
    except UnicodeDecodeError:
        pass
    return {**told, "base64": base64.b64encode(reply.body).decode()}


@lru_cache(1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def _offset(name: str, moment: float) -> str:
    """Seconds that a zone is ahead of UTC at a moment; "" for no such zone."""
    zone = _zone(name)
    try:
        offset = datetime.fromtimestamp(moment, UTC).astimezone(zone).utcoffset() if zone else None
    except (ValueError, OverflowError, OSError):  # a year that Python does not know
        return "0"
    return "" if offset is None else f"{offset.total_seconds():g}"
