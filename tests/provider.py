"""A scripted provider over real sockets, for any protocol: it answers as it is told to, whole, paced or not at all."""

import asyncio
import re
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

BOUND = 10.0  # seconds that anything may take


class Seen(msgspec.Struct):
    """A request as it came. `left` says that the client went away before the answer was whole."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    left: bool = False

    @property
    def body(self) -> Any:
        return msgspec.json.decode(self.raw)


class Answer(msgspec.Struct, frozen=True):
    """What to say: each piece is a write of its own.

    With `held` the first one goes out and nothing more; with `cut` the connection ends before the answer does.
    """

    pieces: Sequence[bytes] = ()
    status: int = 200
    headers: Mapping[str, str] = {}
    held: bool = False
    cut: bool = False


def chunks(text: str) -> list[bytes]:
    """A text as a model streams it in OpenAI's protocol, word by word, without its end."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    parts = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in re.findall(r"\S+\s*", text)]
    return [b"data: %b\n\n" % msgspec.json.encode({**head, **part}) for part in parts]


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer([msgspec.json.encode(value)], status, {"Content-Type": "application/json", **headers})


class Provider:
    """The provider's side: what it was asked, and `answer`, which a test sets."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answer: Callable[[Seen], Answer] = lambda _: Answer()
        self.port = 0
        self.server: asyncio.Server | None = None
        self._changed = threading.Condition()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def always(self, answer: Answer) -> None:
        """The same answer to whatever is asked from now on, and a clean record."""
        self.seen = []
        self.answer = lambda _: answer

    def once_rephrased(self, answer: Answer) -> None:
        """The answer to a question of a chat with history, which the earlier answer rephrases first."""
        rephrased, self.seen = self.answer, []
        self.answer = lambda seen: answer if b"passages between the lines" in seen.raw else rephrased(seen)

    def until(self, reached: Callable[[list[Seen]], bool]) -> None:
        """Blocks this thread until what was seen is as wanted."""
        with self._changed:
            assert self._changed.wait_for(lambda: reached(self.seen), BOUND), self.seen

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self.server
        self.server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            seen = await _request(reader)
            answer = self.answer(seen)
            with self._changed:
                self.seen.append(seen)
                self._changed.notify_all()
            await self._say(answer, seen, reader, writer)
        writer.close()

    async def _say(
        self, answer: Answer, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        headers = {"Transfer-Encoding": "chunked", "Connection": "close", **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        for number, piece in enumerate(answer.pieces):
            if number and answer.held:
                await reader.read()  # until the client leaves: nothing more is ever said
                with self._changed:
                    seen.left = True
                    self._changed.notify_all()
                return
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        if not answer.cut:
            writer.write(b"0\r\n\r\n")
            await writer.drain()


async def _request(reader: asyncio.StreamReader) -> Seen:
    line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    method, path, _ = line.split(" ")
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, path, headers, raw)


@contextmanager
def providing() -> Generator[Provider]:
    """A provider in a thread of its own."""
    loop, provider = asyncio.new_event_loop(), Provider()
    thread = threading.Thread(target=loop.run_forever, name="provider")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(provider.start(), loop).result(BOUND)
        yield provider
    finally:
        asyncio.run_coroutine_threadsafe(provider.stop(), loop).result(BOUND)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(BOUND)
        loop.close()
