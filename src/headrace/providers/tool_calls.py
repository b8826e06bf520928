"""Tells the tool calls of one answer apart, however their provider numbers and names them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headrace.engine.chat import ToolCallDelta
from headrace.providers.lenient_json import value_of
from headrace.surrogates import all_whole

_LONGEST_LOOK: Final = 200_000  # characters of arguments that are looked at to see whether they are complete


class _Call:
    """A call as it has come so far."""

    def __init__(self, number: int, call_id: str, name: str) -> None:
        self.number, self.id, self.name = number, call_id, name
        self.size = 0
        self._parts: list[str] = []

    def add(self, arguments: str) -> None:
        self._parts.append(arguments)
        self.size += len(arguments)

    @property
    def arguments(self) -> str:
        return "".join(self._parts)

    @property
    def complete(self) -> bool:
        """The arguments are a whole JSON object: text after it belongs to another call."""
        last = next((part for part in reversed(self._parts) if part.strip()), "")
        return last.rstrip().endswith("}") and self.size <= _LONGEST_LOOK and is_object(self.arguments)


class Calls:
    """The calls of one answer. Each gets a number of its own, the provider's as far as no other call has it."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._open: dict[int | None, _Call] = {}  # by the provider's number

    def __bool__(self) -> bool:
        return bool(self._calls)

    def opened(self, index: int | None, call_id: str = "", name: str = "") -> int:
        """Begins a call, for protocols that say where one begins. Gives its number."""
        return self._new(index, call_id, name).number

    def id(self, number: int) -> str:
        """The id of a call: the provider's, unless another call has the same."""
        return next(call.id for call in self._calls if call.number == number)

    def number(self, index: int | None) -> int | None:
        """The number of the call that a fragment with this index belongs to, if one has begun."""
        call = self._open.get(index)
        return call.number if call else None

    def fragment(self, index: int | None, call_id: str, name: str, arguments: Any) -> ToolCallDelta | None:
        """A part of a call, for protocols that only number them; None when it repeats what has come."""
        text = as_text(arguments)
        call = self._known(index, call_id)
        if call is None or self._another(call, index, call_id, name, text):
            call = self._new(index, call_id, name)
            call.add(text)
            return ToolCallDelta(call.number, call.id, name, text)
        if name and call.arguments == text and call.complete:  # some say at the end again what they have streamed
            return None
        first = name if not call.name else ""
        call.name, own = call.name or name, "" if call.id else call_id
        call.id = call.id or call_id
        call.add(text)
        self._open[index] = call
        return ToolCallDelta(call.number, own, first, text)

    def _known(self, index: int | None, call_id: str) -> _Call | None:
        same = next((call for call in self._calls if call_id and call.id == call_id), None)
        if index is None:
            return same or (None if call_id else next(reversed(self._calls), None))
        if index in self._open:
            here = self._open[index]
            return same if same and here.id != call_id else here
        return same if same and not same.complete and same.name else None

    @staticmethod
    def _another(call: _Call, index: int | None, call_id: str, name: str, text: str) -> bool:
        """Says that a fragment, which could belong to this call, begins another one."""
        if call_id and call.id and call.id != call_id:  # some make up an id for each fragment, and name the call once
            return bool(name) or call.complete
        if not name:
            return False
        if call.name and name != call.name and not call_id:
            return True
        return (bool(text.strip()) and call.complete and call.arguments != text) or (
            not call_id and call.complete and call.arguments == text
        )

    def _new(self, index: int | None, call_id: str, name: str) -> _Call:
        taken = {call.number for call in self._calls}
        number = len(self._calls) if index is None else index
        if number in taken:
            number = max(taken) + 1
        if call_id and any(call.id == call_id for call in self._calls):  # an answer to it could not be told apart
            call_id = f"{call_id}-{number}"
        call = _Call(number, call_id, name)
        self._calls.append(call)
        self._open[index] = call
        return call


def as_text(arguments: Any) -> str:
    """Arguments as JSON text: servers that do not stream them send the object."""
    if isinstance(arguments, str):
        return arguments
    return msgspec.json.encode(all_whole(arguments)).decode() if arguments else ""


def is_object(text: str) -> bool:
    """True for a whole JSON object, and for one that is encoded as a JSON text."""
    try:
        value = value_of(text.encode("utf-8", "surrogatepass"))
        return isinstance(value, dict | str)
    except ValueError:
        return False
