"""Open many prediction streams at once, count what they bring, and report it as JSON.

    python benchmarks/load.py http://127.0.0.1:8000/api/v1/prediction/FLOW --streams 200

The generator shares the machine with what it measures, so it counts token frames in the bytes and parses none of them.
Times are taken when bytes are read; a read that brings several tokens counts as one moment.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

# What a token and the stream's last frame look like: Flowise's dialect, and OpenAI's chunks passed through.
DIALECTS = ((b'"event":"token"', b'"event":"end"'), (b'"delta":{"content":"', b"data: [DONE]"))
LAST_CHUNK = b"\r\n0\r\n\r\n"
OVERLAP = 64  # bytes kept of the read before, for a frame that was split: longer than any mark above


class Stream(asyncio.Protocol):
    """One prediction on a connection of its own."""

    def __init__(self, request: bytes, expected: int) -> None:
        self.request = request
        self.expected = expected
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.mark: bytes | None = None
        self.end = b""
        self.ended = False
        self.rest = b""
        self.head = b""
        self.started = self.last = 0.0
        self.first: float | None = None
        self.tokens = 0
        self.gaps = array("d")
        self.failure: str | None = "no answer"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass of it
        self.started = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if len(self.head) < 256:
            self.head += data[:512]
        seen = self.rest + data
        if self.mark is None:
            self.mark, self.end = next(((m, e) for m, e in DIALECTS if m in seen), (None, b""))
        if self.mark is not None and (count := seen.count(self.mark) - self.rest.count(self.mark)):
            if self.first is None:
                self.first = now - self.started
            else:
                self.gaps.append(now - self.last)
            self.last = now
            self.tokens += count
        self.ended = self.ended or (bool(self.end) and self.end in seen)
        self.rest = seen[-OVERLAP:]
        if self.rest.endswith(LAST_CHUNK) or not self.head.startswith(b"HTTP/1.1 200"[: len(self.head)]):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()

    def close(self) -> None:
        if self.done.done():
            return
        if not self.head.startswith(b"HTTP/1.1 200"):
            status, _, body = self.head.partition(b"\r\n\r\n")
            self.failure = f"{status[:40].decode(errors='replace')!r} {body[:200].decode(errors='replace')}".strip()
        elif self.tokens != self.expected:
            self.failure = f"{self.tokens} tokens instead of {self.expected}"
        elif not self.ended:
            self.failure = "no end"
        else:
            self.failure = None
        self.done.set_result(None)
        if self.transport:
            self.transport.close()


def request_bytes(url: str, question: str, number: int, *, openai: bool) -> bytes:
    parts = urlsplit(url)
    body: dict[str, Any] = {"question": question, "streaming": True, "chatId": f"bench-{os.getpid()}-{number}"}
    if openai:
        body = {"model": "bench", "stream": True, "messages": [{"role": "user", "content": question}]}
    content = json.dumps(body).encode()
    head = (
        f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Accept: text/event-stream\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def predict(url: str, request: bytes, expected: int, timeout: float) -> Stream:
    parts = urlsplit(url)
    stream = Stream(request, expected)
    try:
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().create_connection(lambda: stream, parts.hostname or "", parts.port or 80)
            await stream.done
    except TimeoutError:
        stream.failure = f"not done within {timeout} s, {stream.tokens} tokens came"
        if stream.transport:
            stream.transport.abort()
    except OSError as error:
        stream.failure = f"{type(error).__name__}: {error}"
    return stream


def percentile(values: Sequence[float], percent: float) -> float:
    """In milliseconds, of sorted seconds."""
    return round(values[min(len(values) - 1, int(len(values) * percent / 100))] * 1000, 3) if values else 0.0


def report(streams: Sequence[Stream], wall: float) -> dict[str, Any]:
    failures = Counter(stream.failure for stream in streams if stream.failure)
    firsts = sorted(stream.first for stream in streams if stream.first is not None)
    gaps = sorted(gap for stream in streams for gap in stream.gaps)
    return {
        "streams": len(streams),
        "completed": sum(1 for stream in streams if not stream.failure),
        "failed": sum(failures.values()),
        "failures": dict(failures.most_common(5)),
        "tokens": sum(stream.tokens for stream in streams),
        "first_ms": {"p50": percentile(firsts, 50), "p99": percentile(firsts, 99)},
        "gap_ms": {"p50": percentile(gaps, 50), "p99": percentile(gaps, 99), "max": percentile(gaps, 100)},
        "wall_s": round(wall, 3),
    }


async def run(options: argparse.Namespace) -> dict[str, Any]:
    async def one(number: int) -> Stream:
        request = request_bytes(options.url, options.question, number, openai=options.openai)
        if not options.sequential:
            await asyncio.sleep(number / options.streams * options.spread)
        return await predict(options.url, request, options.tokens, options.timeout)

    began = time.perf_counter()
    if options.sequential:
        streams = [await one(number) for number in range(options.streams)]
    else:
        streams = await asyncio.gather(*map(one, range(options.streams)))
    return report(streams, time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description="Open many prediction streams at once and report as JSON.")
    parser.add_argument("url", help="a Flowise-compatible prediction URL")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=150, help="how many tokens each answer must have")
    parser.add_argument("--question", default="/count 150 | /pace 20")
    parser.add_argument("--spread", type=float, default=1.0, help="seconds over which the streams start")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for each stream")
    parser.add_argument("--sequential", action="store_true", help="one stream after the other")
    parser.add_argument("--openai", action="store_true", help="the URL is a chat-completions endpoint")
    with contextlib.suppress(KeyboardInterrupt):
        json.dump(uvloop.run(run(parser.parse_args())), sys.stdout)
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
