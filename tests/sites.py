"""A web site for tools: a real HTTP server on loopback whose paths answer as a test says."""

import select
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import msgspec

MEGABYTE = b"x" * 2**20
BOUND = 10.0  # seconds that a silent path waits for its client to go


@dataclass
class Answer:
    body: bytes | Iterable[bytes] = b""
    kind: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    silent: bool = False
    """Nothing is sent until the client goes."""


def said(value: Any, status: int = 200) -> Answer:
    return Answer(msgspec.json.encode(value), status=status)


def html(text: str, **how: Any) -> Answer:
    return Answer(text.encode(), "text/html; charset=utf-8", **how)


GARBAGE = Answer(b"<<<\x80 not json", "application/json")
HUGE = Answer([b'{"results": "', *[MEGABYTE] * 50, b'"}'])
SILENT = Answer(silent=True)
SLOW_DOWN = said({"message": "too many requests"}, 429)


@dataclass
class Visit:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


Script: TypeAlias = Answer | Callable[[Visit], Answer]


class Site(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visitor)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.paths: dict[str, Script] = {}
        self.default: Script | None = None
        self.visits: list[Visit] = []
        self.left = threading.Event()

    def reset(self) -> None:
        self.paths, self.default, self.visits = {}, None, []
        self.left.clear()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes before the end is what some tests are about."""


class Visitor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site  # pyright: ignore[reportIncompatibleVariableOverride]  # only this server makes it

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in http.server
        pass

    def answer(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        visit = Visit(self.command, parts.path, query, headers, body)
        self.server.visits.append(visit)
        script = self.server.paths.get(parts.path, self.server.default)
        answer = script(visit) if callable(script) else script or html("<p>not here", status=404)
        self.give(answer)

    def give(self, answer: Answer) -> None:
        if answer.silent:
            self.close_connection = True
            if select.select([self.connection], [], [], BOUND)[0] and not self.connection.recv(1):
                self.server.left.set()
            return
        self.send_response(answer.status)
        for name, value in {"Content-Type": answer.kind, "Transfer-Encoding": "chunked", **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in [answer.body] if isinstance(answer.body, bytes) else answer.body:
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer


@contextmanager
def site() -> Generator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="a web site")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
