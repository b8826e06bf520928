"""A scripted model endpoint: OpenAI's chat-completions protocol over a real socket, for tests and benchmarks.

    python tests/upstream.py --port 0          prints `listening on http://127.0.0.1:PORT/v1`

    with serve_in_thread() as upstream:        in a test; `async with Upstream()` inside a running loop
        ...upstream.url, upstream.requests, upstream.wait_until(...)

`upstream_script.py` lists what a user message can ask for. Over HTTP, `GET /__requests` tells what came and
`POST /__reset` forgets it. It shares the machine with the server it measures, so bytes are prepared once per distinct
question and all streams wake by one timer.
"""

import argparse
import asyncio
import contextlib
import heapq
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any, Self, cast

import msgspec
from upstream_script import ChatRequest, Ending, Script, completion, error_body, parse, question_of, writes
from waiting import eventually

MODELS = ("bench", "test-model")
CUT_DELAY = 10  # ms: a reset may overtake what the peer has not read yet
ONE_BYTE_CHUNK = 10  # shorter writes are those of /splits: each gets a turn of the loop, or they would leave together
PAUSE = 1  # ms between two looks at a peer that does not read
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
encode = msgspec.json.encode


class Received(msgspec.Struct):
    """One request as it arrived: `body` is its JSON value, or its text if that is not JSON; `at` is Unix time."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    at: float
    finished: bool = False
    closed_by_peer_at_token: int | None = None
    closed_after_ms: float | None = None


class Wheel:
    """Wakes callbacks at whole milliseconds; one timer serves all that are due together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.slots: dict[int, list[Callable[[], None]]] = {}
        self.times: list[int] = []
        self.timer: asyncio.TimerHandle | None = None
        self.turning = False

    def now(self) -> int:
        return int(self.loop.time() * 1000)

    def at(self, moment: int, wake: Callable[[], None]) -> None:
        if slot := self.slots.get(moment):
            slot.append(wake)
            return
        self.slots[moment] = [wake]
        heapq.heappush(self.times, moment)
        if self.times[0] == moment and not self.turning:
            self.arm()

    def arm(self) -> None:
        if self.timer:
            self.timer.cancel()
        self.timer = self.loop.call_at(self.times[0] / 1000, self.turn) if self.times else None

    def turn(self) -> None:
        due, self.turning = self.now(), True
        while self.times and self.times[0] <= due:  # a stream that is late catches up: the rate holds, not the gap
            for wake in self.slots.pop(heapq.heappop(self.times)):
                wake()
        self.turning = False
        self.arm()


class Connection(asyncio.Protocol):
    """One client's socket: its requests, one after the other."""

    def __init__(self, upstream: "Upstream", wheel: Wheel) -> None:
        self.upstream = upstream
        self.wheel = wheel
        self.buffer = bytearray()
        self.transport: asyncio.Transport = asyncio.Transport()
        self.current: Received | None = None
        self.writes: list[tuple[bytes, int]] = []
        self.ending: Ending = "complete"
        self.next = 0
        self.sent = 0
        self.due = 0
        self.pace = 0
        self.holds: frozenset[int] = frozenset()
        self.slow_peer = False
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass of it
        self.upstream.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.upstream.connections.discard(self)
        if self.current and not self.closed:
            self.current.closed_by_peer_at_token = self.sent
            self.current.closed_after_ms = round((time.time() - self.current.at) * 1000, 3)
        self.closed = True
        self.upstream.changed()

    def pause_writing(self) -> None:
        self.slow_peer = True

    def resume_writing(self) -> None:
        self.slow_peer = False

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.current is None:
            self.read_request()

    def read_request(self) -> None:
        head_end = self.buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        request_line, *lines = bytes(self.buffer[:head_end]).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if body := read_body(headers, self.buffer, head_end + 4):
            content, end = body
            del self.buffer[:end]
            method, path, _ = request_line.split(" ")
            self.answer(Received(method, path, headers, body_value(content), time.time()), content)

    def answer(self, request: Received, content: bytes) -> None:
        if not request.path.startswith("/__"):
            self.current, self.sent = request, 0
            self.upstream.received(request)
        match request.method, request.path:
            case "GET", "/__requests":
                self.reply(200, encode(self.upstream.requests))
            case "POST", "/__reset":
                self.upstream.reset()
                self.reply(200, b"{}")
            case "GET", "/v1/models":
                models = [{"id": model, "object": "model", "created": 0, "owned_by": "tests"} for model in MODELS]
                self.reply(200, encode({"object": "list", "data": models}))
            case "POST", "/v1/chat/completions":
                self.chat(content)
            case _:
                self.reply(404, encode(error_body(f"Invalid URL ({request.method} {request.path})", 404)))

    def chat(self, content: bytes) -> None:
        try:
            request = msgspec.json.decode(content, type=ChatRequest)
            question = question_of(request)
            script = parse(question.text)
        except ValueError as error:
            self.reply(400, encode(error_body(str(error), 400)))
            return
        start = self.wheel.now() + script.wait
        status = self.upstream.status(question.text, script)
        if status is not None:
            self.writes, self.ending = refusal(status, script.retry_after)
        elif request.stream:
            prepared, self.ending = writes(question)
            self.writes = [(STREAM_HEAD + prepared[0][0], prepared[0][1]), *prepared[1:]]
        else:
            body, self.ending = completion(question)
            self.writes = [(response(200, body), 0)] if body else []
            start += script.pace * question.answer.count(" ")
        self.next, self.due, self.pace, self.holds = 0, start, script.pace, script.holds
        if start > self.wheel.now():
            self.wheel.at(start, self.step)
        else:
            self.step()

    def step(self) -> None:
        """Write what is due, then sleep until the next token is."""
        while not self.closed:
            if self.next == len(self.writes):
                self.end()
                return
            if self.slow_peer:
                self.wheel.at(self.wheel.now() + PAUSE, self.step)
                return
            data, self.sent = self.writes[self.next]
            self.next += 1
            self.transport.write(data)
            more = self.next < len(self.writes)
            if more and self.sent in self.holds:
                self.upstream.held.append(self)
                return
            if more and self.pace:
                self.due += self.pace
                self.wheel.at(self.due, self.step)
                return
            if more and len(data) < ONE_BYTE_CHUNK:
                self.wheel.loop.call_soon(self.step)
                return

    def go_on(self) -> None:
        self.due = self.wheel.now()
        self.step()

    def end(self) -> None:
        match self.ending:
            case "complete":
                self.finish()
            case "cut":
                self.wheel.at(self.wheel.now() + CUT_DELAY, self.cut)
            case "stall":
                pass

    def finish(self) -> None:
        if request := self.current:
            request.finished = True
            self.current = None
            self.upstream.changed()
            if request.headers.get("connection", "").lower() == "close":
                self.transport.close()
        if self.buffer:
            self.read_request()

    def reply(self, status: int, body: bytes) -> None:
        self.transport.write(response(status, body))
        self.finish()

    def cut(self) -> None:
        if not self.closed:
            self.closed = True
            # Lingering for no time turns the close into a reset, as a crashed peer's would be.
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.transport.abort()


