"""Answers that come line by line: server-sent events with JSON in their `data:` lines, and JSON lines."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from contextlib import suppress
from typing import Any, ClassVar, Final, Generic, NoReturn, TypeVar

import msgspec

from headrace.engine.chat import Delta
from headrace.errors import ProviderMalformed
from headrace.providers.error_mapping import carries_error, failure_inside
from headrace.providers.lenient_json import LenientDecoder, as_json, value_of
from headrace.providers.response_parser import ResponseParser

_LONGEST_LINE: Final = 32 * 1024 * 1024  # bytes: a picture inside an answer is one line
_LONGEST_STRAYS: Final = 8 * 1024 * 1024  # bytes of an answer that is written otherwise
_LONGEST_TRIAL: Final = 256 * 1024  # bytes of lines that are tried together before anything says that they are all
_FIELDS: Final = (b":", b"data:", b"event:", b"id:", b"retry:")
_BLANKS: Final = b" \t\xef\xbb\xbf"  # and byte order marks, which proxies leave wherever they join two streams

T = TypeVar("T")


class LineParser(ResponseParser, Generic[T]):
    """The part that the parsers of line protocols share. Each declares its chunk and reads one in `take`.

    In these protocols every `data:` line is one JSON object, so lines are all that is looked at. One that is no JSON on
    its own is put together with those that follow it. All three line ends count, and the end of the connection.
    """

    prefix: ClassVar[bytes] = b"data:"
    chunks: LenientDecoder[T]

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self.event = b""
        """The last `event:` line."""
        self._rest: list[bytes] = []
        self._held: list[bytes] = []  # data lines that are no JSON yet
        self._held_size = 0
        self._strays: deque[bytes] = deque()
        self._stray_size = 0
        self._after_cr = False

    @abstractmethod
    def take(self, chunk: T, payload: bytes, deltas: list[Delta]) -> None:
        """Adds the deltas of one chunk, of which only what is needed is sure to be right. Raises ProviderError."""

    def over(self, deltas: list[Delta]) -> None:
        """`[DONE]` has come, with which servers of several protocols end a stream."""
        self.done = True

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """See ResponseParser."""
        if not data:
            self._end(deltas)
            return
        if self._after_cr or b"\r" in data:
            data = self._unix(data)
        if b"\n" not in data:
            self._rest.append(data)
            if sum(map(len, self._rest)) > _LONGEST_LINE:
                raise ProviderMalformed("the model sent a line without an end")
            return
        *lines, rest = b"".join((*self._rest, data)).split(b"\n")
        self._rest = [rest] if rest else []
        prefix, size, decode, take, held = self.prefix, len(self.prefix), self.chunks.strict, self.take, self._held
        for line in lines:
            if line[:size] == prefix and len(line) != size and not held:
                payload = line[size:]
                try:
                    chunk = decode(payload)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    self._odd(payload, deltas)
                else:
                    take(chunk, payload, deltas)
                if self.done:
                    return
            elif not line:
                if held:
                    self._dispatch(deltas)
            elif line[:6] == b"event:":
                self.event = line
            else:
                self._other(line, deltas)
                if self.done:
                    return

    def _unix(self, data: bytes) -> bytes:
        """The data with each line end as `\\n`."""
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
        self._after_cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _other(self, line: bytes, deltas: list[Delta]) -> None:
        """A line that is no chunk of its own."""
        size = len(self.prefix)
        if line[:size] == self.prefix and (self._held or not size):
            self._odd(line[size:], deltas)
        elif line.startswith(_FIELDS):
            pass
        elif (bare := line.lstrip(_BLANKS)) != line and bare.startswith(self.prefix):
            self._odd(bare[size:], deltas)
        elif bare[:6] == b"event:":
            self.event = bare
        elif bare:
            self._stray(bare)

    def _stray(self, line: bytes) -> None:
        self._strays.append(line)
        self._stray_size += len(line)
        while self._stray_size > _LONGEST_STRAYS:
            self._stray_size -= len(self._strays.popleft())

    def _odd(self, payload: bytes, deltas: list[Delta]) -> None:
        """A payload that is not as documented, or only a part of one."""
        text = payload.strip(_BLANKS + b"\0")
        while text[:5] == b"data:":  # a proxy has framed a frame
            text = text[5:].strip()
        if text.strip(b"\"'").upper() == b"[DONE]":
            self._dispatch(deltas)
            self.over(deltas)
        elif text and (self.prefix or not text.startswith(_FIELDS)):
            self._held.append(text)
            self._held_size += len(text)
            if self._held_size > _LONGEST_LINE:
                raise ProviderMalformed("the model sent a chunk without an end")
            if len(self._held) == 1 or (text[-1:] in b"}]" and self._held_size < _LONGEST_TRIAL):
                self._dispatch(deltas, whole=False)

    def _dispatch(self, deltas: list[Delta], *, whole: bool = True) -> None:
        """Takes what is held as one payload. Raises ProviderMalformed when it is `whole` and cannot be read."""
        payload = b"\n".join(self._held)
        try:
            value = value_of(payload) if payload else None
        except ValueError as error:
            if not whole:
                return
            self._unreadable(payload, error)
        self._held.clear()
        self._held_size = 0
        self._value(value, payload, deltas)

    def _value(self, value: Any, payload: bytes, deltas: list[Delta]) -> None:
        self.rescued()
        match value:
            case dict():
                try:
                    chunk = self.chunks.of(value)
                except ValueError as error:
                    self._unreadable(payload, error)
                self.take(chunk, payload, deltas)
            case list():
                for item in value:
                    self._value(item, as_json(item), deltas)
            case str() if value.lstrip()[:1] == "{":
                self._odd(value.encode("utf-8", "surrogatepass"), deltas)
            case _ if value and self._fails:
                raise failure_inside(payload, self.secret)
            case _:
                pass  # a number or null is a sign of life

    @property
    def _fails(self) -> bool:
        return self.event[6:].strip() == b"error"

    def _unreadable(self, payload: bytes, error: Exception) -> NoReturn:
        if self._fails:
            raise failure_inside(payload, self.secret)
        raise ProviderMalformed(f"the model sent a chunk that cannot be read: {error}") from None

    def suspect(self, payload: bytes) -> None:
        """Looks at a chunk without anything that is known. Raises the error that it is, if it is one."""
        if self._fails or carries_error(payload):
            raise failure_inside(payload, self.secret)

    def _end(self, deltas: list[Delta]) -> None:
        """Takes in a last line without an end; where it is half a line, the answer was cut."""
        if rest := b"".join(self._rest):
            self._rest = []
            self.read(rest + b"\n", deltas)
        if not self.done:
            self._dispatch(deltas, whole=False)
        if not self.finished:
            self._read_strays(deltas)

    def _read_strays(self, deltas: list[Delta]) -> None:
        """Takes in what was written outside of any frame.

        Servers of several makes write an error that comes late as it is, or into a field `error:`, and some answer with
        the whole answer at once, although a stream was asked for.
        """
        stray, known = b"\n".join(self._strays).strip().removeprefix(b"error:"), len(deltas)
        self._strays.clear()
        documents = _documents(stray)
        for document in documents:
            self._value(document, as_json(document), deltas)
            if self.done:
                return
        if len(documents) == 1 and len(deltas) > known:
            self.finished = True


def _documents(stray: bytes) -> list[Any]:
    """The one JSON value that this is, or those that are lines of it."""
    with suppress(ValueError):
        return [value_of(stray)]
    found: list[Any] = []
    for line in stray.split(b"\n"):
        with suppress(ValueError):
            found.append(value_of(line))
    return found
