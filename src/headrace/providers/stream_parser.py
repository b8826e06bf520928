"""The way of a streamed answer from a provider's socket to deltas: the one loop that reads it, and what parsers share.

Most protocols come line by line: server-sent events with JSON in their `data:` lines, or JSON lines.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, Generic, NoReturn, TypeVar

import msgspec

from headrace.engine.batches import Batches
from headrace.engine.chat import Delta, ToolCallDelta
from headrace.engine.ports import Body, Http, HttpCall, Tries
from headrace.errors import ProviderCut, ProviderError, ProviderMalformed
from headrace.providers.error_mapping import carries_error, failure_inside
from headrace.providers.lenient_json import LenientDecoder, as_json, value_of
from headrace.providers.split_characters import CharacterJoiner

_END_PATIENCE: Final = 0.05  # seconds
_LONGEST_LINE: Final = 32 * 1024 * 1024  # bytes: a picture inside an answer is one line
_LONGEST_STRAYS: Final = 8 * 1024 * 1024  # bytes of an answer that is written otherwise
_LONGEST_TRIAL: Final = 256 * 1024  # bytes of lines that are tried together before anything says that they are all
_FIELDS: Final = (b":", b"data:", b"event:", b"id:", b"retry:")
_BLANKS: Final = b" \t\xef\xbb\xbf"  # and byte order marks, which proxies leave wherever they join two streams

T = TypeVar("T")


class Answer(Batches[Delta]):
    """The deltas of a call's answer, one batch a read. Raises ProviderError.

    A call is made again, as its `tries` allow, when its answer fails before its first word.
    """

    def __init__(
        self, http: Http, call: HttpCall, parser: Callable[[], ResponseParser], tries: Tries | None = None
    ) -> None:
        """Each attempt has a `parser` of its own."""
        super().__init__(self._read())
        self._http, self._call, self._parser, self._given = http, call, parser, tries

    async def push(self, write: Callable[[Sequence[Delta]], None]) -> None:
        """See Batches: `write` is called in the callback that reads the provider's socket."""
        tries = self._given or self._http.tries(self._call)
        while True:
            attempt = _Attempt(await self._http.send(self._call, tries), self._parser())

            def take(data: bytes, attempt: _Attempt = attempt) -> bool:
                if deltas := attempt.read(data):
                    write(deltas)
                return attempt.goes_on

            try:
                await attempt.body.push(take)
                await attempt.end()
                return
            except ProviderError as error:
                failure = attempt.failed(error)
            finally:
                attempt.body.close()
            await tries.again(failure)

    async def _read(self) -> AsyncGenerator[Sequence[Delta]]:
        tries = self._given or self._http.tries(self._call)
        while True:
            attempt = _Attempt(await self._http.send(self._call, tries), self._parser())
            try:
                while attempt.goes_on:
                    if deltas := attempt.read(await attempt.body.read()):
                        yield deltas
                await attempt.end()
                return
            except ProviderError as error:
                failure = attempt.failed(error)
            finally:
                attempt.body.close()
            await tries.again(failure)


class _Attempt:
    """One of the attempts at an answer."""

    def __init__(self, body: Body, parser: ResponseParser) -> None:
        self.body, self._parser = body, parser
        self._begun = False
        self.goes_on = True

    def read(self, data: bytes) -> Sequence[Delta]:
        """The deltas of one read, b"" being the end."""
        deltas = self._parser.feed(data)
        if deltas and not self._begun:
            self._begun = says_something(deltas)
        self.goes_on = bool(data) and not self._parser.done
        return deltas

    async def end(self) -> None:
        """Raises what the end of the answer comes to."""
        if self._parser.done:
            await _rest(self.body)
        self._parser.close()

    def failed(self, error: ProviderError) -> ProviderError:
        """The error, when another attempt can be made. Raises it otherwise."""
        if self._begun:
            raise error
        return error


def says_something(deltas: Iterable[Delta]) -> bool:
    """True when the deltas hold a part of an answer, and not only its beginning."""
    return any(isinstance(delta, ToolCallDelta) or getattr(delta, "text", "") for delta in deltas)


async def _rest(body: Body) -> None:
    """Reads to the end of a body whose answer is complete, so that its connection can be used again; not for long."""
    with suppress(TimeoutError, ProviderError):
        async with asyncio.timeout(_END_PATIENCE):
            while await body.read():
                pass


class ResponseParser(ABC):
    """Turns an answer's bytes, cut anywhere, into deltas. No I/O. A protocol says how, in `read`."""

    def __init__(self, secret: str = "") -> None:
        self.secret = secret
        self.finished = False
        """The answer is whole, whatever may still come."""
        self.done = False
        """Nothing more will come."""
        self._kept: ProviderError | None = None
        self._halves: CharacterJoiner | None = None

    @abstractmethod
    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """Adds the deltas that `data` completes; without any data the connection has ended. Raises ProviderError."""

    def feed(self, data: bytes) -> Sequence[Delta]:
        """The deltas that `data` completes, b"" being the end, as for Body.

        Raises ProviderError; `close` does when there are deltas to give first.
        """
        deltas: list[Delta] = []
        failure: ProviderError | None = None
        try:
            self.read(data, deltas)
        except ProviderError as error:
            failure = error
        if self._halves:
            deltas = self._halves.joined(deltas)
            if self.done or failure or not data:
                deltas += self._halves.rest()
        if failure and not deltas:
            raise failure
        if failure:
            self._kept, self.done = failure, True
        return deltas

    def rescued(self) -> None:
        """Says that a chunk was read that may hold halves of characters: from now on they are looked for."""
        self._halves = self._halves or CharacterJoiner()

    def close(self) -> None:
        """Says that the connection has ended. Raises ProviderCut when the answer had not, and what `feed` kept."""
        if self._kept:
            raise self._kept
        if not self.finished:
            raise ProviderCut("the model's answer broke off before its end")


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
