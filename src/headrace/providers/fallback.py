"""Several models as one: the next is asked when one fails before its first word."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from headrace.engine.chat import ChatRequest, Delta, ModelMessage, ThinkingDelta, ToolCall, ToolCallDelta
from headrace.engine.ports import ChatModel, Images
from headrace.errors import ProviderError, ProviderFiltered
from headrace.providers.openai import OpenAIChat
from headrace.providers.stream_parser import says_something

_MARKED: Final = re.compile(r"@\d+:")


class FallbackChat:
    """Implements `headrace.engine.ports.ChatModel`. `models` are asked in their order; there must be one."""

    images: Images

    def __init__(self, models: Sequence[ChatModel]) -> None:
        self._models = models
        self.images = next((model for model in models if model.images != "refused"), models[0]).images

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel. Raises what the last model raises; a filter's refusal counts as an answer."""
        for place, model in enumerate(self._models):
            mark, begun = self._mark(place), False
            try:
                async with aclosing(model.stream(_readable(request, mark))) as batches:
                    async for deltas in batches:
                        begun = begun or says_something(deltas)
                        yield [_marked(delta, mark) for delta in deltas]
                    return
            except ProviderError as error:
                if begun or isinstance(error, ProviderFiltered) or model is self._models[-1]:
                    raise

    def _mark(self, place: int) -> str:
        """The mark of a model's reasoning. Those of one protocol read each other's.

        OpenAI's is spoken by many servers, each with fields of its own.
        """
        model = self._models[place]
        own = isinstance(model, OpenAIChat)
        same = place if own else next(n for n, one in enumerate(self._models) if type(one) is type(model))
        return f"@{same}:"  # no signature begins so: they are Base64 or JSON


def _marked(delta: Delta, mark: str) -> Delta:
    if isinstance(delta, ThinkingDelta | ToolCallDelta) and delta.signature:
        return msgspec.structs.replace(delta, signature=mark + delta.signature)
    return delta


def _readable(request: ChatRequest, mark: str) -> ChatRequest:
    """The request without the reasoning of models that this one cannot read."""
    return msgspec.structs.replace(request, messages=[_of(message, mark) for message in request.messages])


def _of(message: ModelMessage, mark: str) -> ModelMessage:
    if not message.thoughts and not message.calls:
        return message
    thoughts = [
        msgspec.structs.replace(thought, signature=thought.signature.removeprefix(mark))
        for thought in message.thoughts
        if thought.signature.startswith(mark) or not _MARKED.match(thought.signature)
    ]
    return msgspec.structs.replace(message, thoughts=thoughts, calls=[_own(call, mark) for call in message.calls])


def _own(call: ToolCall, mark: str) -> ToolCall:
    if call.signature.startswith(mark):
        return msgspec.structs.replace(call, signature=call.signature.removeprefix(mark))
    return msgspec.structs.replace(call, signature="") if _MARKED.match(call.signature) else call
