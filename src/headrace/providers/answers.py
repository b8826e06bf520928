"""The one loop that reads a provider's answer, and what the parsers of all protocols share."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from headrace.engine.chat import Delta, ModelMessage
from headrace.engine.ports import Body, Http, HttpCall
from headrace.errors import ProviderCut, ProviderError, ProviderMalformed

_END_PATIENCE = 0.05  # seconds
_LARGEST_ANSWER = 256 * 1024 * 1024  # bytes of one that is read whole
_T = TypeVar("_T")


class AnswerParser(ABC):
    """Turns an answer's bytes, cut anywhere, into deltas. No I/O. A protocol says how, in `read`."""

    def __init__(self, secret: str = "") -> None:
        self.secret = secret
        self.finished = False
        """The answer is whole, whatever may still come."""
        self.done = False
        """Nothing more will come."""
        self._kept: ProviderError | None = None

    @abstractmethod
    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """Adds the deltas that `data` completes; without any data the connection has ended. Raises ProviderError."""

    def feed(self, data: bytes) -> Sequence[Delta]:
        """The deltas that `data` completes, b"" being the end, as for Body.

        Raises ProviderError; `close` does when there are deltas to give first.
        """
        deltas: list[Delta] = []
        try:
            self.read(data, deltas)
        except ProviderError as error:
            if not deltas:
                raise
            self._kept, self.done = error, True
        return deltas

    def close(self) -> None:
        """Says that the connection has ended. Raises ProviderCut when the answer had not, and what `feed` kept."""
        if self._kept:
            raise self._kept
        if not self.finished:
            raise ProviderCut("the model's answer broke off before its end")


async def answered(http: Http, call: HttpCall, parser: AnswerParser) -> AsyncGenerator[Sequence[Delta]]:
    """The deltas of a call's answer, one batch a read. Raises ProviderError."""
    body = await http.send(call)
    try:
        while data := await body.read():
            if deltas := parser.feed(data):
                yield deltas
            if parser.done:
                await _rest(body)
                break
        else:
            if deltas := parser.feed(b""):
                yield deltas
    finally:
        body.close()
    parser.close()


async def whole_answer(http: Http, call: HttpCall) -> bytes:
    """The body of a call's answer. Raises ProviderError, also for one that is too large."""
    body, answer = await http.send(call), bytearray()
    try:
        while data := await body.read():
            answer += data
            if len(answer) > _LARGEST_ANSWER:
                raise ProviderMalformed(
                    f"the answer from {call.url.split('?')[0]} has more than {_LARGEST_ANSWER} bytes"
                )
    finally:
        body.close()
    return bytes(answer)


async def json_answer(http: Http, call: HttpCall, kind: type[_T]) -> _T:
    """The answer to a call that has a single JSON value for one. Raises ProviderError."""
    try:
        return msgspec.json.decode(await whole_answer(http, call), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProviderMalformed(f"the answer from {call.url.split('?')[0]} cannot be read: {error}") from None


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
