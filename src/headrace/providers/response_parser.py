"""The one loop that reads a provider's answer, and what the parsers of all protocols share."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from headrace.engine.chat import Delta, ModelMessage, ToolCallDelta
from headrace.engine.ports import Body, Http, HttpCall, Tries
from headrace.errors import ProviderCut, ProviderError, ProviderMalformed
from headrace.providers.error_mapping import carries_error, failure_inside
from headrace.providers.lenient_json import LenientDecoder
from headrace.providers.split_characters import CharacterJoiner

_END_PATIENCE = 0.05  # seconds
_LARGEST_ANSWER = 256 * 1024 * 1024  # bytes of one that is read whole
_T = TypeVar("_T")


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


async def answered(
    http: Http, call: HttpCall, parser: Callable[[], ResponseParser], tries: Tries | None = None
) -> AsyncGenerator[Sequence[Delta]]:
    """The deltas of a call's answer, one batch a read. Raises ProviderError.

    A call is made again, as `tries` allow, when its answer fails before its first word; each has a `parser` of its own.
    """
    tries = tries or http.tries(call)
    while True:
        body, reader, begun = await http.send(call, tries), parser(), False
        try:
            while data := await body.read():
                if deltas := reader.feed(data):
                    begun = begun or says_something(deltas)
                    yield deltas
                if reader.done:
                    await _rest(body)
                    break
            else:
                if deltas := reader.feed(b""):
                    begun = begun or says_something(deltas)
                    yield deltas
            reader.close()
            return
        except ProviderError as error:
            if begun:
                raise
            failure = error
        finally:
            body.close()
        await tries.again(failure)


def says_something(deltas: Iterable[Delta]) -> bool:
    """True when the deltas hold a part of an answer, and not only its beginning."""
    return any(isinstance(delta, ToolCallDelta) or getattr(delta, "text", "") for delta in deltas)


async def read_answer(http: Http, call: HttpCall, read: Callable[[bytes], _T]) -> _T:
    """The result of `read` for the whole body of an answer. Raises ProviderError, also for a body that is too large.

    The call is made again, as the provider's limits allow, when its answer breaks off or holds an error that may pass.
    """
    tries = http.tries(call)
    while True:
        body = await http.send(call, tries)
        try:
            return read(await _whole(body, call))
        except ProviderError as error:
            failure = error
        finally:
            body.close()
        await tries.again(failure)


async def _whole(body: Body, call: HttpCall) -> bytes:
    answer = bytearray()
    while data := await body.read():
        answer += data
        if len(answer) > _LARGEST_ANSWER:
            raise ProviderMalformed(f"the answer from {call.url.split('?')[0]} has more than {_LARGEST_ANSWER} bytes")
    return bytes(answer)


async def json_answer(http: Http, call: HttpCall, kind: type[_T]) -> _T:
    """The answer to a call that has a single JSON value for one. Raises ProviderError."""

    def read(data: bytes) -> _T:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ProviderMalformed(f"the answer from {call.url.split('?')[0]} cannot be read: {error}") from None

    return await read_answer(http, call, read)


async def loose_answer(http: Http, call: HttpCall, kind: LenientDecoder[_T], whole: Callable[[_T], object]) -> _T:
    """The same for a model's answer, of which only what is needed must be right: that it is `whole`.

    Raises ProviderError, also the one that an answer with status 200 carries.
    """

    def read(data: bytes) -> _T:
        try:
            value = kind.read(data)
        except ValueError as error:
            value, wrong = None, error
        else:
            wrong = "what is needed is not in it"
        if value is not None and whole(value):
            return value
        if carries_error(data):
            raise failure_inside(data, call.secret)
        raise ProviderMalformed(f"the answer from {call.url.split('?')[0]} cannot be read: {wrong}")

    return await read_answer(http, call, read)


async def _rest(body: Body) -> None:
    """Reads to the end of a body whose answer is complete, so that its connection can be used again; not for long."""
    with suppress(TimeoutError, ProviderError):
        async with asyncio.timeout(_END_PATIENCE):
            while await body.read():
                pass


def turns(
    messages: Iterable[ModelMessage],
    assistant: str,
    blocks: str,
    blocks_of: Callable[[ModelMessage], Iterable[Mapping[str, Any]]],
) -> list[dict[str, Any]]:
    """The messages for a protocol with two roles and lists of blocks: neighbours of one role are one turn.

    System messages go elsewhere there, and empty turns are refused, so both are left out.
    """
    found: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = assistant if message.role == "assistant" else "user"
        said = list(blocks_of(message))
        if found and found[-1]["role"] == role:
            found[-1][blocks] += said
        elif said:
            found.append({"role": role, blocks: said})
    return found
