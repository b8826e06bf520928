"""A real HTTP server that sends scripted bytes over a real socket."""

import json
import select
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, TypeAlias, TypeVar

S = TypeVar("S", bound=ThreadingHTTPServer)
BOUND = 10.0  # seconds that anything in these tests may take
STARTING = 60.0  # but for what waits until another server has started
SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
JSON = {"Content-Type": "application/json"}


@dataclass
class Reply:
    """What the server sends, piece by piece, and how it ends.

    "whole", "cut" in the body, "open" until the client goes, "mute": the same without an answer, or "none": the
    connection is closed without an answer.
    """

    pieces: Sequence[bytes]
    headers: dict[str, str] = field(default_factory=lambda: SSE)
    status: int = 200
    ending: Literal["whole", "cut", "open", "mute", "none"] = "whole"


UNKNOWN_RUN = Reply([b'{"message":"there is no such run","code":"run_not_found"}'], JSON, 404)


@dataclass
class Seen:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    method: str = "POST"
    at: float = field(default_factory=time.monotonic)

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key")


Script: TypeAlias = Callable[[Seen], Reply]


def one_by_one(*replies: Reply) -> Script:
    """A reply for each request in turn; the last one for all that follow."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


class Log:
    """A run's log over HTTP: every request gets what comes after its Last-Event-ID.

    The connections are cut after as many bytes as `cuts` say, after the line with the position; others are whole.
    """

    def __init__(self, run: str, frames: Sequence[bytes], cuts: Iterable[int] = (), **how: Any) -> None:
        self.run, self.frames, self.how = run, frames, how
        self._cuts = iter(cuts)

    def __call__(self, seen: Seen) -> Reply:
        start = seen.headers.get("last-event-id", f"{self.run}:0")
        data = b"".join(self.frames[int(start.rpartition(":")[2]) :])
        cut = next(self._cuts, None)
        ending: Any = "whole" if cut is None else "cut"
        headers = {**SSE, "X-Run-Id": self.run}
        return Reply([f"id:{start}\n".encode(), data[:cut]], headers, **{"ending": ending, **self.how})


class ScriptedServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.replies: dict[str, Reply] = {}
        self.scripts: dict[str, Script] = {}
        self.seen: list[Seen] = []
        self.connections: set[object] = set()
        self.left = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        if isinstance(sys.exception(), ConnectionError):
            self.left.set()
        else:
            super().handle_error(request, client_address)  # pyright: ignore[reportArgumentType]

    def asked(self, script: Script, flow: str = "flow") -> str:
        """Scripts what a flow answers and returns its id."""
        self.scripts[f"/api/v1/prediction/{flow}"] = script
        return flow

    def followed(self, script: Script, run: str = "r") -> str:
        """Scripts what the events of a run answer and returns its id."""
        self.scripts[f"/api/v1/runs/{run}/events"] = script
        return run

    def told(self, path: str, *replies: Reply) -> None:
        """Scripts what another path answers, request by request."""
        self.scripts[f"/api/v1/{path}"] = one_by_one(*replies)

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
        if self.path.startswith("/api/v1/runs"):
            self.send(self.seen({}))
            return
        streams = "text/event-stream" in self.reply().headers.get("Content-Type", "")
        self.send(Reply([json.dumps({"isStreaming": streams}).encode()], JSON))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send(self.seen(json.loads(body or b"{}")))

    def seen(self, body: dict[str, Any]) -> Reply:
        """Takes a request down and says what it gets."""
        self.server.connections.add(self.client_address)
        seen = Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body, self.command)
        self.server.seen.append(seen)
        if len(self.server.seen) > 1000:  # a client that never gives up must fail its test, not hang it
            return NO_ANSWER
        if script := self.server.scripts.get(self.path.partition("?")[0]):
            return script(seen)
        return UNKNOWN_RUN if self.path.startswith("/api/v1/runs") else self.reply()

    def reply(self) -> Reply:
        flows = {self.quoted(flow): reply for flow, reply in self.server.replies.items()}
        return flows[self.path.rpartition("/")[2]]

    @staticmethod
    def quoted(flow: str) -> str:
        return flow.replace(" ", "%20").replace("/", "%2F").replace("ä", "%C3%A4")

    def send(self, reply: Reply) -> None:
        if reply.ending in ("none", "mute"):
            self.close_connection = True
            self.wait_until_left(reply.ending == "mute")
            return
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
        self.wait_until_left(reply.ending == "open")

    def wait_until_left(self, wait: bool) -> None:
        readable = wait and select.select([self.connection], [], [], BOUND)[0]
        if readable and not self.connection.recv(1):
            self.server.left.set()


# A run of sixty events.
TEXTS = [
    '{"event":"start","data":""}',
    *(f'{{"event":"token","data":"wörd{number} "}}' for number in range(57)),
    '{"event":"metadata","data":{"chatId":"c","messageId":"m"}}',
    '{"event":"end","data":"[DONE]"}',
]
FRAMES = [f"id:r:{seq}\nmessage:\ndata:{text}\n\n".encode() for seq, text in enumerate(TEXTS, 1)]
NO_ANSWER = Reply([], ending="none")
UNAVAILABLE = Reply([b'{"message":"stopping","code":"interrupted"}'], {**JSON, "Retry-After": "0"}, 503)


def part(*pieces: bytes, ending: Any = "cut") -> Reply:
    return Reply([b"id:r:0\n", *pieces], {**SSE, "X-Run-Id": "r"}, ending=ending)


def places(server: ScriptedServer) -> list[tuple[str, str | None]]:
    """Method and Last-Event-ID of each request."""
    return [(seen.method, seen.headers.get("last-event-id")) for seen in server.seen]


@contextmanager
def serving(server: S) -> Generator[S]:
    """The server at work, in a thread of its own, while the block runs."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(BOUND)


def scripted_server() -> AbstractContextManager[ScriptedServer]:
    """A server that listens on a free port while the block runs."""
    return serving(ScriptedServer())
