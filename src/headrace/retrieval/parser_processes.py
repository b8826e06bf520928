"""Parses what visitors and other servers send in child processes, bounded in memory, time and results.

A process ends with whoever waits for it, and with the server. What it says is not believed without a look.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import struct
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import GenericAlias
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from headrace.errors import FlowError
from headrace.retrieval.parser_program import OUT_OF_MEMORY, Job
from headrace.sandbox.pool import Pool

_T = TypeVar("_T")
_PROGRAM: Final = str(Path(__file__).with_name("parser_program.py"))
_LARGEST_FRAME: Final = 256 << 20  # bytes; a result is at most one long text of a file
_MEMORY: Final = 1 << 30  # bytes of address space of a process
_MOST: Final = 16  # processes at once
_COMPUTING: Final = max(2, os.cpu_count() or 2)  # of which so many compute; others wait until their results are taken
_JOBS: Final = 100  # after which a process is replaced
_DIVIDE: Final = ": divide it into several files"
_IDLE: Final = 60.0  # seconds after which an unused process ends


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds on reading one file or page."""

    cpu: float = 120.0
    """Seconds of computing."""
    wall: float = 600.0
    """Seconds in which it is waited for, without those in which its results are used."""
    output: int = 512 << 20
    """Bytes of its results."""


DOCUMENT: Final = Bounds()
"""Of a file that is upserted."""
ATTACHMENT: Final = Bounds(cpu=20.0, wall=60.0, output=16 << 20)
"""Of a file or page that is read while somebody waits, and whose text a model is to read."""


_NARROWEST: ContextVar[Bounds | None] = ContextVar("bounds", default=None)


@contextmanager
def bounded(bounds: Bounds) -> Generator[None]:
    """Narrows the bounds of everything that this task reads inside the block."""
    before = _NARROWEST.set(bounds)
    try:
        yield
    finally:
        _NARROWEST.reset(before)


def _narrowed(bounds: Bounds) -> Bounds:
    most = _NARROWEST.get() or bounds
    return Bounds(
        cpu=min(bounds.cpu, most.cpu), wall=min(bounds.wall, most.wall), output=min(bounds.output, most.output)
    )


class ParserProcess:
    """A process that does one job at a time. `spent` once it must not be used again."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        self._ready, self._jobs = True, 0

    @classmethod
    async def start(cls) -> ParserProcess:
        """A new process."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-B", _PROGRAM, str(os.getpid()), str(_MEMORY), json.dumps(sys.path)),
            env={},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def spent(self) -> bool:
        """True when it has done its share, is in the middle of a job, or is gone."""
        return not self._ready or self._jobs >= _JOBS or self._stdout.at_eof()

    def kill(self) -> None:
        """Ends it at once."""
        self._ready = False
        with suppress(ProcessLookupError):
            self._process.kill()

    async def gone(self) -> None:
        """Waits for its end."""
        self._stdin.close()
        await self._process.wait()

    async def run(self, job: bytes, bounds: Bounds, computing: asyncio.Semaphore) -> AsyncGenerator[bytes]:
        """Results, some at a time, as JSON lists. Raises FlowError and OSError. It is spent unless the job ends."""
        self._ready, self._jobs = False, self._jobs + 1
        left, clock = bounds.wall, asyncio.get_running_loop().time
        size = 0
        while True:
            async with computing:
                begun = clock()
                kind, body = await self._answer(job, left, bounds)
                job, left = b"", left - (clock() - begun)
            size += len(body)
            match kind:
                case b"i" if size <= bounds.output:
                    yield body
                case b"i":
                    raise FlowError(f"its text has more than {bounds.output >> 20} MiB{_DIVIDE}")
                case b"d":
                    self._ready = True
                    return
                case b"f":
                    self._ready = True
                    raise FlowError(body.decode("utf-8", "replace"))
                case b"o":
                    self._ready = True
                    raise OSError(0, body.decode("utf-8", "replace"))
                case _:
                    raise FlowError(f"it is damaged: {body[:500].decode('utf-8', 'replace')}")

    async def _answer(self, job: bytes, seconds: float, bounds: Bounds) -> tuple[bytes, bytes]:
        """The next frame, once the job has been sent."""
        try:
            async with asyncio.timeout(seconds):
                if job:
                    self._stdin.write(struct.pack(">I", len(job)))
                    self._stdin.write(job)  # it may be large: joined with its head it would be there twice
                    await self._stdin.drain()
                (size,) = struct.unpack(">I", await self._stdout.readexactly(4))
                if not 0 < size <= _LARGEST_FRAME:
                    raise FlowError(f"one of its texts is too long{_DIVIDE}")
                frame = await self._stdout.readexactly(size)
                return frame[:1], frame[1:]
        except TimeoutError:
            raise FlowError(f"reading it takes more than {bounds.wall:g} seconds{_DIVIDE}") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise FlowError(_death(await self._process.wait(), bounds)) from None


def _death(status: int, bounds: Bounds) -> str:
    if status == OUT_OF_MEMORY:
        return f"reading it needs more than {_MEMORY >> 20} MiB of memory{_DIVIDE}"
    if status == -signal.SIGPROF:
        return f"reading it takes more than {bounds.cpu:g} seconds of computing{_DIVIDE}"
    return f"it is damaged: its parser ended with status {status}"


class ParserPool:
    """The processes of one event loop, and how many of them compute at once."""

    def __init__(self) -> None:
        self.pool = Pool(ParserProcess.start, _MOST, _IDLE)
        self.computing = asyncio.Semaphore(_COMPUTING)


_OF: WeakKeyDictionary[asyncio.AbstractEventLoop, ParserPool] = WeakKeyDictionary()


@asynccontextmanager
async def kept_warm() -> AsyncGenerator[ParserPool]:
    """Keeps processes for what this event loop reads. Without, each job has a process that ends with it."""
    loop, readers = asyncio.get_running_loop(), ParserPool()
    _OF[loop] = readers
    try:
        yield readers
    finally:
        _OF.pop(loop, None)
        await readers.pool.close()


@asynccontextmanager
async def _pool() -> AsyncGenerator[ParserPool]:
    if warm := _OF.get(asyncio.get_running_loop()):
        yield warm
    else:
        alone = ParserPool()
        try:
            yield alone
        finally:
            await alone.pool.close()


async def results(work: Callable[[], Iterator[_T]], kind: type[_T], bounds: Bounds = DOCUMENT) -> AsyncGenerator[_T]:
    """Runs `work`, which can be pickled, in a child process. Raises FlowError. Leaving it ends the process."""
    bounds = _narrowed(bounds)
    job = pickle.dumps(Job(work, bounds.cpu))
    decoder: msgspec.json.Decoder[list[_T]] = msgspec.json.Decoder(GenericAlias(list, (kind,)))
    async with _pool() as readers, readers.pool.taken() as reader:
        answers = reader.run(job, bounds, readers.computing)
        try:
            async for body in answers:
                for result in decoder.decode(body):
                    yield result
        except (msgspec.MsgspecError, RecursionError) as error:
            raise FlowError(f"it is damaged: {error}") from None
        finally:
            await answers.aclose()


async def result(work: Callable[[], Iterator[_T]], kind: type[_T], bounds: Bounds = ATTACHMENT) -> _T:
    """The one result of a job. Raises FlowError."""
    found = [one async for one in results(work, kind, bounds)]
    return found[0]
