"""Tools that need nothing but this server."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Container, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import msgspec

from headrace.engine.chat import ToolSpec
from headrace.engine.nesting import tell
from headrace.engine.node import Context, FlowQuestion, Node, Step
from headrace.engine.ports import Tool, ToolResult
from headrace.engine.references import text_of
from headrace.events import Fold
from headrace.nodes.arithmetic import calculated

INPUT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""The arguments of a tool that takes one text."""
_NO_SUM: Final = "I don't know how to do that."  # what agents of the builder read here; recordings hold it


class FunctionTool:
    """Implements `headrace.engine.ports.Tool` with a function."""

    spec: ToolSpec
    return_direct: bool

    def __init__(
        self,
        name: str,
        description: str,
        parameters: dict[str, Any],
        function: Callable[[Mapping[str, Any]], Awaitable[ToolResult]],
        *,
        return_direct: bool = False,
    ) -> None:
        self.spec = ToolSpec(tool_name(name), description, parameters)
        self.return_direct = return_direct
        self._function = function

    async def call(self, arguments: Mapping[str, Any]) -> ToolResult:
        """See Tool."""
        return await self._function(arguments)


def tool_name(name: str) -> str:
    """A name that every provider takes: letters, digits, _ and -, 64 at most."""
    return re.sub(r"[^\w-]+", "_", name.strip(), flags=re.ASCII)[:64] or "tool"


def free_name(name: str, taken: Container[str]) -> str:
    """The name, with a number when another tool has it."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name[:60]}_{number}"
    return free


class Calculator(Node, frozen=True, kw_only=True, tag="calculator"):
    """Calculates an expression."""

    async def build(self, ctx: Context) -> Tool:
        """The tool."""
        parameters = {"type": "object", "properties": {"input": {"type": "string"}}, "additionalProperties": False}
        about = "Calculates an arithmetic expression such as `2 * (3 + 4)` or `sqrt(2)` and gives its value."
        return FunctionTool("calculator", about, parameters, self._call)

    async def _call(self, arguments: Mapping[str, Any]) -> ToolResult:
        try:
            return ToolResult(calculated(str(arguments.get("input", ""))))
        except ValueError:
            return ToolResult(_NO_SUM)


class CurrentDateTime(Node, frozen=True, kw_only=True, tag="currentDateTime"):
    """Tells the date and the time of the server."""

    async def build(self, ctx: Context) -> Tool:
        """The tool."""
        about = "Tells today's date, the time, the day of the week and the time zone."
        return FunctionTool(
            "current_date_time", about, {"type": "object", "properties": {}, "additionalProperties": False}, self._call
        )

    async def _call(self, arguments: Mapping[str, Any]) -> ToolResult:
        now = datetime.now().astimezone()
        told = {
            "date": now.date().isoformat(),
            "time": now.time().isoformat("seconds"),
            "day": now.strftime("%A"),
            "timezone": now.tzname(),
            "utcOffset": now.strftime("%z"),
        }
        return ToolResult(msgspec.json.encode(told).decode())


class ChainTool(Node, frozen=True, kw_only=True, tag="chainTool"):
    """A chain or an agent of this flow as a tool of another agent."""

    name: str
    description: str
    baseChain: Step
    returnDirect: bool = False

    async def build(self, ctx: Context) -> Tool:
        """The tool. The chain's tokens count as its result; a trace shows them."""

        async def call(arguments: Mapping[str, Any]) -> ToolResult:
            inner = msgspec.structs.replace(ctx, question=str(arguments["input"]), usage=None, json=None, text=None)
            answer = Fold()
            async with aclosing(await self.baseChain.run(inner)) as batches:
                async for events in batches:
                    answer.add(events)
                    tell(events)
            if inner.usage:
                ctx.count(inner.usage)
            return ToolResult((answer.prediction.text or "") if inner.text is None else inner.text)

        return FunctionTool(self.name, self.description, INPUT, call, return_direct=self.returnDirect)


class ChatflowTool(Node, frozen=True, kw_only=True, tag="ChatflowTool"):
    """Another flow of this server as a tool; it runs inside this run and ends with it."""

    credential: str = ""
    selectedChatflow: str
    name: str
    description: str = ""
    returnDirect: bool = False
    overrideConfig: dict[str, Any] = {}
    startNewSession: bool = False
    useQuestionFromChat: bool = False
    customInput: str = ""

    async def build(self, ctx: Context) -> Tool:
        """The tool."""
        fields = await ctx.secrets(self.credential) if self.credential else {}
        key = fields.get("chatflowApiKey") or fields.get("agentflowApiKey") or ""

        async def call(arguments: Mapping[str, Any]) -> ToolResult:
            own = ctx.question if self.useQuestionFromChat else str(arguments.get("input", ""))
            chat = str(uuid4()) if self.startNewSession else None
            asked = FlowQuestion(self.selectedChatflow, self.customInput or own, self.overrideConfig, key.strip(), chat)
            answer = await ctx.ask_flow(asked)
            text = answer.text if answer.json is None else text_of(answer.json)
            return ToolResult(text or "", answer.sourceDocuments or (), answer.artifacts or ())

        return FunctionTool(self.name, self.description, INPUT, call, return_direct=self.returnDirect)


class AgentAsTool(
    ChatflowTool, frozen=True, kw_only=True, tag="agentAsTool", rename={"selectedChatflow": "selectedAgentflow"}
):
    """An agent flow of this server as a tool."""

    selectedChatflow: str  # only a type's own fields can be renamed


NODES = (Calculator, CurrentDateTime, ChainTool, ChatflowTool, AgentAsTool)
