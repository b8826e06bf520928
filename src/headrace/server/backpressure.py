"""Sends every response in bounded pieces; a reader must take each of them in time.

The server below keeps at most a few pieces of a response. The rest waits here, and all that waits is bounded too:
beyond the bound, the response whose reader has taken nothing for the longest time is cut.
"""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import Any, Final

from litestar.types import HTTPResponseBodyEvent, Message, Send

PIECE: Final = 32 * 1024
"""Bytes that are handed to the server below at once."""
_MOST_HELD: Final = 64 * 1024 * 1024  # bytes of all responses of a process that wait for their readers


class Outgoing:
    """The responses of a process that are being sent."""

    def __init__(self, patience: float, most_held: int = _MOST_HELD) -> None:
        self._patience, self._most = patience, most_held
        self._open: set[Sending] = set()
        self._held = 0

    def begin(self, sending: Sending) -> None:
        """Watches a response that may take a while."""
        self._open.add(sending)

    def end(self, sending: Sending) -> None:
        """Forgets a response."""
        self._open.discard(sending)
        self._held -= sending.held
        sending.held = 0

    def hold(self, sending: Sending, size: int) -> None:
        """Counts bytes that wait for a reader. Cuts other responses when these are too many together."""
        self._held += size - sending.held
        sending.held = size
        self._open.add(sending)
        if self._held <= self._most:
            return
        for other in sorted(self._open - {sending}, key=lambda other: other.since):
            if other.held and other.since < inf:
                other.cut()
                self.end(other)
                if self._held <= self._most:
                    return

    async def cut_slow_readers(self) -> None:
        """Cuts responses whose reader has taken nothing for too long. Ends when cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self._patience / 4))
            oldest = monotonic() - self._patience
            for sending in [sending for sending in self._open if sending.since < oldest]:
                sending.cut()


class Sending:
    """One response on its way to its reader."""

    def __init__(self, send: Send, outgoing: Outgoing) -> None:
        self.send, self._outgoing = send, outgoing
        self.held = 0
        """Bytes that wait for the reader."""
        self.since = inf
        """When the piece was handed over that the reader has not taken yet."""
        self.over = False
        """The response was cut."""
        self.status, self.sent, self.run = 0, 0, ""
        """Told in the access log: status, bytes of the body, and the run where there is one."""
        self._task: asyncio.Task[Any] | None = asyncio.current_task()

    def cut(self) -> None:
        """Ends the response unfinished."""
        self.over = True
        if self._task:
            self._task.cancel()

    async def __call__(self, message: Message) -> None:
        """Sends a message, its body in pieces; once the response is cut, nothing more."""
        if self.over:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.run = self.run or next((v.decode() for k, v in message["headers"] if k.lower() == b"x-run-id"), "")
            await self.send(message)
        elif message["type"] != "http.response.body":
            await self.send(message)
        elif len(message["body"]) > PIECE:
            await self.all(message["body"])
            if not message["more_body"] and not self.over:
                await self.send({**piece(b""), "more_body": False})
        else:
            if message["more_body"]:
                self._outgoing.begin(self)
            self.sent += len(message["body"])
            self.since = monotonic()
            await self.send(message)
            self.since = inf

    async def all(self, data: bytes) -> None:
        """Sends any number of bytes of a body that goes on. Returns when the response is cut, as if all were sent.

        An exception would keep the bytes alive in the frames of its traceback.
        """
        self._outgoing.hold(self, len(data))
        try:
            for first in range(0, len(data), PIECE):
                self.since = monotonic()
                await self.send(piece(data[first : first + PIECE]))
                self.sent += min(PIECE, len(data) - first)
        except asyncio.CancelledError:
            if not self.over:
                raise
            if self._task:
                self._task.uncancel()
        self.since = inf
        self._outgoing.hold(self, 0)

    def close(self) -> None:
        """The response is over."""
        self._task = None
        self._outgoing.end(self)


def piece(data: bytes) -> HTTPResponseBodyEvent:
    """A piece of a body that goes on."""
    return {"type": "http.response.body", "body": data, "more_body": True}
