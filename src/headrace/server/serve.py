"""Runs the server: opens the data folder, listens, and on a signal lets the runs end before it goes."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.server.embed import Server

from headrace.assembly import opened
from headrace.brand.look import read_brand
from headrace.errors import InvalidRequest
from headrace.server import logs
from headrace.server.admission import Admission
from headrace.server.app import create_app
from headrace.server.brand import Look
from headrace.server.connections import Connections
from headrace.server.http1 import BUFFER, Http1Server
from headrace.server.workers import stopped, supervise
from headrace.settings import Settings
from headrace.storage.storage import Storage

if TYPE_CHECKING:
    from headrace.server.tls import Certificate

_CONNECTIONS = 4096  # at once; over HTTP/2, so many streams in one of them
_PING_EVERY, _PING_PATIENCE = 30_000, 20_000  # milliseconds, over HTTP/2
_MMAP_THRESHOLD, _LARGE = -3, 1024 * 1024  # its number in malloc.h, and bytes
_CLOSING = 5.0  # seconds that ended streams get to reach their readers


def run(
    settings: Settings,
    prepare: Callable[[Storage], Awaitable[str]],
    certificate: Certificate | None = None,
    *,
    one_of_several: bool = False,
) -> None:
    """Serves until SIGINT or SIGTERM. `prepare` works on the store before the first request is taken; what it returns
    is printed once requests are. With a certificate it serves HTTPS.

    With several workers, each is a process of its own on the same port; `one_of_several` is such a process. Raises
    InvalidRequest when the address is taken, StorageError when the data folder cannot be used.
    """
    look = read_brand(settings.brand, settings.folder)
    loop_factory = None
    if sys.platform != "win32":
        import uvloop

        loop_factory = uvloop.new_event_loop
        _allow_many_sockets()
        _give_memory_back()
    if not one_of_several:
        _check_address(settings.host, settings.port)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        if settings.workers > 1 and not one_of_several:
            logs.install(settings.log)
            runner.run(supervise(settings, prepare))
        else:
            runner.run(_serve(settings, prepare, look, certificate, stops_with_parent=one_of_several))


async def _serve(
    settings: Settings,
    prepare: Callable[[Storage], Awaitable[str]],
    look: Look,
    certificate: Certificate | None,
    *,
    stops_with_parent: bool = False,
) -> None:
    stop = stopped(with_parent=stops_with_parent)
    async with opened(settings) as here:
        welcome = await prepare(here.storage)
        admission = create_app(settings, here, look)
        server = _listener(admission, settings, certificate)
        logs.install(settings.log)  # the server below has set up logging in its own way
        serving = asyncio.create_task(server.serve())
        watching = [
            asyncio.create_task(admission.outgoing.cut_slow_readers()),
            asyncio.create_task(Connections(settings, admission, _CONNECTIONS).watch()),
        ]
        async with here.working(heartbeat=settings.heartbeat, grace=settings.shutdown_grace):
            await _listening(settings, serving)
            sys.stdout.write(welcome)
            sys.stdout.flush()
            # What was imported and made up to here stays: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 20)  # tokens leave no cycles behind; looking for some at every 700th costs 5 %
            await asyncio.wait([serving, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        for task in watching:
            task.cancel()
        server.stop()
        with suppress(TimeoutError):  # a reader that does not read must not keep the server
            await asyncio.wait_for(serving, _CLOSING)


def _listener(app: Admission, settings: Settings, certificate: Certificate | None) -> Server | Http1Server:
    """Plain HTTP/1.1 is served in the loop, where a token costs less; TLS, and HTTP/2 over it, by granian."""
    if certificate is None:
        return Http1Server(
            app,
            address=settings.host,
            port=settings.port,
            backlog=_CONNECTIONS,
            connections=_CONNECTIONS,
            header_timeout=settings.header_timeout,
        )
    return Server(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.auto,
        websockets=False,
        backlog=_CONNECTIONS,  # granian's limit of connections at once follows from it
        log_level=LogLevels.error,
        http1_settings=HTTP1Settings(header_read_timeout=int(settings.header_timeout * 1000), max_buffer_size=BUFFER),
        http2_settings=HTTP2Settings(
            max_concurrent_streams=min(_CONNECTIONS, settings.connections_per_address),
            max_headers_size=BUFFER,
            max_send_buffer_size=BUFFER,
            keep_alive_interval=_PING_EVERY,
            keep_alive_timeout=_PING_PATIENCE,
        ),
        ssl_cert=certificate.cert,
        ssl_key=certificate.key,
        ssl_protocol_min=SSLProtocols.tls12,
    )


def _check_address(host: str, port: int) -> None:
    """Granian shares a port with another server without a word (SO_REUSEPORT), so ask for it alone first."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InvalidRequest(
                f"cannot listen on {host}:{port} ({error.strerror}): stop what uses it, or choose another --port"
            ) from None


async def _listening(settings: Settings, serving: asyncio.Task[None]) -> None:
    """Waits until connections are taken. Raises what made the server end instead."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 compared, not bound
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(host, settings.port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return
    await serving


def _give_memory_back() -> None:
    """Has the C library return large pieces of memory when they are freed: it would keep them, and fragment."""
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def _allow_many_sockets() -> None:
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
