"""HTTP/1.1 as callers speak it: framing, order, limits, and answers that come before their requests' end."""

import contextlib
import socket
from collections.abc import Generator

import pytest
from servers import Server, conversation
from upstream import Upstream

PING = b"GET /api/v1/ping HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def connected(server: Server) -> Generator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        yield connection


def until(connection: socket.socket, end: bytes, times: int = 1) -> bytes:
    """All that comes up to so many of these bytes, or to the connection's end."""
    got = b""
    while got.count(end) < times and (piece := connection.recv(65536)):
        got += piece
    return got


def rest(connection: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            got += piece
    return got


def asking(flow: str, body: bytes, *headers: str) -> bytes:
    head = [f"POST /api/v1/prediction/{flow} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def test_requests_that_come_at_once_are_answered_in_their_order(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(PING + PING.replace(b"ping", b"version") + PING)
        answers = until(connection, b"pong", 2)
    assert answers.index(b"pong") < answers.index(b'"version"') < answers.rindex(b"pong")


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_request_may_come_in_pieces(server: Server, chat: str, cut: int) -> None:
    body = b'{"question": "/say fine"}'
    request = asking(chat, b"%x\r\n%b\r\n0\r\nX-Trailer: x\r\n\r\n" % (len(body), body), "Transfer-Encoding: chunked")
    with connected(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for first in range(0, len(request), cut):
            connection.sendall(request[first : first + cut])
        assert b'"text":"fine"' in until(connection, b"}")
        connection.sendall(PING)  # behind trailers
        assert until(connection, b"pong").startswith(b"HTTP/1.1 200 OK")


def test_a_caller_who_would_change_the_protocol_is_answered_in_this_one(server: Server, chat: str) -> None:
    body = b'{"question": "/say fine"}'
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    with connected(server) as connection:
        connection.sendall(asking(chat, body, f"Content-Length: {len(body)}", *upgrade))
        assert b'"text":"fine"' in until(connection, b'"fine"')
        connection.sendall(PING)
        assert b"pong" in until(connection, b"pong")


def test_a_body_is_asked_for_when_the_caller_waits_for_that(server: Server, chat: str) -> None:
    body = b'{"question": "/say fine"}'
    with connected(server) as connection:
        connection.sendall(asking(chat, b"", f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert b'"text":"fine"' in until(connection, b'"fine"')


def test_older_callers_read_to_the_end_of_the_connection(server: Server, chat: str) -> None:
    body = b'{"question": "/say fine", "streaming": true}'
    request = asking(chat, body, f"Content-Length: {len(body)}").replace(b"HTTP/1.1", b"HTTP/1.0")
    with connected(server) as connection:
        connection.sendall(request)
        answer = rest(connection)
    assert b"chunked" not in answer
    assert answer.endswith(b'data:{"event":"end","data":"[DONE]"}\n\n')


def test_a_proxys_request_names_the_whole_address(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(PING.replace(b"GET /", b"GET http://x/"))
        assert b"pong" in until(connection, b"pong")


@pytest.mark.parametrize("length", [100_000, 1_000_000])
@pytest.mark.parametrize("head", [b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nA: %b\r\n\r\n"])
def test_a_head_without_bounds_is_refused(server: Server, head: bytes, length: int) -> None:
    with connected(server) as connection:
        with contextlib.suppress(ConnectionError):  # refused before all of it was sent
            connection.sendall(head % (b"x" * length))
        assert rest(connection).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\nA\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=["two lengths", "a length and chunks", "a space before the colon", "no colon", "no request"],
)
def test_requests_that_can_be_read_in_two_ways_are_refused(server: Server, request_: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(request_ + PING)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"pong" not in answer


def test_nonsense_behind_a_request_does_not_take_its_answer(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(PING + b"\x00\x01 nonsense\r\n\r\n")
        assert rest(connection).endswith(b"pong")


def test_an_answer_that_comes_before_the_end_of_its_request_is_read(server: Server, chat: str) -> None:
    with connected(server) as connection:
        connection.sendall(asking(chat, b"", "Content-Length: 900000000"))
        connection.sendall(b"x" * 200_000)
        assert rest(connection).startswith(b"HTTP/1.1 413 ")


def test_a_request_for_the_head_alone_has_no_body(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(PING.replace(b"GET", b"HEAD") + PING)
        answers = until(connection, b"pong")
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert b"content-length: 4\r\n" in answers.lower()
    assert answers.count(b"pong") == 1


def test_a_reader_who_takes_nothing_for_a_while_gets_everything_in_the_end(server: Server, upstream: Upstream) -> None:
    flow = server.create_flow(conversation(upstream.url))
    body = b'{"question": "/count 20000 | /burst", "streaming": true}'
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", server.port))
        # Without chunks, whose sizes would stand inside of some frames.
        connection.sendall(asking(flow, body, f"Content-Length: {len(body)}").replace(b"HTTP/1.1", b"HTTP/1.0"))
        server.ask(flow, "/count 500 | /pace 1")  # others go on meanwhile
        answer = rest(connection)
    assert answer.count(b'"event":"token"') == 20_000
    assert answer.count(b'"event":"end"') == 1
