"""Tools written in JavaScript, which runs in the sandbox."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.node import Context, Node
from headrace.engine.ports import Tool, ToolResult
from headrace.engine.references import text_of
from headrace.errors import FlowError, NotFound, ScriptError
from headrace.formats.zod import json_schema
from headrace.nodes.tools.function import FunctionTool
from headrace.schema import CustomTool

_NAMED = re.compile(r"\w+Error: ")


class Argument(msgspec.Struct):
    """An argument of a saved tool."""

    property: str
    type: str = "string"
    description: str = ""
    required: bool = False


def parameters_of(arguments: Sequence[Argument]) -> dict[str, Any]:
    """The JSON Schema of a saved tool's arguments."""
    kinds = {"number": "number", "boolean": "boolean"}  # a date is a text here
    described = {
        argument.property: {"type": kinds.get(argument.type, "string"), "description": argument.description}
        for argument in arguments
    }
    return {
        "type": "object",
        "properties": described,
        "required": [argument.property for argument in arguments if argument.required],
        "additionalProperties": False,
    }


class CustomToolNode(Node, frozen=True, kw_only=True, tag="customTool"):
    """A tool written in JavaScript: one that is stored on the server, or as the flow itself describes it."""

    info = NodeInfo(version=3)

    selectedTool: Annotated[str, Input(loadMethod="listTools")] = ""
    returnDirect: bool = False
    customToolName: str = ""
    customToolDesc: str = ""
    customToolSchema: str = ""
    customToolFunc: str = ""

    async def build(self, ctx: Context) -> Tool:
        """The tool. Raises FlowError for one that does not exist or cannot be read."""
        saved = await self._saved(ctx)
        code = self.customToolFunc or saved.func
        if not code:
            raise FlowError("the custom tool has no function: choose a tool that is stored on this server")
        name, about = self.customToolName or saved.name, self.customToolDesc or saved.description

        async def call(arguments: Mapping[str, Any]) -> ToolResult:
            try:
                return ToolResult(text_of(await ctx.run_script(code, arguments)))
            except ScriptError as error:  # in the words that models read there, as recordings have it
                kind = "" if _NAMED.match(error.message) else "Error: "
                raise ScriptError(f"NodeVM Execution Error: {kind}{error.message}") from None

        return FunctionTool(name, about, self._parameters(saved), call, return_direct=self.returnDirect)

    async def _saved(self, ctx: Context) -> CustomTool:
        if not self.selectedTool:
            return CustomTool(name="")
        try:
            return await ctx.saved_tool(self.selectedTool)
        except NotFound as error:
            raise FlowError(f"{error}: import it, or choose another one in the flow") from None

    def _parameters(self, saved: CustomTool) -> dict[str, Any]:
        try:
            if self.customToolSchema:
                return json_schema(self.customToolSchema)
            return parameters_of(msgspec.json.decode(saved.schema or "[]", type=list[Argument]))
        except ValueError as error:  # which msgspec's errors are
            raise FlowError(f"the schema of the custom tool {saved.name!r} cannot be read: {error}") from None


NODES = (CustomToolNode,)
