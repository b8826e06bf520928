"""The tool node of agent flows: one tool, whose arguments the flow's author wrote."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from headrace.engine.agent import called
from headrace.engine.agentflow.execution import public
from headrace.engine.agentflow.node import AgentNode, StateUpdates, Task
from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.inputs import provides
from headrace.engine.ports import Tool, ToolResult
from headrace.engine.schemas import mismatch
from headrace.errors import FlowError
from headrace.events import Artifacts, Event, SourceDocuments, Token


class Argument(msgspec.Struct, frozen=True):
    """An argument of the tool; its value may have references."""

    inputArgName: str = ""
    inputArgValue: Any = ""


class ToolStep(AgentNode, frozen=True, kw_only=True, tag="toolAgentflow"):
    """Uses one tool, without a model."""

    info = NodeInfo(version=1.2)

    toolAgentflowSelectedTool: Annotated[str, Input(label="Tool", loadMethod="listTools")]
    toolAgentflowSelectedToolConfig: Any = None
    toolInputArgs: Annotated[
        list[Argument],
        msgspec.Meta(extra={"acceptVariable": True}),
        Input(label="Tool Input Arguments", show={"toolAgentflowSelectedTool": ".+"}),
    ] = []
    toolUpdateState: StateUpdates = []

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """Calls the tool. Raises FlowError for arguments that it does not take, and the tool's own errors."""
        tools = await built(task, self.toolAgentflowSelectedTool, self.toolAgentflowSelectedToolConfig)
        if len(tools) != 1:
            raise FlowError(f"{task.node.id!r} needs one tool, and its node is {len(tools)}: give them to an agent")
        arguments = public(msgspec.to_builtins(self.toolInputArgs))
        task.input_record = {"toolInputArgs": arguments, "selectedTool": self.toolAgentflowSelectedTool}
        result = await _used(tools[0], {one.inputArgName: one.inputArgValue for one in self.toolInputArgs})
        beside: list[Event] = [SourceDocuments(list(result.documents))] if result.documents else []
        beside += [Artifacts(list(result.artifacts))] if result.artifacts else []
        task.output = {"content": result.text}
        task.keep(beside)
        task.update(self.toolUpdateState, result.text)
        yield [Token(result.text), *beside] if task.is_last else []


async def built(task: Task, name: str, config: Any) -> list[Tool]:
    """The tools that a node type is, with its inputs: several where it is a document's or a server's."""
    given: Any = await task.component(name, config)
    tools = given if isinstance(given, list) else [given]
    for tool in tools:
        if not provides(type(tool), Tool):
            raise FlowError(f"{task.node.id!r} cannot use {name!r}: it is no tool")
    return tools


async def _used(tool: Tool, given: Mapping[str, Any]) -> ToolResult:
    schema = tool.spec.parameters
    arguments = {key: _read(value, schema.get("properties", {}).get(key)) for key, value in given.items() if key}
    if wrong := mismatch(schema, arguments):
        raise FlowError(f"the tool {tool.spec.name!r} does not take its arguments: {wrong}")
    return await called(tool, arguments)


def _read(value: Any, wanted: Any) -> Any:
    """A text as the number, truth value, list or object that the tool wants in its place."""
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if not isinstance(value, str) or kind in (None, "string"):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.MsgspecError:
        return value  # the tool's schema refuses it, in words


NODES: Final = (ToolStep,)
