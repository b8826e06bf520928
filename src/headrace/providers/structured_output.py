"""Answers in a given form, for providers that have no way of their own to ask for one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from headrace.engine.chat import (
    ChatRequest,
    Delta,
    FinishDelta,
    ModelMessage,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
)
from headrace.providers.tool_schemas import portable


def offered(tool: ToolSpec) -> dict[str, Any]:
    """A tool as OpenAI's protocol and its relatives describe one."""
    return {"name": tool.name, "description": tool.description, "parameters": portable(tool.parameters)}


def as_tool(request: ChatRequest) -> ChatRequest:
    """The same request, where the model must call a tool whose arguments have the form. Needs a schema."""
    assert request.schema
    tool = ToolSpec(request.schema.name, "Gives the answer in the form that is asked for.", request.schema.schema)
    return msgspec.structs.replace(request, tools=[tool], choice=tool.name, schema=None)


async def tool_as_text(batches: AsyncGenerator[Sequence[Delta]]) -> AsyncGenerator[Sequence[Delta]]:
    """Turns a tool's arguments into the answer's text. Text beside the call is no part of the answer.

    A model that ignored the tool and wrote its answer as text keeps it.
    """
    spoken: list[Delta] = []
    first: int | None = None
    async with aclosing(batches):
        async for deltas in batches:
            out: list[Delta] = []
            for delta in deltas:
                match delta:
                    case ToolCallDelta():
                        first = delta.index if first is None else first
                        if delta.index == first:
                            out.append(TextDelta(delta.arguments))
                    case TextDelta():
                        spoken.append(delta)
                    case FinishDelta():
                        out += [*(spoken if first is None else ()), FinishDelta("stop")]
                    case _:
                        out.append(delta)
            if out:
                yield out


def as_instruction(request: ChatRequest) -> ChatRequest:
    """The same request with the form described to the model in words. Needs a schema."""
    assert request.schema
    form = msgspec.json.encode(request.schema.schema).decode()
    told = ModelMessage("system", f"Answer with a single JSON object, and nothing else, that fits this schema:\n{form}")
    return msgspec.structs.replace(request, messages=[told, *request.messages])
