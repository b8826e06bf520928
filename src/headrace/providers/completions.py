"""Models that continue a text: OpenAI's completions, and Hugging Face's text generation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from headrace.engine.chat import ChatRequest, Delta, FinishDelta, ModelMessage, TextDelta, UsageDelta
from headrace.engine.ports import Images
from headrace.providers.endpoint import Endpoint
from headrace.providers.error_mapping import failure_inside, is_failure
from headrace.providers.finish_reasons import finish_of, named
from headrace.providers.lenient_json import LenientDecoder, as_json
from headrace.providers.stream_parser import Answer, LineParser, ResponseParser
from headrace.providers.token_counts import TokenCount, usage_of

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

    def __init__(self, endpoint: Endpoint, body_of: BodyOf, parser: Callable[[str], ResponseParser]) -> None:
        self._endpoint, self._body_of, self._parser = endpoint, body_of, parser

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel. Tools are not offered: these protocols have none."""
        call = self._endpoint.call(self._body_of(prompt_of(request.messages), request.stop))
        return Answer(self._endpoint.http, call, partial(self._parser, self._endpoint.secret))


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    text: str = ""
    finish_reason: str | None = None
    error: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] = []
    usage: TokenCount | None = None
    error: Any = None


class CompletionParser(LineParser[_Chunk]):
    """Turns the bytes of OpenAI's completions, cut anywhere, into deltas. No I/O.

    Of several choices the first that speaks is the answer.
    """

    chunks = LenientDecoder(_Chunk)

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._choice: int | None = None
        self._counted: TokenCount | None = None

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """See ResponseParser. Some servers give the count so far with every chunk: the last one holds."""
        super().read(data, deltas)
        if self._counted and self.finished and (self.done or not data):
            deltas.append(UsageDelta(self._counted.usage))
            self._counted = None

    def take(self, chunk: _Chunk, payload: bytes, deltas: list[Delta]) -> None:
        """See LineParser."""
        if chunk.usage is not None and (self._counted is None or chunk.usage.says):
            self._counted = chunk.usage
        reason = None
        for choice in chunk.choices:
            if choice.index != self._choice and not self._chosen(choice.index):
                continue
            if choice.text:
                deltas.append(TextDelta(choice.text))
            if choice.error is not None:
                self._failing(choice.error)
            reason = choice.finish_reason or reason
        if chunk.error is not None:
            self._failing(chunk.error)
        if reason is not None and named(reason):
            self._finish(reason, deltas)
        if not chunk.choices and chunk.usage is None:
            self.suspect(payload)

    def _chosen(self, index: int | None) -> bool:
        """True for the choice that is the answer."""
        if index is not None and self._choice is None:
            self._choice = index
        return index is None or index == self._choice

    def _failing(self, error: Any) -> None:
        if is_failure(error):
            raise failure_inside(as_json({"error": error}), self.secret)

    def over(self, deltas: list[Delta]) -> None:
        """See LineParser: the answer is whole, whether or not it has said why it ended."""
        self.finished = self.done = True

    def _finish(self, reason: str, deltas: list[Delta]) -> None:
        finish = finish_of(reason)
        if not self.finished:
            deltas.append(FinishDelta(finish if finish == "length" else "stop"))
        self.finished = True


class _Token(msgspec.Struct, gc=False):
    text: str = ""
    special: bool = False


class _Details(msgspec.Struct, gc=False):
    finish_reason: str = ""
    generated_tokens: float = 0
    input_length: float = 0


class _Piece(msgspec.Struct, gc=False):
    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None
    error: Any = None


class GenerationParser(LineParser[_Piece]):
    """Turns the bytes of Hugging Face's text generation, cut anywhere, into deltas. No I/O."""

    chunks = LenientDecoder(_Piece)

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._said = False

    def take(self, chunk: _Piece, payload: bytes, deltas: list[Delta]) -> None:
        """See LineParser: one token."""
        if chunk.error is not None and is_failure(chunk.error):
            raise failure_inside(payload, self.secret)
        if chunk.token and not chunk.token.special:
            self._said = True
            deltas.append(TextDelta(chunk.token.text))
        if chunk.generated_text is not None or (chunk.details and chunk.details.finish_reason):
            self._ending(chunk, deltas)
        elif not chunk.token:
            self.suspect(payload)

    def _ending(self, chunk: _Piece, deltas: list[Delta]) -> None:
        if self.finished:
            return
        if chunk.generated_text and not self._said and not chunk.token:  # at once, although a stream was asked for
            deltas.append(TextDelta(chunk.generated_text))
        details = chunk.details or _Details()
        finish = finish_of(details.finish_reason) if named(details.finish_reason) else "stop"
        self.finished = True
        deltas.append(FinishDelta(finish if finish == "length" else "stop"))
        if details.input_length:
            deltas.append(UsageDelta(usage_of(details.input_length, details.generated_tokens)))
