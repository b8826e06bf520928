"""The Custom Function node of agent flows: JavaScript, which runs in the sandbox."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any, Final

import msgspec

from headrace.engine.agentflow.node import AgentNode, StateUpdates, Task
from headrace.engine.annotations import Code, Input, NodeInfo
from headrace.events import Event, Token
from headrace.nodes.utilities import seen


class Variable(msgspec.Struct, frozen=True):
    """A value that the function reads as `$<name>`."""

    variableName: str = ""
    variableValue: Any = ""


class FunctionStep(AgentNode, frozen=True, kw_only=True, tag="customFunctionAgentflow"):
    """Runs a JavaScript function."""

    info = NodeInfo(label="Custom Function", version=1.1)

    customFunctionInputVariables: Annotated[
        list[Variable], msgspec.Meta(extra={"acceptVariable": True}), Input(label="Input Variables")
    ] = []
    customFunctionJavascriptFunction: Annotated[Code[str], Input(label="Javascript Function")]
    customFunctionUpdateState: StateUpdates = []

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """Runs it and keeps what it returns: an object as JSON text. Raises ScriptError."""
        given = {one.variableName.removeprefix("$"): one.variableValue for one in self.customFunctionInputVariables}
        variables = msgspec.to_builtins(self.customFunctionInputVariables)
        task.input_record = {"inputVariables": variables, "code": self.customFunctionJavascriptFunction}
        values = seen({name: value for name, value in given.items() if name})
        run = task.run
        value = await run.ctx.run_script(
            self.customFunctionJavascriptFunction, values, state=dict(task.state), input=run.text
        )
        content = _text(value)
        task.output = {"content": content}
        task.update(self.customFunctionUpdateState, value if isinstance(value, (dict, list)) else content)
        yield [Token(content)] if task.is_last and content else []


def _text(value: Any) -> str:
    """A returned value as the next nodes read it."""
    match value:
        case None:
            return ""
        case str():
            return value
        case dict() | list():
            return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
        case _:
            return msgspec.json.encode(value).decode()


NODES: Final = (FunctionStep,)
