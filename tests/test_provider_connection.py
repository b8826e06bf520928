"""Providers' HTTP below the protocols of models: what counts as an answer, and what ends it."""

import asyncio
import contextlib
import gzip
import socket
import ssl
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace.engine.ports import HttpCall
from headrace.errors import ProviderCut, ProviderError, ProviderRefused, ProviderUnavailable
from headrace.providers.http import ProviderHttp, ProviderLimits
from headrace.server.tls import certificate
from headrace.settings import Settings

ONCE = ProviderLimits(attempts=1, read=10)
SAID = b"what the model says, " * 50
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    serving = set[asyncio.Task[None]]()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            serving.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                await serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=context)
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1?q=1"
    finally:
        server.close()
        await asyncio.wait(serving or [asyncio.create_task(server.wait_closed())], timeout=1)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def saying(*pieces: bytes) -> Serve:
    """Each piece is on its own way when the next one is sent; then the connection is closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return serve


async def read(http: ProviderHttp, url: str, *, pushed: bool) -> bytes:
    body = await http.send(HttpCall(url, {"X-Key": "k"}, b"{}"))
    got: list[bytes] = []
    try:
        if pushed:

            def take(data: bytes) -> bool:
                got.append(data)
                return True

            await body.push(take)
            assert got.pop() == b""
        else:
            while data := await body.read():
                got.append(data)
    finally:
        body.close()
    return b"".join(got)


def answer_to(serve: Serve, *, pushed: bool = False) -> bytes:
    async def run() -> bytes:
        http = ProviderHttp(ONCE)
        try:
            async with asyncio.timeout(20), served(serve) as url:
                return await read(http, url, pushed=pushed)
        finally:
            await http.close()

    return asyncio.run(run())


def chunked(data: bytes, size: int = 7) -> bytes:
    pieces = [data[first : first + size] for first in range(0, len(data), size)]
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n"


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def packed(coding: str, data: bytes) -> bytes:
    return OK + f"Content-Encoding: {coding}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


ANSWERS = {
    "a length": OK + b"Content-Length: %d\r\n\r\n%b" % (len(SAID), SAID),
    "the connection's end": OK + b"\r\n" + SAID,
    "an older protocol": b"HTTP/1.0 200 OK\r\n\r\n" + SAID,
    "chunks with extensions": CHUNKS + chunked(SAID) + b"\r\n",
    "trailers": CHUNKS + chunked(SAID) + b"X-Sum: 1\r\nX-More: 2\r\n\r\n",
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 50
    + b"HTTP/1.1 103 Hint\r\nA: b\r\n\r\n"
    + OK
    + b"\r\n"
    + SAID,
    "spaces behind a size": CHUNKS + b"%x  \r\n%b\r\n0\r\n\r\n" % (len(SAID), SAID),
    "gzip": packed("gzip", gzip.compress(SAID)),
    "zlib": packed("deflate", zlib.compress(SAID)),
    "zlib without a head": packed("deflate", deflated(SAID)),
    "created": b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(SAID), SAID),
}


@pytest.mark.parametrize("pushed", [False, True], ids=["read", "pushed"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_whole_however_it_is_framed_and_cut(answer: bytes, pushed: bool) -> None:
    assert answer_to(saying(answer), pushed=pushed) == SAID
    assert answer_to(saying(*[answer[at : at + 3] for at in range(0, len(answer), 3)]), pushed=pushed) == SAID


NO_ANSWERS = {
    "another protocol": (b"SSH-2.0-x\r\n\r\n", ProviderUnavailable),
    "an upgrade": (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", ProviderUnavailable),
    "interim answers without end": (b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n" * 20_000, ProviderUnavailable),
    "a header without end": (OK + b"A: " + b"x" * 1_000_000, ProviderUnavailable),
    "headers without end": (OK + b"A: b\r\n" * 100_000, ProviderUnavailable),
    "an unknown packing": (OK + b"Content-Encoding: br\r\n\r\nxx", ProviderUnavailable),
    "a redirect": (b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", ProviderRefused),
    "nothing": (b"", ProviderUnavailable),
}
CUTS = {
    "half a length": OK + b"Content-Length: 100\r\n\r\nhalf",
    "half of the chunks": CHUNKS + b"5\r\nhello\r\n",
    "a bad size": CHUNKS + b"5\r\nhello\r\nzz\r\nx\r\n",
    "a size beyond all": CHUNKS + b"5\r\nhello\r\nffffffffffffffffff\r\nx",
    "broken gzip": packed("gzip", gzip.compress(SAID)[:40] + b"\xff" * 20),
    "half of gzip": packed("gzip", gzip.compress(SAID)[:40]),
    "trailers without end": CHUNKS + b"5\r\nhello\r\n0\r\n" + b"A: b\r\n" * 100_000,
}


@pytest.mark.parametrize(("answer", "kind"), NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_no_answer_is_named_as_none(answer: bytes, kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        answer_to(saying(answer))


@pytest.mark.parametrize("pushed", [False, True], ids=["read", "pushed"])
@pytest.mark.parametrize("answer", CUTS.values(), ids=CUTS)
def test_an_answer_that_breaks_is_cut(answer: bytes, pushed: bool) -> None:
    with pytest.raises(ProviderCut):
        answer_to(saying(answer), pushed=pushed)


def test_what_takes_an_answer_may_fail_or_have_enough() -> None:
    async def run() -> None:
        http = ProviderHttp(ONCE)
        async with asyncio.timeout(20), served(saying(CHUNKS, *[b"1\r\nx\r\n"] * 50)) as url:
            body = await http.send(HttpCall(url, {}))
            await body.push(lambda data: False)
            with pytest.raises(ZeroDivisionError):
                await body.push(lambda data: bool(1 / 0))
            body.close()
        await http.close()

    asyncio.run(run())


def test_a_reason_that_is_no_text_makes_an_error_that_can_be_stored() -> None:
    with pytest.raises(ProviderError) as caught:
        answer_to(saying(b"HTTP/1.1 400 Caf\xe9\r\nContent-Length: 0\r\n\r\n"))
    assert "Caf\ufffd" in str(caught.value)


def test_a_connection_that_was_closed_while_idle_costs_no_attempt() -> None:
    """The second call goes out on it, or finds it gone: either way another one is opened at once."""
    asked: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        asked.append(1)
        writer.write(OK + b"Content-Length: 2\r\n\r\nok")
        await writer.drain()
        await reader.read(1)  # and not a word to the next call

    async def run() -> list[bytes]:
        http = ProviderHttp(ONCE)
        try:
            async with asyncio.timeout(20), served(serve) as url:
                return [await read(http, url, pushed=False) for _ in range(3)]
        finally:
            await http.close()

    assert asyncio.run(run()) == [b"ok"] * 3


@pytest.mark.parametrize("pushed", [False, True], ids=["read", "pushed"])
def test_a_connection_that_brought_more_than_fits_is_used_again(pushed: bool) -> None:
    long, ports = b"x" * 3_000_000, set[int]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            await reader.readuntil(b"{}")
            ports.add(writer.get_extra_info("peername")[1])
            writer.write(OK + b"Content-Length: %d\r\n\r\n%b" % (len(long), long))
            await writer.drain()

    async def run() -> list[bytes]:
        http = ProviderHttp(ONCE)
        try:
            async with asyncio.timeout(20), served(serve) as url:
                return [await read(http, url, pushed=pushed) for _ in range(3)]
        finally:
            await http.close()

    assert asyncio.run(run()) == [long] * 3
    assert len(ports) == 1


def test_another_address_is_tried_while_the_first_one_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> bytes:
        http = ProviderHttp(ONCE)
        with socket.socket(socket.AF_INET6) as deaf, socket.socket(socket.AF_INET6) as filling:
            deaf.bind(("::1", 0))
            deaf.listen(0)
            filling.setblocking(False)
            filling.connect_ex(deaf.getsockname())
            async with asyncio.timeout(20), served(saying(OK + b"\r\nfine")) as url:
                port = int(url.rpartition(":")[2].partition("/")[0])
                loop = asyncio.get_running_loop()

                async def addresses(*_: object, **__: object) -> list[object]:
                    stream = (socket.SOCK_STREAM, 6, "")
                    return [
                        (socket.AF_INET6, *stream, deaf.getsockname()),
                        (socket.AF_INET, *stream, ("127.0.0.1", port)),
                    ]

                monkeypatch.setattr(loop, "getaddrinfo", addresses)
                try:
                    return await read(http, f"http://two.example:{port}/", pushed=False)
                finally:
                    await http.close()

    assert asyncio.run(run()) == b"fine"


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    made = certificate(Settings(data_dir=str(tmp_path), tls_self_signed=True))
    assert made
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.cert, made.key)

    async def run() -> None:
        http = ProviderHttp(ONCE)
        try:
            async with asyncio.timeout(20), served(saying(OK + b"\r\nfine"), context) as url:
                await read(http, url, pushed=False)
        finally:
            await http.close()

    with pytest.raises(ProviderUnavailable, match="certificate"):
        asyncio.run(run())


def test_the_credentials_of_an_address_are_sent_as_such() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK + b"Content-Length: 0\r\n\r\n")

    async def run() -> None:
        http = ProviderHttp(ONCE)
        async with asyncio.timeout(20), served(serve) as url:
            assert await read(http, url.replace("http://", "http://me:pass@"), pushed=False) == b""
        await http.close()

    asyncio.run(run())
    assert b"authorization: Basic bWU6cGFzcw==\r\n" in heads[0]
    assert b"@" not in heads[0]