class Upstream:
    """The endpoint inside the running loop: start it, read `requests`, stop it."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.connections: set[Connection] = set()
        self.held: list[Connection] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.counts: Counter[str] = Counter()
        self.port = 0
        self.server: asyncio.Server | None = None
        self.condition = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self, port: int = 0) -> None:
        self.loop = asyncio.get_running_loop()
        wheel = Wheel(self.loop)
        self.server = await self.loop.create_server(lambda: Connection(self, wheel), "127.0.0.1", port, backlog=4096)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self.server:
            self.server.close()
        for connection in list(self.connections):
            connection.closed = True
            connection.transport.abort()
        async with asyncio.timeout(5):
            while self.connections:  # each leaves when its transport says that it is closed
                await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def reset(self) -> None:
        with self.condition:
            self.requests.clear()
            self.counts.clear()

    def wait_until(self, seen: Callable[[list[Received]], bool], timeout: float = 5.0) -> list[Received]:
        """Block this thread until the requests are as wanted; never call it in the endpoint's own loop."""
        with self.condition:
            if not self.condition.wait_for(lambda: seen(self.requests), timeout):
                raise TimeoutError(f"not seen within {timeout} s; received {self.requests!r}")
            return list(self.requests)

    def go_on(self, answers: int = 1) -> None:
        """Lets the answers go on that `/hold` stops, once there are so many; from another thread."""
        assert self.loop
        eventually(lambda: len(self.held) >= answers)
        self.loop.call_soon_threadsafe(self._go_on)

    def _go_on(self) -> None:
        held, self.held = self.held, []
        for connection in held:
            connection.go_on()

    def received(self, request: Received) -> None:
        with self.condition:
            self.requests.append(request)
            self.condition.notify_all()

    def changed(self) -> None:
        with self.condition:
            self.condition.notify_all()

    def status(self, text: str, script: Script) -> int | None:
        """The error to answer with, if this request is to fail."""
        self.counts[text] += 1
        return script.failure if self.counts[text] <= script.failures else script.status


def read_body(headers: dict[str, str], buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    """The body and where it ends, or None until it is all there."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        end = start + int(headers.get("content-length", "0"))
        return (bytes(buffer[start:end]), end) if len(buffer) >= end else None
    content = bytearray()
    while (line_end := buffer.find(b"\r\n", start)) >= 0:
        size = int(buffer[start:line_end].split(b";")[0], 16)
        start = line_end + 2 + size + 2
        if len(buffer) < start:
            return None
        if not size:
            return bytes(content), start
        content += buffer[line_end + 2 : start - 2]
    return None


def body_value(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content) if content else None
    except msgspec.DecodeError:
        return content.decode(errors="replace")


def response(status: int, body: bytes, extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def refusal(status: int, retry_after: str) -> tuple[list[tuple[bytes, int]], Ending]:
    if status == 0:
        return [], "cut"
    extra = f"Retry-After: {retry_after}\r\n" if retry_after else ""
    body = encode(error_body(f"The script asks for status {status}.", status))
    return [(response(status, body, extra), 0)], "complete"


@contextlib.contextmanager
def serve_in_thread() -> Generator[Upstream]:
    """An endpoint whose loop runs in a thread of its own, for tests that block or have their own loop."""
    loop, upstream = asyncio.new_event_loop(), Upstream()
    thread = threading.Thread(target=loop.run_forever, name="upstream", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(upstream.start(), loop).result(10)
        yield upstream
    finally:
        asyncio.run_coroutine_threadsafe(upstream.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def serve(port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    upstream = Upstream()
    await upstream.start(port)
    sys.stdout.write(f"listening on {upstream.url}\n")
    sys.stdout.flush()
    await stopped.wait()
    await upstream.stop()


def main() -> None:
    import uvloop  # only the process needs it: half the CPU at 1,000 streams

    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible model endpoint.")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
