"""A model's answer inside an agent flow: what is told of it live, and what its execution keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import time
from typing import Any

from headrace.engine.chat import Delta, FactsDelta, TextDelta, UsageDelta
from headrace.engine.model_events import ModelEvents
from headrace.engine.node import Context
from headrace.engine.prices import cost
from headrace.events import CalledTools, Event, Thinking, Token, Usage, UsageMetadata, UsedTool


class Reply:
    """Takes the deltas of one answer. `model` is the name that the flow has for it."""

    def __init__(self, ctx: Context, model: str) -> None:
        self._model = model
        self._events = ModelEvents(ctx, starts=False)
        self._said: list[str] = []
        self._thoughts: list[str] = []
        self._seconds = 0
        self._usage: Usage | None = None
        self._facts: dict[str, Any] = {}
        self._began = _now()

    def take(self, deltas: Sequence[Delta]) -> list[Event]:
        """The events of a batch."""
        for delta in deltas:
            if type(delta) is TextDelta:  # by far the most frequent one
                self._said.append(delta.text)
            elif isinstance(delta, UsageDelta):
                self._usage = delta.usage
            elif isinstance(delta, FactsDelta):
                self._facts = delta.facts
        events = self._events.events(deltas)
        for event in events:
            if type(event) is Thinking:
                self._thoughts.append(event.data)
                self._seconds = event.duration or self._seconds
        return events

    def end(self, told: Sequence[Event] = (), calls: Sequence[UsedTool] = ()) -> list[Event]:
        """The events that close an answer that was told live, `told` among them; an empty one still has a token.

        `calls` are those that wait for a person.
        """
        silence: list[Event] = [] if self.text else [Token("")]
        usage: list[Event] = [UsageMetadata(tokens(self._usage, self._facts))] if self._usage else []
        return [*silence, *self._events.end(), *told, CalledTools(list(calls)), *usage]

    @property
    def text(self) -> str:
        """The model's text."""
        return "".join(self._said)

    @property
    def spent(self) -> int:
        """The tokens that the provider counted."""
        return self._usage.total_tokens if self._usage else 0

    def times(self) -> dict[str, Any]:
        """The times at which the answer began and ended, in milliseconds since 1970."""
        now = _now()
        return {"timeMetadata": {"start": self._began, "end": now, "delta": now - self._began}}

    def kept(self) -> dict[str, Any]:
        """The fields that the execution keeps beside the text."""
        kept: dict[str, Any] = {"calledTools": []}
        if self._usage:
            kept["usageMetadata"] = tokens(self._usage, self._facts) | (
                cost(self._facts.get("model_name", ""), self._usage) or cost(self._model, self._usage)
            )
        if self._facts:
            kept["responseMetadata"] = {"prompt": 0, "completion": 0, **self._facts}
        if self._thoughts:
            kept["reasonContent"] = {"thinking": "".join(self._thoughts), "thinkingDuration": self._seconds}
        return kept


def tokens(usage: Usage, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The tokens of one call as Flowise's clients know them, with what the provider says of their kinds."""
    raw: dict[str, Any] = facts.get("usage") or {}
    into = {"audio": _audio(raw, "prompt_tokens_details"), "cache_read": usage.cached_tokens}
    out = {"audio": _audio(raw, "completion_tokens_details"), "reasoning": usage.reasoning_tokens}
    counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    details = {"input_token_details": _set(into), "output_token_details": _set(out)}
    return {**counts, "total_tokens": usage.total_tokens, **{k: v for k, v in details.items() if v}}


def _audio(raw: dict[str, Any], name: str) -> int | None:
    details = raw.get(name)
    return details.get("audio_tokens") if isinstance(details, dict) else None


def _set(values: dict[str, int | None]) -> dict[str, int]:
    return {name: value for name, value in values.items() if value is not None}


def _now() -> int:
    return int(time() * 1000)
