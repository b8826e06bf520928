"""A real HTTP server that sends scripted bytes over a real socket."""

import json
import select
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

BOUND = 10.0  # seconds that anything in these tests may take
SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
JSON = {"Content-Type": "application/json"}


@dataclass
class Reply:
    """What the server sends, piece by piece, and how it ends: whole, cut in the body, or open until the client goes."""

    pieces: Sequence[bytes]
    headers: dict[str, str] = field(default_factory=lambda: SSE)
    status: int = 200
    ending: Literal["whole", "cut", "open"] = "whole"


@dataclass
class Seen:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class ScriptedServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.replies: dict[str, Reply] = {}
        self.seen: list[Seen] = []
        self.connections: set[object] = set()
        self.left = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        if isinstance(sys.exception(), ConnectionError):
            self.left.set()
        else:
            super().handle_error(request, client_address)  # pyright: ignore[reportArgumentType]

    def answers(self, *pieces: bytes, headers: dict[str, str] = SSE, **how: Any) -> str:
        """Scripts the answer to a new flow and returns its id."""
        flow = f"flow {len(self.replies)}/ä"
        self.replies[flow] = Reply(pieces, headers, **how)
        return flow


class Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer  # pyright: ignore[reportIncompatibleVariableOverride]  # only this server makes it

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in http.server
        pass

    def do_GET(self) -> None:
        streams = "text/event-stream" in self.reply().headers.get("Content-Type", "")
        self.send(Reply([json.dumps({"isStreaming": streams}).encode()], JSON))

    def do_POST(self) -> None:
        self.server.connections.add(self.client_address)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send(self.reply())

    def reply(self) -> Reply:
        flows = {self.quoted(flow): reply for flow, reply in self.server.replies.items()}
        return flows[self.path.rpartition("/")[2]]

    @staticmethod
    def quoted(flow: str) -> str:
        return flow.replace(" ", "%20").replace("/", "%2F").replace("ä", "%C3%A4")

    def send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in filter(None, reply.pieces):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if reply.ending == "whole":
            self.wfile.write(b"0\r\n\r\n")
            return
        self.close_connection = True
        readable = reply.ending == "open" and select.select([self.connection], [], [], BOUND)[0]
        if readable and not self.connection.recv(1):
            self.server.left.set()


@contextmanager
def scripted_server() -> Generator[ScriptedServer]:
    """A server that listens on a free port while the block runs."""
    with ScriptedServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(BOUND)
