"""The bare relay that the benchmark compares with: read, write, and nothing else.

    python benchmarks/relay.py --upstream http://127.0.0.1:7010/v1 --port 0      prints `listening on http://127.0.0.1:PORT`

It takes the same POST /api/v1/prediction/... as the server, asks the model endpoint, and passes the stream's bytes on
as they come: what any server that streams must do at least. Idle connections to the model endpoint are used again.
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
PONG = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npong"


class Model(asyncio.Protocol):
    """A connection to the model endpoint, lent to one client at a time."""

    def __init__(self, idle: "list[Model]") -> None:
        self.idle = idle
        self.transport: asyncio.Transport = asyncio.Transport()
        self.client: Client | None = None
        self.head = b""
        self.in_body = False
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self.idle:
            self.idle.remove(self)
        if self.client:
            self.client.transport.close()
            self.client = None

    def data_received(self, data: bytes) -> None:
        if self.client is None:
            return
        if not self.in_body:
            self.head += data
            head, end, data = self.head.partition(b"\r\n\r\n")
            if not end:
                return
            self.in_body = True
            # The framing stays as it is, so the head is all that changes on the way; an error passes with its own.
            data = (HEAD if b" 200 " in head[:16] else head + end) + data
        self.client.transport.write(data)
        self.tail = (self.tail + data)[-len(LAST_CHUNK) :]
        if self.tail == LAST_CHUNK:
            self.client.model = self.client = None
            self.head, self.in_body, self.tail = b"", False, b""
            self.idle.append(self)


class Client(asyncio.Protocol):
    """A client's connection; its requests come one after the other."""

    def __init__(self, upstream: str, idle: list[Model]) -> None:
        self.upstream = urlsplit(upstream)
        self.idle = idle
        self.transport: asyncio.Transport = asyncio.Transport()
        self.model: Model | None = None
        self.buffer = b""
        self.opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        if self.model:
            self.model.transport.close()

    def pause_writing(self) -> None:
        if self.model:
            self.model.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.model:
            self.model.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        if head.startswith(b"GET "):
            self.buffer = b""
            self.transport.write(PONG)
            return
        lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if lengths and len(body) >= int(lengths[0]):
            self.buffer = b""
            self.opening = asyncio.get_running_loop().create_task(self.ask(json.loads(body)["question"]))

    async def ask(self, question: str) -> None:
        model = self.idle.pop() if self.idle else await self.connect()
        if self.transport.is_closing():
            model.transport.close()
            return
        model.client, self.model = self, model
        body = model_request(question)
        head = (
            f"POST {self.upstream.path}/chat/completions HTTP/1.1\r\nHost: {self.upstream.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        model.transport.write(head.encode() + body)

    async def connect(self) -> Model:
        _, model = await asyncio.get_running_loop().create_connection(
            lambda: Model(self.idle), self.upstream.hostname or "", self.upstream.port or 80
        )
        return model


def model_request(question: str) -> bytes:
    return json.dumps({"model": "bench", "stream": True, "messages": [{"role": "user", "content": question}]}).encode()


def nginx_config(port: int, upstream: str, question: str, folder: Path) -> str:
    """The same relay in nginx, for comparison. It cannot read JSON, so the question is part of the configuration."""
    parts = urlsplit(upstream)
    body = model_request(question).decode().replace("\\", "\\\\").replace("'", "\\'")
    return f"""
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream model {{ server {parts.netloc}; keepalive 1024; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /api/v1/ping {{ return 200 pong; }}
        location /api/v1/prediction/ {{
            proxy_pass http://model{parts.path}/chat/completions;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_body '{body}';
            proxy_buffering off;
        }}
    }}
}}
"""


async def serve(port: int, upstream: str) -> None:
    loop, stopped, idle = asyncio.get_running_loop(), asyncio.Event(), list[Model]()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: Client(upstream, idle), "127.0.0.1", port, backlog=4096)
    sys.stdout.write(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stopped.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="A bare relay between prediction clients and a model endpoint.")
    parser.add_argument("--upstream", required=True, help="the model endpoint's URL, ending in /v1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.upstream))


if __name__ == "__main__":
    main()
