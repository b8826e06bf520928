"""Requests that no client makes, to every route: answered in time, and never by a fault of the server."""

import random
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from servers import KEY, Server, conversation, serving
from upstream import Upstream

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW")
VALUES = (
    "null true -1 1e999 1e-999 123456789012345678901234567890 NaN [] {} [[[]]] \"\" \"\\ud800\" \"\\u0000\" \"x\""
).split()  # fmt: skip
NAMES = (
    "question chatId overrideConfig history uploads form humanInput streaming flowData name type apikeyid messageId "
    "rating permissions plainDataObj credentialName loaders ids model messages input chatflowid nodes value schema"
).split()
PIECES = [
    "x",
    "%00",
    "%2e%2e%2f",
    "%ff",
    "..",
    "{}",
    "null",
    "-1",
    "9" * 40,
    "%F0%9F%98%80",
    "a" * 3000,
    "'--",
    "%",
    "%zz",
]
QUERIES = [
    "",
    "?page=1e9&limit=-1",
    "?limit=%00",
    "?a[b]=c&a=",
    "?chatId=%ff&flowId[]=x",
    "?format=named&after=-9",
    "?&&&=?",
]
BODIES = [
    b"",
    b"{",
    b"\xff\xfe{}",
    b"[" * 50_000,
    b'{"question":' * 50_000,
    b"null",
    b'"text"',
    b"\x00" * 100,
    b'{"question": {"a": 1}, "question": []}',
    b'\xef\xbb\xbf{"question": "x"}',
    b"%PDF-1.4",
    b"a=b&c=%ff",
    b'--x\r\nContent-Disposition: form-data; name="question"\r\n\r\nx',
]
HEADERS = [
    "Content-Type: application/json",
    "Content-Type: multipart/form-data; boundary=x",
    "Content-Type: multipart/form-data",
    "Content-Type: application/x-www-form-urlencoded",
    "Content-Type: text/plain; charset=nonsense",
    "Content-Type: \xff",
    "Last-Event-ID: x",
    f"Last-Event-ID: {'9' * 5000}:1",
    "Accept: text/event-stream;q=x",
    "Origin: null",
    "Origin: http://[",
    "Idempotency-Key: \xe9",
    "Prefer: respond-async, \x01",
    "X-Forwarded-For: ,,,",
    "Range: bytes=9-1",
    'If-None-Match: "',
    "Accept-Encoding: gzip;q=a",
    "Authorization: Bearer \xe9\xff",
    "Authorization: Basic x",
    "Expect: 200-maybe",
    "Cookie: =;=",
    "Content-Length: 5",
    "Content-Length: -1",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: nonsense",
]
ALONE = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"\x16\x03\x01\x02",
    b"GET / HTTP/9.9\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]
ROUNDS = 6  # requests for each path and method that the server describes


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("raw") / "data", HEADRACE_BODY_TIMEOUT="1") as server:
        yield server


def answer(server: Server, request: bytes) -> bytes:
    """All that comes back, once the caller has nothing more to say. Raises TimeoutError for a server that hangs."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.settimeout(10)
        said = b""
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while len(said) < 1 << 20 and (data := connection.recv(1 << 16)):
                said += data
        except TimeoutError:
            pytest.fail(f"no end of the answer to {request[:400]!r}")
        except OSError:
            pass  # the server may close the connection before it has all
        return said


def body(chance: random.Random) -> bytes:
    if chance.random() < 0.4:
        return chance.choice(BODIES)
    fields = [f'"{chance.choice(NAMES)}": {value(chance)}' for _ in range(chance.randrange(1, 5))]
    return ("{" + ", ".join(fields) + "}").encode()


def value(chance: random.Random, deep: int = 0) -> str:
    match chance.randrange(6 if deep < 3 else 3):
        case 3:
            return f"[{value(chance, deep + 1)}, {value(chance, deep + 1)}]"
        case 4 | 5:
            return f'{{"{chance.choice(NAMES)}": {value(chance, deep + 1)}}}'
        case _:
            return chance.choice(VALUES)


def request(chance: random.Random, method: str, path: str) -> bytes:
    sent = body(chance)
    lines = [f"{method} {path}{chance.choice(QUERIES)} HTTP/1.1", "Host: x", "Connection: close"]
    lines += [f"Authorization: Bearer {KEY}"] if chance.random() < 0.7 else []
    odd = chance.sample(HEADERS, chance.randrange(3))
    lines += odd if odd else ["Content-Type: application/json"]
    if not any(line.startswith(("Content-Length", "Transfer")) for line in odd):
        lines.append(f"Content-Length: {len(sent)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + sent


def paths(server: Server, chance: random.Random, flow: str) -> Iterator[tuple[str, str]]:
    """Every path that the server describes, with odd pieces and with a flow's id in it, and a method for it."""
    described: dict[str, Any] = msgspec.json.decode(server.send("GET", "/docs/openapi.json").body)["paths"]
    for path, methods in described.items():
        for method in [
            *(name.upper() for name in methods if name in "get put post patch delete"),
            chance.choice(METHODS),
        ]:
            for round_ in range(ROUNDS):
                place = path
                while "{" in place:
                    head, _, rest = place.partition("{")
                    piece = flow if not round_ and method != "DELETE" else chance.choice(PIECES)
                    place = head + piece.replace("{}", "%7B%7D") + rest.partition("}")[2]
                yield method, place


def test_no_request_is_a_fault_of_the_servers(plain: Server, upstream: Upstream) -> None:
    chance = random.Random(20_261_201)
    flow = plain.create_flow(conversation(upstream.url))
    wrong: list[str] = []
    requests = [request(chance, method, path) for method, path in paths(plain, chance, flow)]
    for sent in [*requests, *ALONE]:
        said = answer(plain, sent)
        if b" 500 " in said[:16] or b"Traceback" in said or b'File "' in said:
            wrong.append(f"{sent[:400]!r} -> {said[:300]!r}")
    assert wrong == [], "\n".join(wrong)
    assert plain.send("GET", "/api/v1/ping").text == "pong"
    assert "Traceback" not in plain.output.read_text()
