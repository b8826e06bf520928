"""Nodes that hold JavaScript, which runs in the sandbox, and the variables that such flows pass around."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from headrace.engine.annotations import VALUE_OUTPUTS, VALUE_TYPES, Additional, Code, Input, NodeInfo, Output
from headrace.engine.node import Choice, Chooser, Context, Node, Step, Templated
from headrace.engine.references import text_of
from headrace.errors import FlowError
from headrace.events import Event, Start, Token

Anything = Annotated[Any, msgspec.Meta(extra={"acceptVariable": True})]


def seen(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Input variables as scripts read them: a text that is a JSON object is that object."""
    return {name: _object(value) if isinstance(value, str) else value for name, value in variables.items()}


def _object(text: str) -> Any:
    if not (text.startswith("{") and text.endswith("}")):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return text


class CustomFunction(Step, frozen=True, kw_only=True, tag="customFunction"):
    """A JavaScript function: what it returns goes to other nodes, or ends the flow."""

    info = NodeInfo(
        names_question=True,
        label="Custom JS Function",
        version=3,
        category="Utilities",
        outputs=(*VALUE_OUTPUTS, Output("EndingNode", "Ending Node", ("CustomFunction",))),
    )

    functionInputVariables: Annotated[Templated, Input(list=True)] = {}
    functionName: str = ""
    javascriptFunction: Code[str]

    async def build(self, ctx: Context) -> object:
        """Runs the function and returns its value."""
        return await ctx.run_script(self.javascriptFunction, seen(self.functionInputVariables))

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer: a text, or an object, whose keys the JSON answer gets."""
        value = await self.build(ctx)
        return self._value_events(value, ctx)

    async def _value_events(self, value: Any, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        if isinstance(value, dict):
            ctx.fields = {key: item for key, item in value.items() if key != "text"}
            value = value.get("text", "")
        text = text_of(value)
        yield [Start(text), Token(text)] if text else [Start("")]


class IfElseFunction(Chooser, frozen=True, kw_only=True, tag="ifElseFunction"):
    """Two JavaScript functions: what the first returns goes on at `True`, or else what the second does at `False`."""

    info = NodeInfo(
        names_question=True,
        label="IfElse Function",
        version=2,
        outputs=(Output("returnTrue", "True", VALUE_TYPES), Output("returnFalse", "False", VALUE_TYPES)),
    )

    functionInputVariables: Annotated[Templated, Input(list=True)] = {}
    functionName: str = ""
    ifFunction: Code[str]
    elseFunction: Code[str] = "return false;"

    async def build(self, ctx: Context) -> Choice:
        """The value of the function whose branch is taken."""
        variables = seen(self.functionInputVariables)
        value = await ctx.run_script(self.ifFunction, variables)
        if value not in (None, False, 0, ""):  # what JavaScript takes for true, [] and {} with it
            return Choice(value, "returnTrue")
        return Choice(await ctx.run_script(self.elseFunction, variables), "returnFalse")


class SetVariable(Node, frozen=True, kw_only=True, tag="setVariable"):
    """Keeps a value under a name for the rest of the run."""

    info = NodeInfo(names_question=True, version=2.1, outputs=VALUE_OUTPUTS)

    input: Annotated[Anything, Input(type="string | number | boolean | json | array", list=True)] = None
    variableName: str
    showOutput: Additional[bool] = False

    async def build(self, ctx: Context) -> object:
        """The value. The builder draws its connection as a list: a list of one is what is in it."""
        value = self.input[0] if isinstance(self.input, list) and len(self.input) == 1 else self.input
        ctx.values[self.variableName] = value
        if self.showOutput:
            ctx.shown_values[self.variableName] = value
        return value


class GetVariable(Node, frozen=True, kw_only=True, tag="getVariable"):
    """A value that was kept earlier in the run."""

    info = NodeInfo(names_question=True, version=2, outputs=VALUE_OUTPUTS)

    variableName: str

    async def build(self, ctx: Context) -> object:
        """The value. Raises FlowError when nothing was kept under the name."""
        if self.variableName not in ctx.values:
            raise FlowError(f"the variable {self.variableName!r} is read before anything sets it")
        return ctx.values[self.variableName]


NODES = (CustomFunction, IfElseFunction, SetVariable, GetVariable)
