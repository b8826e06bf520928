"""The bare relay that the benchmark compares with: asyncio's streams, read, write, and nothing else.

    python benchmarks/relay.py --upstream http://127.0.0.1:7010/v1 --port 0      prints `listening on http://127.0.0.1:PORT`

It takes the same POST /api/v1/prediction/... as the server, asks the model endpoint, and passes the stream's bytes on
as they come, framing included. Idle connections to the model endpoint are used again.
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
PONG = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npong"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Relay:
    """Serves clients from one model endpoint."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.idle: list[Connection] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection; its requests come one after the other."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"GET "):
                    writer.write(PONG)
                    continue
                lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(lengths[0]))
                await self.pass_on(json.loads(body)["question"], writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def pass_on(self, question: str, client: asyncio.StreamWriter) -> None:
        reader, writer = model = self.idle.pop() if self.idle else await self.connect()
        writer.write(self.request(question))
        head = await reader.readuntil(b"\r\n\r\n")
        client.write(HEAD if b" 200 " in head[:16] else head)
        tail = b""
        while not tail.endswith(LAST_CHUNK):
            data = await reader.read(65536)
            if not data:
                raise ConnectionError("the model endpoint hung up")
            client.write(data)
            await client.drain()
            tail = (tail + data)[-len(LAST_CHUNK) :]
        self.idle.append(model)

    async def connect(self) -> Connection:
        return await asyncio.open_connection(self.upstream.hostname, self.upstream.port)

    def request(self, question: str) -> bytes:
        body = model_request(question)
        head = (
            f"POST {self.upstream.path}/chat/completions HTTP/1.1\r\nHost: {self.upstream.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


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
            rewrite ^ {parts.path}/chat/completions break;
            proxy_pass http://model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_body '{body}';
            proxy_buffering off;
        }}
    }}
}}
"""


async def serve(port: int, upstream: str) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await asyncio.start_server(Relay(upstream).serve, "127.0.0.1", port, backlog=4096)
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
