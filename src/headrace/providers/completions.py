"""Models that continue a text: OpenAI's completions, and Hugging Face's text generation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from headrace.engine.chat import ChatRequest, Delta, FinishDelta, ModelMessage, TextDelta, UsageDelta
from headrace.engine.ports import Images
from headrace.errors import ProviderFiltered
from headrace.events import Usage
from headrace.providers.answers import answered
from headrace.providers.endpoint import Endpoint
from headrace.providers.lines import LineParser
from headrace.providers.refusals import failure_inside

BodyOf: TypeAlias = Callable[[str, Sequence[str]], Mapping[str, Any]]
_SPEAKERS: Final = {"system": "System", "user": "Human", "assistant": "AI", "tool": "Tool"}


def prompt_of(messages: Sequence[ModelMessage]) -> str:
    """The conversation as one text; a single message is that text."""
    if len(messages) == 1:
        return messages[0].text
    return "\n".join([*(f"{_SPEAKERS[message.role]}: {message.text}" for message in messages), "AI:"])


class CompletionChat:
    """A model that continues a text, as a chat model. `body_of` makes a body of the text and of words to stop at."""

    images: Images = "refused"

    def __init__(self, endpoint: Endpoint, body_of: BodyOf, parser: Callable[[str], LineParser]) -> None:
        self._endpoint, self._body_of, self._parser = endpoint, body_of, parser

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel. Tools are not offered: these protocols have none."""
        call = self._endpoint.call(self._body_of(prompt_of(request.messages), request.stop))
        return answered(self._endpoint.http, call, self._parser(self._endpoint.secret))


class _Choice(msgspec.Struct):
    text: str = ""
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class CompletionParser(LineParser):
    """Turns the bytes of OpenAI's completions, cut anywhere, into deltas. No I/O."""

    def take(self, payload: bytes, deltas: list[Delta]) -> None:
        """One chunk. Raises ProviderMalformed, or the error that the stream carries."""
        if payload.strip() == b"[DONE]":
            self.finished = self.done = True
            return
        try:
            chunk = _decode_chunk(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.unreadable(payload, error)
            return
        if chunk.error is not None:
            raise failure_inside(payload, self.secret)
        for choice in chunk.choices:
            if choice.text:
                deltas.append(TextDelta(choice.text))
            if choice.finish_reason == "content_filter":
                raise ProviderFiltered("the provider's content filter stopped the answer")
            if choice.finish_reason:
                self.finished = True
                deltas.append(FinishDelta("length" if choice.finish_reason == "length" else "stop"))
        if usage := chunk.usage:
            deltas.append(UsageDelta(Usage(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)))


class _Token(msgspec.Struct):
    text: str = ""
    special: bool = False


class _Details(msgspec.Struct):
    finish_reason: str = ""
    generated_tokens: int = 0
    input_length: int = 0


class _Piece(msgspec.Struct):
    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None
    error: Any = None


_decode_piece = msgspec.json.Decoder(_Piece).decode


class GenerationParser(LineParser):
    """Turns the bytes of Hugging Face's text generation, cut anywhere, into deltas. No I/O."""

    def take(self, payload: bytes, deltas: list[Delta]) -> None:
        """One token. Raises ProviderMalformed, or the error that the stream carries."""
        try:
            piece = _decode_piece(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.unreadable(payload, error)
            return
        if piece.error is not None:
            raise failure_inside(payload, self.secret)
        if piece.token and not piece.token.special:
            deltas.append(TextDelta(piece.token.text))
        if piece.generated_text is not None:
            self.finished = True
            details = piece.details or _Details()
            deltas.append(FinishDelta("length" if details.finish_reason == "length" else "stop"))
            if read := details.input_length:
                said = details.generated_tokens
                deltas.append(UsageDelta(Usage(read, said, read + said)))
