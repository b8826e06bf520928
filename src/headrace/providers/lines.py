"""Answers that come line by line: server-sent events with JSON in their `data:` lines, and JSON lines."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from typing import Any, ClassVar, Final

import msgspec

from headrace.engine.chat import Delta
from headrace.errors import ProviderMalformed
from headrace.providers.answers import AnswerParser
from headrace.providers.refusals import failure_inside

_LONGEST_LINE: Final = 32 * 1024 * 1024  # bytes: a picture inside an answer is one line
_MOST_STRAYS: Final = 100  # lines of an error that is written over several
_LONGEST_STRAY: Final = 8192  # bytes
_BLANK: Final = (b"", b"\r")
_FIELDS: Final = (b":", b"data:", b"event:", b"id:", b"retry:")


class LineParser(AnswerParser):
    """What the parsers of line protocols share. A protocol says what one payload means, in `take`.

    In these protocols every `data:` line is one JSON object, so lines are all that is looked at; `\\n` and `\\r\\n` end
    them, and so does the end of the connection.
    """

    prefix: ClassVar[bytes] = b"data:"

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._rest: list[bytes] = []
        self._strays: list[bytes] = []

    @abstractmethod
    def take(self, payload: bytes, deltas: list[Delta]) -> None:
        """Adds the deltas of one payload. Raises ProviderError."""

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """See AnswerParser."""
        if not data:
            self._end(deltas)
            return
        if b"\n" not in data:
            self._rest.append(data)
            if sum(map(len, self._rest)) > _LONGEST_LINE:
                raise ProviderMalformed("the model sent a line without an end")
            return
        *lines, rest = b"".join((*self._rest, data)).split(b"\n")
        self._rest = [rest] if rest else []
        prefix, size = self.prefix, len(self.prefix)
        for line in lines:
            if line[:size] == prefix and len(line) > size:
                self.take(line[size:], deltas)
                if self.done:
                    return
            elif line not in _BLANK and not line.startswith(_FIELDS):
                self._strays = [*self._strays, line[:_LONGEST_STRAY]][-_MOST_STRAYS:]

    def _end(self, deltas: list[Delta]) -> None:
        """Takes in a last line without an end; where it is half a line, the answer was cut."""
        if rest := b"".join(self._rest):
            self._rest = []
            with suppress(ProviderMalformed):
                self.read(rest + b"\n", deltas)
        if not self.finished:
            self._look_for_an_error()

    def _look_for_an_error(self) -> None:
        """Servers of several makes write an error that comes late as it is, or into a field `error:`."""
        stray = b"\n".join(self._strays).strip().removeprefix(b"error:")
        try:
            found = msgspec.json.decode(stray, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        if "error" in found or "message" in found:
            raise failure_inside(stray, self.secret)

    def unreadable(self, payload: bytes, error: Exception) -> None:
        """Ends the answer because of a payload that is not of this protocol; white space is none."""
        if payload.strip():
            raise ProviderMalformed(f"the model sent a chunk that cannot be read: {error}") from None
