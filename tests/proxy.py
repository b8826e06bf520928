"""A proxy that cuts connections: what happens to streams between a server and its readers."""

import http.client
import threading
from contextlib import AbstractContextManager, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from scripted import BOUND, STARTING, serving


class Proxy(ThreadingHTTPServer):
    """Passes every request on to `port`, and each stream's events up to and with number `events`, then cuts it.

    While `up` is not set, requests wait; `holds` clears it with the first cut. `spoken` is set after three events,
    `ended` after the last one, `left` when a reader has gone.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, events: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.port, self.events = port, events
        self.requests: list[tuple[str, str | None]] = []
        """Method and Last-Event-ID of each request."""
        self.up = threading.Event()
        self.up.set()
        self.holds = False
        self.spoken, self.ended, self.left = threading.Event(), threading.Event(), threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are what this is for."""
        self.left.set()


class Passing(BaseHTTPRequestHandler):
    server: Proxy  # pyright: ignore[reportIncompatibleVariableOverride]  # only this proxy makes it

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in http.server
        pass

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.headers["Last-Event-ID"]))
        assert self.server.up.wait(STARTING)
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=BOUND)) as connection:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection.request(self.command, self.path, body, headers)
            self.pass_on(connection.getresponse())

    do_POST = do_OPTIONS = do_GET

    def pass_on(self, reply: http.client.HTTPResponse) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()  # HTTP/1.0: the body ends with the connection, so a cut looks like an end
        passed = 0
        while line := reply.readline():
            self.wfile.write(line)
            passed += line.startswith(b"data:")
            if passed > 3:
                self.server.spoken.set()
            if b'"event":"end"' in line:
                self.server.ended.set()
            elif line == b"\n" and passed == self.server.events:
                if self.server.holds:
                    self.server.up.clear()
                return


def proxied(port: int, events: int | None = None) -> AbstractContextManager[Proxy]:
    """A proxy before the port while the block runs."""
    return serving(Proxy(port, events))
