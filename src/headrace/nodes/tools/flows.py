"""Chains, agents and flows as tools of agents."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Annotated, Any
from uuid import uuid4

import msgspec

from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.listeners import tell
from headrace.engine.node import Context, FlowQuestion, Node, Step
from headrace.engine.ports import Tool, ToolResult
from headrace.engine.references import text_of
from headrace.events import Fold
from headrace.nodes.tools.function import INPUT, FunctionTool


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

    info = NodeInfo(version=5.1, credentials=("chatflowApi",))

    credential: str = ""
    selectedChatflow: Annotated[str, Input(loadMethod="listChatflows")]
    name: str
    description: str = ""
    returnDirect: bool = False
    overrideConfig: Annotated[dict[str, Any], Input(additionalParams=True, acceptVariable=True)] = {}
    startNewSession: Additional[bool] = False
    useQuestionFromChat: Additional[bool] = False
    customInput: Annotated[str, Input(additionalParams=True, show={"useQuestionFromChat": False})] = ""

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

    info = NodeInfo(label="Agent as Tool", credentials=("agentflowApi",))

    selectedChatflow: Annotated[str, Input(loadMethod="listAgentflows")]  # only a type's own fields can be renamed


NODES = (ChainTool, ChatflowTool, AgentAsTool)
