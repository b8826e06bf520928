"""Nodes that hold JavaScript, which runs in the sandbox, and the variables that such flows pass around."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from headrace.engine.node import Choice, Chooser, Context, Node, Step, Templated
from headrace.engine.ports import Tool, ToolResult
from headrace.engine.references import text_of
from headrace.errors import FlowError, ScriptError
from headrace.events import Event, Start, Token
from headrace.nodes.tools import FunctionTool
from headrace.nodes.zod import json_schema
from headrace.schema import CustomTool

_NAMED = re.compile(r"\w+Error: ")
Anything = Annotated[Any, msgspec.Meta(extra={"acceptVariable": True})]


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

    selectedTool: str = ""
    returnDirect: bool = False
    customToolName: str = ""
    customToolDesc: str = ""
    customToolSchema: str = ""
    customToolFunc: str = ""

    async def build(self, ctx: Context) -> Tool:
        """The tool. Raises FlowError for one that does not exist or cannot be read."""
        saved = await ctx.saved_tool(self.selectedTool) if self.selectedTool else CustomTool(name="")
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

    def _parameters(self, saved: CustomTool) -> dict[str, Any]:
        try:
            if self.customToolSchema:
                return json_schema(self.customToolSchema)
            return parameters_of(msgspec.json.decode(saved.schema or "[]", type=list[Argument]))
        except ValueError as error:  # which msgspec's errors are
            raise FlowError(f"the schema of the custom tool {saved.name!r} cannot be read: {error}") from None


class CustomFunction(Step, frozen=True, kw_only=True, tag="customFunction"):
    """A JavaScript function: what it returns goes to other nodes, or ends the flow."""

    functionInputVariables: Templated = {}
    functionName: str = ""
    javascriptFunction: str

    async def build(self, ctx: Context) -> object:
        """What the function returns."""
        return await ctx.run_script(self.javascriptFunction, self.functionInputVariables)

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer: a text, or an object, whose keys the JSON answer gets."""
        value = await self.build(ctx)
        return self._told(value, ctx)

    async def _told(self, value: Any, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        if isinstance(value, dict):
            ctx.fields = {key: item for key, item in value.items() if key != "text"}
            value = value.get("text", "")
        text = text_of(value)
        yield [Start(text), Token(text)] if text else [Start("")]


class IfElseFunction(Chooser, frozen=True, kw_only=True, tag="ifElseFunction"):
    """Two JavaScript functions: what the first returns goes on at `True`, or else what the second does at `False`."""

    functionInputVariables: Templated = {}
    functionName: str = ""
    ifFunction: str
    elseFunction: str = "return false;"

    async def build(self, ctx: Context) -> Choice:
        """What the function returned whose branch is taken."""
        value = await ctx.run_script(self.ifFunction, self.functionInputVariables)
        if value not in (None, False, 0, ""):  # what JavaScript takes for true, [] and {} with it
            return Choice(value, "returnTrue")
        return Choice(await ctx.run_script(self.elseFunction, self.functionInputVariables), "returnFalse")


class SetVariable(Node, frozen=True, kw_only=True, tag="setVariable"):
    """Keeps a value under a name for the rest of the run."""

    input: Anything = None
    variableName: str
    showOutput: bool = False

    async def build(self, ctx: Context) -> object:
        """The value."""
        ctx.values[self.variableName] = self.input
        if self.showOutput:
            ctx.shown_values[self.variableName] = self.input
        return self.input


class GetVariable(Node, frozen=True, kw_only=True, tag="getVariable"):
    """A value that was kept earlier in the run."""

    variableName: str

    async def build(self, ctx: Context) -> object:
        """The value. Raises FlowError when nothing was kept under the name."""
        if self.variableName not in ctx.values:
            raise FlowError(f"the variable {self.variableName!r} is read before anything sets it")
        return ctx.values[self.variableName]


NODES = (CustomToolNode, CustomFunction, IfElseFunction, SetVariable, GetVariable)
