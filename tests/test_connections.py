"""Connections that say nothing, or too little: each ends in time, and one address cannot take them all."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from servers import Server, conversation, serving
from upstream import Upstream
from waiting import eventually

from headrace.server.rate_limits import block_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="connections are looked at in /proc")
SHORT = {
    "HEADRACE_HEADER_TIMEOUT": "1",
    "HEADRACE_BODY_TIMEOUT": "1",
    "HEADRACE_IDLE_TIMEOUT": "1.5",
    "HEADRACE_CONNECTIONS_PER_ADDRESS": "20",
}


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("hasty") / "data", **SHORT) as server:
        yield server


def connected(server: Server, said: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), 20)
    connection.sendall(said)
    return connection


def rest(connection: socket.socket) -> bytes:
    """Everything that the server says until it ends the connection, which the socket's timeout bounds."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            got += piece
    return got


ASK = "POST /api/v1/prediction/{} HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\n{}\r\n\r\n"
JSON, FORM = "application/json", "multipart/form-data; boundary=b"
SILENT = {
    "nothing at all": b"",
    "half a request line": b"GET /api/v1/pi",
    "a head without an end": b"GET /api/v1/ping HTTP/1.1\r\nHost: x\r\n",
    "the beginning of HTTP/2's greeting": b"PRI * HT",
    "HTTP/2's greeting alone": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an empty line": b"\r\n",
}


@pytest.mark.parametrize("said", SILENT.values(), ids=SILENT)
def test_a_connection_that_does_not_ask_is_ended(hasty: Server, said: bytes) -> None:
    with connected(hasty, said) as connection:
        assert b"200 OK" not in rest(connection)


def test_a_connection_is_ended_that_waits_too_long_for_its_next_request(hasty: Server) -> None:
    with connected(hasty, b"GET /api/v1/ping HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
        assert rest(connection).endswith(b"pong")


@pytest.mark.parametrize("length", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    ("kind", "begun"), [(JSON, b""), (FORM, b""), (JSON, b'5\r\n{"que')], ids=["JSON", "a form", "a beginning"]
)
def test_a_body_that_does_not_come_is_not_waited_for(
    hasty: Server, upstream: Upstream, kind: str, length: str, begun: bytes
) -> None:
    flow = hasty.create_flow(conversation(upstream.url))
    with connected(hasty, ASK.format(flow, kind, length).encode() + begun) as connection:
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_timeout"' in answer
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["/api/v1/ping", "/api/v1/runs/none/events"])
def test_a_body_that_nobody_wants_and_that_does_not_come_holds_no_connection(hasty: Server, path: str) -> None:
    with connected(hasty, f"GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n".encode()) as connection:
        assert rest(connection).startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_trickles_is_not_waited_for(hasty: Server, upstream: Upstream, chunked: bool) -> None:
    """A byte now and then is always in time; the whole of it is not."""
    flow = hasty.create_flow(conversation(upstream.url))
    length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 100000"
    with connected(hasty, ASK.format(flow, JSON, length).encode()) as connection:
        over = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while not over.wait(0.05):
                    connection.sendall(b"1\r\n{\r\n" if chunked else b"{")

        feeding = threading.Thread(target=trickle)
        feeding.start()
        try:
            answer = connection.recv(65536)
        finally:
            over.set()
            feeding.join()
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_slow_body_that_gets_on_is_waited_for(hasty: Server, upstream: Upstream) -> None:
    flow = hasty.create_flow(conversation(upstream.url))
    body = b'{"question": "/say fine"' + b" " * 40_000 + b"}"
    with connected(hasty, ASK.format(flow, JSON, f"Content-Length: {len(body)}").encode()) as connection:
        pause = threading.Event()
        for first in range(0, len(body), 2000):
            connection.sendall(body[first : first + 2000])
            pause.wait(0.1)
        assert b'"text":"fine"' in connection.recv(65536)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_request_in_progress_outlives_the_timeouts_of_connections(
    hasty: Server, upstream: Upstream, streaming: bool
) -> None:
    """Its connection is silent for longer than any of them allows."""
    flow = hasty.create_flow(conversation(upstream.url))
    reply = hasty.ask(flow, "/say fine | /wait 4000", streaming=streaming)
    assert reply.status == 200
    assert (reply.kinds[-1] == "end") if streaming else (reply.json["text"] == "fine")


def test_silent_connections_of_one_address_make_room_for_its_requests(hasty: Server) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connected(hasty)) for _ in range(60)]
        assert hasty.send("GET", "/api/v1/ping").text == "pong"
        for connection in silent:
            assert rest(connection) == b""


def test_requests_in_progress_of_one_address_are_bounded(hasty: Server, upstream: Upstream) -> None:
    flow = hasty.create_flow(conversation(upstream.url))
    body = b'{"question": "/count 2000 | /pace 20", "streaming": true, "onDisconnect": "cancel"}'
    asking = ASK.format(flow, JSON, f"Content-Length: {len(body)}").encode() + body
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(connected(hasty, asking))
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
        refused = hasty.send("GET", "/api/v1/ping")
        assert (refused.status, refused.json["code"], refused.headers["Retry-After"]) == (429, "rate_limited", "1")
    eventually(lambda: hasty.send("GET", "/api/v1/ping").status == 200)


def test_callers_behind_a_trusted_proxy_are_counted_one_by_one(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data", **SHORT, HEADRACE_TRUSTED_PROXIES="127.0.0.1") as server:
        flow = server.create_flow(conversation(upstream.url))
        body = b'{"question": "/count 2000 | /pace 20", "streaming": true, "onDisconnect": "cancel"}'
        head = f"X-Forwarded-For: 10.0.0.1\r\nContent-Length: {len(body)}"
        asking = ASK.format(flow, JSON, head).encode() + body
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                assert stack.enter_context(connected(server, asking)).recv(15) == b"HTTP/1.1 200 OK"
            for caller, status in (("10.0.0.1", 429), ("10.0.0.2", 200), ("8.8.8.8, 10.0.0.1", 429)):
                assert server.send("GET", "/api/v1/ping", headers={"X-Forwarded-For": caller}).status == status
            kept = [stack.enter_context(connected(server)) for _ in range(30)]  # the proxy's own, waiting for callers
            for connection in kept:
                connection.sendall(b"GET /api/v1/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert rest(connection).endswith(b"pong")


def test_a_tls_handshake_that_never_ends_holds_no_connection(tmp_path: Path) -> None:
    with serving(tmp_path / "data", **SHORT) as plain:
        assert plain.stop() == 0
    folder = tmp_path / "data"
    from headrace.server.tls import certificate
    from headrace.settings import Settings

    made = certificate(Settings(data_dir=str(folder), tls_self_signed=True))
    assert made
    with serving(folder, "--tls-self-signed", ca=str(made.cert), **SHORT) as server:
        for said in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
            with connected(server, said) as connection:
                assert b"HTTP" not in rest(connection)
        context = ssl.create_default_context(cafile=str(made.cert))
        with context.wrap_socket(connected(server), server_hostname="localhost") as silent:
            assert rest(silent) == b""  # shaken hands, and nothing asked
        assert server.send("GET", "/api/v1/ping").text == "pong"


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("unknown", "unknown"),
    ],
)
def test_an_address_of_version_six_counts_with_those_beside_it(address: str, block: str) -> None:
    assert block_of(address) == block
