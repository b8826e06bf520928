"""Several processes on one port: started, kept alive and stopped. They share the data folder and nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from headrace.settings import Settings, variable
from headrace.storage.storage import Storage

_logger = logging.getLogger("headrace.workers")
_PIPES: Any = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
_PAUSE = 0.5  # seconds before a worker that ended is started again
_MARGIN = 10.0  # seconds beyond the grace time before a worker is killed


def stopped(*, with_parent: bool = False) -> asyncio.Event:
    """Set by SIGINT and SIGTERM, and for a worker when the process that started it is gone."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, event.set)
    if with_parent:  # the other end of standard input is the parent's, and nobody writes to it

        def gone() -> None:
            loop.remove_reader(sys.stdin)
            event.set()

        loop.add_reader(sys.stdin, gone)
    return event


async def supervise(settings: Settings, prepare: Callable[[Storage], Awaitable[str]]) -> None:
    """Runs `settings.workers` processes until SIGINT or SIGTERM."""
    stop = stopped()
    storage = await asyncio.to_thread(Storage, settings.folder, settings.database_url, settings.secret_key)
    try:
        welcome = await prepare(storage)
    finally:
        await asyncio.to_thread(storage.close)
    ready = asyncio.Semaphore(0)
    workers = [asyncio.create_task(_keep(settings, ready, stop)) for _ in range(settings.workers)]
    for _ in workers:
        await ready.acquire()
    sys.stdout.write(welcome)
    sys.stdout.flush()
    await asyncio.gather(*workers)


async def _keep(settings: Settings, ready: asyncio.Semaphore, stop: asyncio.Event) -> None:
    """Keeps one worker alive until the end."""
    while not stop.is_set():
        process = await _start(settings)
        ready.release()
        ended, ending = asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())
        await asyncio.wait([ended, ending], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if stop.is_set():
            await _end(process, settings.shutdown_grace)
            return
        _logger.error("worker %d ended with status %s; starting another one", process.pid, process.returncode)
        await asyncio.sleep(_PAUSE)


async def _start(settings: Settings) -> asyncio.subprocess.Process:
    """A worker that takes requests."""
    given = {variable(name): str(getattr(settings, name)) for name in Settings.__struct_fields__}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "headrace",
        "serve",
        "--worker",
        env={**os.environ, **given},
        **_PIPES,
    )
    assert process.stdout
    await process.stdout.readline()
    return process


async def _end(process: asyncio.subprocess.Process, grace: float) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), grace + _MARGIN)
    except TimeoutError:
        process.kill()
        await process.wait()
