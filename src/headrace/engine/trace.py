"""`agent_trace`: what an agent decides and what its tools do, step by step, in the form that Flowise's clients know.

An action is the JSON text that its library makes of a message: recordings of it are replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final
from uuid import uuid4

import msgspec

from headrace.engine.chat import ToolCall
from headrace.engine.listeners import listen
from headrace.engine.model_answer import ModelAnswer, arguments_object, arguments_of
from headrace.engine.reply import tokens
from headrace.events import AgentTrace, Event

_LONGEST: Final = 100_000  # characters of what one step repeats
_NO_NAME: Final = "unknown-tool"  # what stands there in every recording; the name itself is in `tool`


class Trace:
    """The steps of one run. What tools tell while they run is kept until it is asked for."""

    def __init__(self) -> None:
        self._agent = str(uuid4())
        self._runs: dict[str, str] = {}
        self._news: asyncio.Queue[Sequence[Event] | None] = asyncio.Queue()

    async def events(self) -> AsyncGenerator[Sequence[Event]]:
        """The events until `pause`."""
        while (events := await self._news.get()) is not None:
            yield events

    def pause(self) -> None:
        """No tool runs any more."""
        self._news.put_nowait(None)

    def decided(self, turn: ModelAnswer) -> list[Event]:
        """Notes the tool calls that the model asks for."""
        size = sum(len(call.arguments) for call in turn.calls)
        log = [_message(turn)] if size + len(turn.text) <= _LONGEST else []
        events: list[Event] = []
        for call in turn.calls:
            whole = len(call.arguments) <= _LONGEST
            arguments = arguments_object(arguments_of(call), {}) if whole else {"input": _cut(call.arguments)}
            action = {
                "tool": call.name,
                "toolInput": arguments,
                "toolCallId": call.id,
                "log": f'Invoking "{call.name}" with {_json(arguments)}\n{_cut(turn.text)}',
                "messageLog": [] if events else log,
            }
            step = {"step": "agent_action", "action": _json(action)}
            events.append(AgentTrace({**step, "runId": self._agent, "parentRunId": None}))
        return events

    def started(self, call: ToolCall) -> None:
        """A tool begins. What its task tells from now on is a step of the trace."""
        self._runs[call.id] = str(uuid4())
        self._tell(call, step="tool_start", name=_NO_NAME, tool=call.name, input=_cut(call.arguments))
        listen(lambda events: self._nested(call, events))

    def ended(self, call: ToolCall, text: str, error: str | None) -> None:
        """Notes the outcome."""
        if error:
            self._tell(call, step="tool_error", error=_cut(error))
        else:
            self._tell(call, step="tool_end", output=_cut(text))

    def _nested(self, call: ToolCall, events: Sequence[Event]) -> None:
        for event in events:
            self._tell(call, step="tool_event", tool=call.name, **msgspec.to_builtins(event))

    def _tell(self, call: ToolCall, **step: Any) -> None:
        ids = {"runId": self._runs[call.id], "parentRunId": self._agent}
        self._news.put_nowait([AgentTrace({**step, **ids})])


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _message(turn: ModelAnswer) -> dict[str, Any]:
    """The model's turn as the library writes it down."""
    calls = list(enumerate(turn.calls))
    facts = turn.facts
    metadata = {"usage_metadata": tokens(turn.usage, facts.facts)} if turn.usage else {}
    fields = {
        "content": turn.text,
        "additional_kwargs": {"tool_calls": sent(turn.calls)},
        "response_metadata": {"prompt": 0, "completion": 0, **facts.facts},
        "tool_call_chunks": [
            {"name": c.name, "args": c.arguments, "id": c.id, "index": n, "type": "tool_call_chunk"} for n, c in calls
        ],
        "id": facts.id,
        **metadata,
        "tool_calls": [
            {"name": c.name, "args": arguments_object(arguments_of(c), {}), "id": c.id, "type": "tool_call"}
            for _, c in calls
        ],
        "invalid_tool_calls": [],
    }
    return {"lc": 1, "type": "constructor", "id": ["langchain_core", "messages", "AIMessageChunk"], "kwargs": fields}


def sent(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """Calls as OpenAI's protocol has them."""
    functions = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return [
        {"index": number, "id": call.id, "type": "function", "function": function}
        for number, (call, function) in enumerate(zip(calls, functions, strict=True))
    ]
