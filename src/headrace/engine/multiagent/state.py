"""The state of a multi-agent flow: values by key, how updates change them, and how `$flow.…` reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from headrace.engine.agent import described
from headrace.engine.chat import ModelMessage
from headrace.engine.node import Context
from headrace.errors import FlowError

_KEYS: Final = re.compile(r"[^.\[\]\s]+")
_NUMBER: Final = re.compile(r"-?\d+")
_KINDS: Final = {"user": "human", "assistant": "ai"}
_BEGIN: Final = "(() => {{ const given = (() => {{ {code} \n}})(); const begun = {{}}; "
_DEFAULTS: Final = (
    _BEGIN + "for (const key of Object.keys(given)) begun[key] = given[key].default ? given[key].default() : null; "
    "return begun; }})()"
)
_REDUCED: Final = (
    _BEGIN + "for (const key of Object.keys($updates)) begun[key] = given[key] ? "
    "given[key].value($state[key], $updates[key]) : $updates[key]; return begun; }})()"
)


class Channel(msgspec.Struct, frozen=True):
    """A key of the state. Updates replace its value, or are appended to the list that it is."""

    key: str = ""
    type: Literal["Replace", "Append"] = "Replace"
    defaultValue: Any = None

    @property
    def begun(self) -> Any:
        """The value before the first update."""
        if self.type == "Replace":
            return self.defaultValue
        return _list(self.defaultValue, self.key) if self.defaultValue else []


class Channels:
    """The keys of a state: those of a list, or those that a script of the flow returns with their functions."""

    def __init__(self, listed: Sequence[Channel] = (), code: str = "") -> None:
        self._listed = {channel.key: channel for channel in listed if channel.key}
        self._code = code

    async def begun(self, ctx: Context) -> dict[str, Any]:
        """The state that a session begins with. Raises ScriptError."""
        listed = {key: channel.begun for key, channel in self._listed.items()}
        return listed | (await self._run(_DEFAULTS, ctx, {}) if self._code else {})

    async def updated(self, state: Mapping[str, Any], updates: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
        """The state after updates; null changes nothing, as with the original. Raises ScriptError."""
        if self._code:
            return {**state, **await self._run(_REDUCED, ctx, {"state": dict(state), "updates": dict(updates)})}
        return {**state, **{key: self._reduced(key, state.get(key), new) for key, new in updates.items()}}

    def _reduced(self, key: str, old: Any, new: Any) -> Any:
        if new is None:
            return old
        if key in self._listed and self._listed[key].type == "Append":
            return [*(old if isinstance(old, list) else []), *(new if isinstance(new, list) else [new])]
        return new

    async def _run(self, script: str, ctx: Context, values: Mapping[str, Any]) -> dict[str, Any]:
        found = await ctx.run_script(f"return {script.format(code=self._code)}", values)
        if not isinstance(found, dict):
            raise FlowError("the state's code must return an object with a key for each value: correct its State node")
        return found


def _list(value: Any, key: str) -> list[Any]:
    try:
        found = msgspec.json.decode(value) if isinstance(value, str) else value
    except msgspec.DecodeError:
        found = value
    if not isinstance(found, list):
        raise FlowError(f"the state's key {key!r} is appended to, so its default value must be a JSON list")
    return found


def look(value: Any, path: str) -> Any:
    """The value at a path such as `state.messages[-1].content`; None where it leads nowhere."""
    for key in _KEYS.findall(path):
        if key == "length" and isinstance(value, (list, str)):
            value = len(value)
        elif isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and _NUMBER.fullmatch(key) and -len(value) <= int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def resolved(value: Any, flow: Mapping[str, Any]) -> Any:
    """The value, or what it names where it is a text such as `$flow.state.plan[0]` or `$vars.name`."""
    if not isinstance(value, str):
        return value
    name = value.strip()
    if name.startswith("$flow."):
        return look(flow, name.removeprefix("$flow."))
    return look(flow, name.removeprefix("$")) if name.startswith("$vars.") else value


def shown(message: ModelMessage) -> dict[str, Any]:
    """A message as the flow's scripts and references read it."""
    about = {"type": _KINDS.get(message.role, message.role), "role": message.role, "content": message.text}
    calls = {"tool_calls": [described(call) for call in message.calls]} if message.calls else {}
    answers = {"tool_call_id": message.answers.id, "name": message.answers.name} if message.answers else {}
    beside = {"additional_kwargs": {"usedTools": list(message.uses)}} if message.uses else {}
    return {**about, **({"name": message.name} if message.name else {}), **calls, **answers, **beside}
