"""One answer of a model that may use tools: put together from its deltas, and the arguments of its calls read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.engine.chat import (
    Delta,
    FactsDelta,
    ModelMessage,
    TextDelta,
    ThinkingDelta,
    Thought,
    ToolCall,
    ToolCallDelta,
    UsageDelta,
)
from headrace.errors import ProviderMalformed
from headrace.events import Usage
from headrace.surrogates import all_whole, decoded

LONGEST_ARGUMENTS: Final = 1_000_000
"""Characters of one call."""
_WRAPPINGS: Final = 4  # of JSON in JSON
_MOST_CALLS: Final = 128  # of one turn: providers take no more of them back


class ModelAnswer:
    """One answer of the model, put together from its deltas; what is beyond any measure is not kept."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.facts = FactsDelta({})
        self._text: list[str] = []
        self._thoughts: list[Thought] = []
        self._thinking: list[str] = []
        self._calls: dict[int, list[ToolCallDelta]] = {}
        self._sizes: dict[int, int] = {}

    def add(self, deltas: Sequence[Delta]) -> None:
        """Takes the next deltas in."""
        for delta in deltas:
            match delta:
                case TextDelta():
                    self._text.append(delta.text)
                case ToolCallDelta():
                    self._add_call(delta)
                case ThinkingDelta():
                    self._thinking.append(delta.text)
                    if delta.signature:
                        self._thoughts.append(Thought("".join(self._thinking), delta.signature, delta.redacted))
                        self._thinking.clear()
                case UsageDelta():
                    self.usage = delta.usage
                case FactsDelta():
                    self.facts = delta
                case _:
                    pass

    def _add_call(self, delta: ToolCallDelta) -> None:
        size = self._sizes.get(delta.index, 0)
        if size > LONGEST_ARGUMENTS or (delta.index not in self._calls and len(self._calls) >= _MOST_CALLS):
            return
        self._sizes[delta.index] = size + len(delta.arguments)
        self._calls.setdefault(delta.index, []).append(delta)

    @property
    def text(self) -> str:
        """The model's text so far."""
        return "".join(self._text)

    @property
    def calls(self) -> list[ToolCall]:
        """The model's tool calls, in its order."""
        return [_joined(parts) for _, parts in sorted(self._calls.items())]

    @property
    def message(self) -> ModelMessage:
        """The turn as the model reads it back, without arguments that it could not read again."""
        calls = [
            call if len(call.arguments) <= LONGEST_ARGUMENTS else msgspec.structs.replace(call, arguments="{}")
            for call in self.calls
        ]
        return ModelMessage("assistant", self.text, calls, self._thoughts)


def _joined(parts: Sequence[ToolCallDelta]) -> ToolCall:
    def whole(name: str) -> str:
        return next((value for part in parts if (value := getattr(part, name))), "")

    arguments = "".join(part.arguments for part in parts)
    return ToolCall(whole("id") or f"call-{parts[0].index}", whole("name"), arguments, whole("signature"))


def arguments_of(call: ToolCall) -> Any:
    """The arguments as a JSON value. Raises ProviderMalformed, as recordings have it, for what is not JSON."""
    if not call.arguments.strip():
        return {}
    try:
        return msgspec.json.decode(call.arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        wrong = error
    try:  # half of a character, which a model's own cut has left
        return all_whole(decoded(call.arguments))
    except (ValueError, RecursionError):
        raise ProviderMalformed(f"the model called {call.name!r} with arguments that are not JSON: {wrong}") from None


def arguments_object(value: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as an object. Arguments that are no object become the only property, or `input`.

    Models that speak in text give a text, which may hold the object; some write it once more as JSON text.
    """
    properties = schema.get("properties", {})
    value = _unwrapped(value)
    if isinstance(value, dict):
        return value
    if value is None or (not properties and value in ("", [])):
        return {}
    return {next(iter(properties)) if len(properties) == 1 else "input": value}


def _unwrapped(value: Any) -> Any:
    for _ in range(_WRAPPINGS):
        if not isinstance(value, str) or value.lstrip()[:1] not in ('"', "{"):
            break
        try:
            value = all_whole(decoded(value))
        except (ValueError, RecursionError):
            break
    return value
