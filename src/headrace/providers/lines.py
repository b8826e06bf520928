"""Answers that come line by line: server-sent events with JSON in their `data:` lines, and JSON lines."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from headrace.engine.chat import Delta
from headrace.errors import ProviderMalformed
from headrace.providers.answers import AnswerParser

_LONGEST_LINE = 32 * 1024 * 1024  # bytes: a picture inside an answer is one line


class LineParser(AnswerParser):
    """What the parsers of line protocols share. A protocol says what one payload means, in `take`.

    In these protocols every `data:` line is one JSON object, so lines are all that is looked at; `\\n` and `\\r\\n` end
    them.
    """

    prefix: ClassVar[bytes] = b"data:"

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._rest: list[bytes] = []

    @abstractmethod
    def take(self, payload: bytes, deltas: list[Delta]) -> None:
        """Adds the deltas of one payload. Raises ProviderError."""

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """See AnswerParser."""
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

    def unreadable(self, payload: bytes, error: Exception) -> None:
        """Ends the answer because of a payload that is not of this protocol; white space is none."""
        if payload.strip():
            raise ProviderMalformed(f"the model sent a chunk that cannot be read: {error}") from None
