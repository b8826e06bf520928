"""Nodes that hold JavaScript, which runs in the sandbox, and the variables that such flows pass around."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any

import msgspec

from headrace.engine.node import Choice, Chooser, Context, Node, Step, Templated
from headrace.engine.references import text_of
from headrace.errors import FlowError
from headrace.events import Event, Start, Token

Anything = Annotated[Any, msgspec.Meta(extra={"acceptVariable": True})]


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


NODES = (CustomFunction, IfElseFunction, SetVariable, GetVariable)
