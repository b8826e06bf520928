"""Much of everything: many short streams, many readers that do not read, many runs at the stop.

`pytest -m soak` runs the long versions; the ordinary run has a part of each.
"""

import asyncio
import contextlib
import json
import os
import socket
import sqlite3
from collections.abc import Generator
from pathlib import Path

import aiohttp
import pytest
from servers import Server, conversation, serving
from test_resume import frames
from upstream import Upstream

MB = 1024 * 1024
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")


def only_with_soak(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("markexpr"):
        pytest.skip("the whole of it runs with -m soak")


def memory(server: Server) -> int:
    """Bytes of the server that are in memory."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _short_streams(server: Server, flow: str, count: int, at_once: int = 20) -> None:
    """So many streams, each read to its end."""
    left = iter(range(count))

    async def reader(session: aiohttp.ClientSession) -> None:
        for n in left:
            body = {"question": f"/count 5 | /burst | /finish s{n}", "streaming": True, "onDisconnect": "cancel"}
            async with session.post(f"/api/v1/prediction/{flow}", json=body) as response:
                assert (await response.read()).endswith(b'"event":"end","data":"[DONE]"}\n\n')

    async with aiohttp.ClientSession(server.url) as session, asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(reader(session))


@pytest.mark.parametrize(
    ("first", "rest"), [(500, 1000), pytest.param(2000, 18000, marks=pytest.mark.soak)], ids=["part", "whole"]
)
def test_many_short_streams_leave_nothing_in_memory(
    tmp_path: Path, upstream: Upstream, first: int, rest: int, request: pytest.FixtureRequest
) -> None:
    if rest > 2000:
        only_with_soak(request)
    with serving(tmp_path / "data") as server:
        flow = server.create_flow(conversation(upstream.url))

        async def streams(count: int) -> None:
            async with asyncio.timeout(600):
                await _short_streams(server, flow, count)
                upstream.requests.clear()

        asyncio.run(streams(first))
        before = memory(server)
        asyncio.run(streams(rest))
        assert memory(server) < before * 1.1 + 4 * MB
        assert server.stop() == 0
        assert _states(server) == {"finished": first + rest}


def _states(server: Server) -> dict[str, int]:
    """How many runs the database has in each state; it has no damage."""
    with contextlib.closing(sqlite3.connect(server.folder / "headrace.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return dict(database.execute("SELECT state, count(*) FROM run GROUP BY state").fetchall())


@contextlib.contextmanager
def unread(server: Server, flow: str, count: int, *, background: bool) -> Generator[None]:
    """Callers that ask and never read; in the background there is only a short answer, which stays unread."""
    body = json.dumps({"question": "Tell me a lot", "streaming": True, "background": background}).encode()
    head = f"POST /api/v1/prediction/{flow} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", server.port))
            reader.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        yield


class Talker:
    """A model that says a lot, whatever it is asked: pieces of 4 kB, twenty a second."""

    def __init__(self, pieces: int) -> None:
        chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": "x" * 4096}}]})
        self._chunk, self._pieces, self.finished = f"data: {chunk}\n\n".encode(), pieces, 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        due = asyncio.get_running_loop().time()
        for _ in range(self._pieces):
            writer.write(self._chunk)
            await writer.drain()
            due += 0.05
            await asyncio.sleep(due - asyncio.get_running_loop().time())
        writer.write(b"data: [DONE]\n\n")
        self.finished += 1
        writer.close()


async def _two_hundred_runs(server: Server, flow: str, pieces: int, *, silent: bool) -> int:
    """The server's largest size during such runs, which have silent readers, or none; streams beside them are whole."""
    talker = Talker(pieces)
    question = {"question": "/count 100 | /pace 10", "streaming": True}
    model = await asyncio.start_server(talker.answer, "127.0.0.1", 0, backlog=500)
    url = f"http://127.0.0.1:{model.sockets[0].getsockname()[1]}/v1"
    long = await asyncio.to_thread(server.create_flow, conversation(url))
    most = memory(server)
    async with model, aiohttp.ClientSession(server.url) as session, asyncio.timeout(300):
        with unread(server, long, 200, background=not silent):
            while talker.finished < 200:
                async with session.post(f"/api/v1/prediction/{flow}", json=question) as response:
                    assert len(frames(await response.read())) == 103
                most = max(most, memory(server))
    return most


@pytest.mark.parametrize("pieces", [80, pytest.param(300, marks=pytest.mark.soak)], ids=["part", "whole"])
def test_readers_that_never_read_cost_little_memory_and_disturb_nobody(
    tmp_path: Path, upstream: Upstream, pieces: int, request: pytest.FixtureRequest
) -> None:
    """The runs themselves need memory for their answers, so they are compared with runs that nobody reads.

    These go first and twice, since the size of a heap after the first of such rounds is up to 60 MB short of what
    later rounds of the same kind take.
    """
    if pieces > 80:
        only_with_soak(request)
    with serving(tmp_path / "data", HEADRACE_SLOW_READER_TIMEOUT="2") as server:
        flow = server.create_flow(conversation(upstream.url))
        alone = max(asyncio.run(_two_hundred_runs(server, flow, pieces, silent=False)) for _ in range(2))
        with_readers = asyncio.run(_two_hundred_runs(server, flow, pieces, silent=True))
        assert with_readers - alone < 50 * MB
        assert server.stop() == 0
        assert "failed" not in _states(server)


def test_fifty_running_streams_each_get_their_ending_when_the_server_stops(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data", HEADRACE_SHUTDOWN_GRACE="0.5") as server:
        flow = server.create_flow(conversation(upstream.url))

        async def read(session: aiohttp.ClientSession, begun: asyncio.Semaphore) -> tuple[str, bytes]:
            body = {"question": "/count 2000 | /pace 20", "streaming": True}
            async with session.post(f"/api/v1/prediction/{flow}", json=body) as response:
                got = await response.content.readuntil(b'"event":"token"')
                begun.release()
                return response.headers["X-Run-Id"], got + await response.read()

        async def everything() -> list[tuple[str, bytes]]:
            begun = asyncio.Semaphore(0)
            async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=0)) as session:
                async with asyncio.timeout(30):
                    readers = [asyncio.create_task(read(session, begun)) for _ in range(50)]
                    for _ in readers:
                        await begun.acquire()
                    server.process.terminate()
                    return await asyncio.gather(*readers)

        bodies = dict(asyncio.run(everything()))
        assert server.process.wait(10) == 0
        assert _states(server) == {"failed": 50}
    for body in bodies.values():
        error, end = (json.loads(frame.split(b"data:", 1)[1]) for frame in frames(body)[-2:])
        assert (error["event"], error["code"], error["retryable"]) == ("error", "interrupted", True)
        assert end["event"] == "end"
    with serving(tmp_path / "data") as server:
        for run, body in bodies.items():
            assert frames(server.send("GET", f"/api/v1/runs/{run}/events").body) == frames(body)
