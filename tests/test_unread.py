"""Readers that take nothing, of whatever the server sends: they are cut in time, and what waits for them is bounded."""

import base64
import contextlib
import json
import select
import socket
from collections.abc import Generator
from pathlib import Path

import pytest
from servers import KEY, Server, conversation, flow, node, serving
from test_soak import memory
from upstream import Upstream
from waiting import eventually

MB = 1024 * 1024
ESTABLISHED = "01"  # in /proc/net/tcp
LARGE = 4 * MB
READERS = 60

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="connections are looked at in /proc")


def function(code: str) -> dict[str, object]:
    return flow(node("customFunction", "Utilities", javascriptFunction=code, output="EndingNode"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    settings = {"HEADRACE_SLOW_READER_TIMEOUT": "3", "HEADRACE_MAX_IMAGE_MB": "20"}
    with serving(tmp_path_factory.mktemp("unread") / "data", **settings) as server:
        yield server


@pytest.fixture(scope="module")
def paths(server: Server, endpoint: Upstream) -> dict[str, str]:
    """Addresses of large answers of every kind. A run's `metadata` repeats the question, a message keeps it."""
    flow_id = server.create_flow(function("return 'x'"))
    body = {"question": "q" * LARGE, "chatId": "c", "background": True}
    run = server.send("POST", f"/api/v1/prediction/{flow_id}", body).json["id"]
    eventually(lambda: server.send("GET", f"/api/v1/runs/{run}").json["state"] == "finished")
    picture = f"data:image/png;base64,{base64.b64encode(bytes(LARGE)).decode()}"
    upload = {"type": "file", "name": "a.png", "mime": "image/png", "data": picture}
    seeing = server.create_flow(conversation(endpoint.url, model={"allowImageUploads": True}))
    assert server.ask(seeing, "look", chatId="c", uploads=[upload]).status == 200
    return {
        "events": f"/api/v1/runs/{run}/events",
        "named": f"/api/v1/runs/{run}/events?format=named",
        "timed": f"/api/v1/runs/{run}/events?times=true",
        "messages": f"/api/v1/chatmessage/{flow_id}",
        "file": f"/api/v1/get-upload-file?chatflowId={seeing}&chatId=c&fileName=a.png",
    }


@contextlib.contextmanager
def unread(server: Server, request: bytes, count: int) -> Generator[list[socket.socket]]:
    """Callers that ask and never read."""
    with contextlib.ExitStack() as stack:
        readers: list[socket.socket] = []
        for _ in range(count):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", server.port))
            reader.settimeout(20)
            reader.sendall(request)
            assert reader.recv(1, socket.MSG_PEEK)  # an answer waits; what making it costs is not what is measured
            readers.append(reader)
        yield readers


def connected(server: Server, readers: list[socket.socket]) -> int:
    """How many of the connections the server has not ended, as the kernel says of its side of them."""
    here, ports = f"0100007F:{server.port:04X}", {f"0100007F:{reader.getsockname()[1]:04X}" for reader in readers}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(1 for row in rows if row[1] == here and row[2] in ports and row[3] == ESTABLISHED)


def asking(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()


@pytest.mark.parametrize("kind", ["events", "named", "timed", "messages", "file"])
def test_readers_of_a_large_answer_who_take_nothing_are_cut_and_cost_little(
    server: Server, paths: dict[str, str], kind: str
) -> None:
    whole = server.send("GET", paths[kind], admin=True)
    assert whole.status == 200
    assert len(whole.body) >= LARGE
    before, most = memory(server), 0
    with unread(server, asking(paths[kind]), READERS) as readers:

        def all_cut() -> bool:
            nonlocal most
            most = max(most, memory(server))
            return connected(server, readers) == 0

        eventually(all_cut, 60, every=0.05)
    assert most - before < 160 * MB  # all together want 240 MiB, several times over; the bound of what waits is 64
    again = server.send("GET", paths[kind], admin=True)
    assert len(again.body) == len(whole.body)


def test_a_reader_of_what_fits_into_the_buffers_below_is_cut_too(server: Server, paths: dict[str, str]) -> None:
    """The server has handed over everything, and its own work is done; only the kernel knows that nobody reads."""
    many = asking("/docs/openapi.json") * 20
    with unread(server, many, 3) as readers:
        eventually(lambda: not connected(server, readers), 30, every=0.05)
    assert server.send("GET", "/api/v1/ping").text == "pong"


def test_a_reader_that_is_slow_but_reads_gets_everything(server: Server, paths: dict[str, str]) -> None:
    length = len(server.send("GET", paths["messages"], admin=True).body)
    with unread(server, asking(paths["messages"]).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), 1) as [
        reader
    ]:
        reader.settimeout(10)
        got = b""
        while piece := reader.recv(1024 * 1024):
            got += piece
            select.select([], [], [], 0.015 if len(got) % 7 else 0.005)  # slower than the server sends
    assert got.endswith(b"]")
    assert len(got.partition(b"\r\n\r\n")[2]) == length


def test_callers_that_join_one_run_and_read_nothing_share_the_bound(server: Server) -> None:
    flow_id = server.create_flow(function("return 'x'"))
    body = json.dumps({"question": "q" * LARGE}).encode()
    head = f"POST /api/v1/prediction/{flow_id} HTTP/1.1\r\nHost: x\r\nIdempotency-Key: one\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with unread(server, request, 8) as readers:
        eventually(lambda: not connected(server, readers), 60, every=0.05)
    assert server.send("GET", "/api/v1/ping").text == "pong"
