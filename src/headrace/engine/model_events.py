"""Turns a model's deltas into a run's events."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from time import monotonic
from typing import Final

from headrace.engine.batches import Batches, passed
from headrace.engine.chat import (
    ChatRequest,
    CitationDelta,
    Delta,
    FinishDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageDelta,
)
from headrace.engine.node import Context
from headrace.engine.ports import ChatModel
from headrace.events import Document, Event, SourceDocuments, Start, Thinking, Token

PIECES: Final = re.compile(r"\s+|\S+")
"""How a text that is there already is told: words, and what is between them."""


class ModelEvents:
    """Turns the deltas of one answer into events: `start` with the first chunk, then what the model thinks and says."""

    def __init__(self, ctx: Context, *, starts: bool = True, opens_empty: bool = True) -> None:
        """`starts` says whether there is a `start`; `opens_empty` whether an empty first chunk gives it already."""
        self._ctx, self._started, self._opens_empty = ctx, not starts, opens_empty
        self._thinking_since: float | None = None
        self._cited: list[Document] = []

    def events(self, deltas: Sequence[Delta]) -> list[Event]:
        """The events of a batch. What a reader need not see is counted or kept."""
        events: list[Event] = []
        for delta in deltas:
            match delta:
                case TextDelta():  # by far the most frequent one
                    if self._thinking_since is not None:
                        events.append(self._thought())
                    if delta.text or self._opens_empty:
                        self._begin(delta.text, events)
                    if delta.text:
                        events.append(Token(delta.text))
                case ThinkingDelta() if delta.text:
                    self._begin("", events)
                    self._thinking_since = self._thinking_since or monotonic()
                    events.append(Thinking(delta.text))
                case UsageDelta():
                    self._ctx.count(delta.usage)
                case CitationDelta():
                    self._cited.append(delta.document)
                case ToolCallDelta():
                    self._begin("", events)
                    if self._thinking_since is not None:
                        events.append(self._thought())
                case FinishDelta() if self._thinking_since is not None:
                    events.append(self._thought())
                case _:
                    pass
        return events

    def end(self) -> list[Event]:
        """The events that close the answer: the sources that the model itself cited."""
        return [SourceDocuments(self._cited)] if self._cited else []

    def _begin(self, text: str, events: list[Event]) -> None:
        if not self._started:
            self._started = True
            events.append(Start(text))

    def _thought(self) -> Thinking:
        seconds = monotonic() - (self._thinking_since or 0.0)
        self._thinking_since = None
        return Thinking("", round(seconds))


class AnswerEvents(Batches[Event]):
    """The model's answer as events, a batch for each of its own."""

    def __init__(self, model: ChatModel, request: ChatRequest, ctx: Context, *, opens_empty: bool = True) -> None:
        super().__init__(self._read())
        self._model, self._request = model, request
        self._answer = ModelEvents(ctx, opens_empty=opens_empty)

    async def push(self, write: Callable[[Sequence[Event]], None]) -> None:
        """See Batches. A model whose answer is rewritten on its way is read."""
        answer = self._answer

        def take(deltas: Sequence[Delta]) -> None:
            if events := answer.events(deltas):
                write(events)

        async with aclosing(self._model.stream(self._request)) as batches:
            await passed(batches, take)
        if events := answer.end():
            write(events)

    async def _read(self) -> AsyncGenerator[Sequence[Event]]:
        async with aclosing(self._model.stream(self._request)) as batches:
            async for deltas in batches:
                if events := self._answer.events(deltas):
                    yield events
        if events := self._answer.end():
            yield events


def answer_events(
    model: ChatModel, request: ChatRequest, ctx: Context, *, opens_empty: bool = True
) -> AsyncGenerator[Sequence[Event]]:
    """The model's answer as events; a node that returns this itself passes it on unread."""
    return AnswerEvents(model, request, ctx, opens_empty=opens_empty)


async def answer_text(model: ChatModel, request: ChatRequest, ctx: Context) -> str:
    """The whole text of the model's answer, without events."""
    said: list[str] = []
    async with aclosing(model.stream(request)) as batches:
        async for deltas in batches:
            for delta in deltas:
                if isinstance(delta, TextDelta):
                    said.append(delta.text)
                elif isinstance(delta, UsageDelta):
                    ctx.count(delta.usage)
    return "".join(said)


async def text_events(text: str) -> AsyncGenerator[Sequence[Event]]:
    """A text that is there already, told word by word like an answer."""
    pieces = PIECES.findall(text) or [""]
    yield [Start(pieces[0]), *(Token(piece) for piece in pieces if piece)]
