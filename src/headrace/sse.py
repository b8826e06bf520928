"""Server-Sent Events as text: frames out, a push decoder in. No sockets, no asyncio.

Rules: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Only CR, LF and CRLF end a line: str.splitlines would also cut at U+2028 and others, which answers contain.
_LINE_END = re.compile(rb"\r\n|\r|\n")
_TEXT_LINE_END = re.compile(r"\r\n|\r|\n")


class ServerSentEvent(NamedTuple):
    """A dispatched event: its type ("message" unless named), its data, and the last event id seen so far."""

    event: str
    data: str
    id: str


def frame(event_id: str, data: bytes) -> bytes:
    """One frame in Flowise's dialect, with an `id` line in front.

    `data` is one line of JSON. The odd `message:` line and the missing space after `data:` are what hand-written
    parsers rely on; other parsers ignore the unknown field.
    """
    return b"id:%b\nmessage:\ndata:%b\n\n" % (event_id.encode(), data)


def named_frame(event_id: str, event: str, data: str) -> bytes:
    """One frame as the public documentation draws it: `event:` names the kind, data is text on one or more lines."""
    lines = "".join(f"data: {line}\n" for line in _TEXT_LINE_END.split(data))
    return f"id: {event_id}\nevent: {event}\n{lines}\n".encode()


def comment(text: str) -> bytes:
    """A line that readers ignore: a sign of life. No blank line follows, since some readers dispatch an empty event at
    every blank line (https://github.com/Azure/fetch-event-source, whose users parse it as JSON)."""
    return b": %b\n" % text.encode()


class Decoder:
    """Turns an event stream's bytes, cut anywhere, into events."""

    def __init__(self) -> None:
        self.last_id = ""
        """Id of the last event that came whole: where to resume."""
        self.retry: int | None = None
        """Reconnection time in milliseconds, once the stream named one."""
        self._partial: list[bytes] = []  # a line's fragments: joining once keeps one giant line linear
        self._after_cr = False
        self._first_line = True
        self._id = ""
        self._event = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that `chunk` completes. What follows the last blank line waits for the next chunk."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk[1:] if chunk[0] == 0x0A else chunk
        if not chunk:
            return []
        *lines, rest = _LINE_END.split(chunk)
        self._after_cr = chunk[-1] == 0x0D
        events: list[ServerSentEvent] = []
        for line in lines:
            if self._partial:
                line = b"".join([*self._partial, line])
                self._partial.clear()
            if event := self._line(line):
                events.append(event)
        if rest:
            self._partial.append(rest)
        return events

    def _line(self, line: bytes) -> ServerSentEvent | None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        if line[0] != 0x3A:  # a colon in front makes a comment
            name, _, value = line.decode("utf-8", "replace").partition(":")
            self._field(name, value.removeprefix(" "))
        return None

    def _field(self, name: str, value: str) -> None:
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)

    def _dispatch(self) -> ServerSentEvent | None:
        event, data = self._event or "message", self._data
        self._event, self._data, self.last_id = "", [], self._id
        return ServerSentEvent(event, "\n".join(data), self.last_id) if data else None
