"""Steps of sequential agents that ask no model of their own: a JavaScript function, and another flow."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import uuid4

import msgspec

from headrace.engine.annotations import Additional, Code, Input, NodeInfo, options
from headrace.engine.chat import ModelMessage
from headrace.engine.multiagent.node import StepNode, StepTask
from headrace.engine.multiagent.state import resolved
from headrace.engine.node import FlowQuestion, Templated
from headrace.engine.references import text_of
from headrace.errors import FlowError
from headrace.nodes.multiagent.steering import Before
from headrace.nodes.utilities import seen

Returned: TypeAlias = Literal["aiMessage", "humanMessage", "stateObj"]
_QUESTION: Final = "userQuestion"


async def give(task: StepTask, value: Any, kind: Returned) -> None:
    """Leaves a value behind: as a message, or as changes of the state. Raises FlowError for one that is no object."""
    if kind != "stateObj":
        role, text = "assistant" if kind == "aiMessage" else "user", "" if value is None else text_of(value)
        task.say([ModelMessage(role, text, name=task.name)], told=[text])
        return
    found = _object(value)
    if not isinstance(found, dict):
        raise FlowError(f"{task.title!r} must give an object with the keys of the state that change, not {found!r:.60}")
    await task.change(found)
    task.say([], told=[])


def _object(value: Any) -> Any:
    try:
        return msgspec.json.decode(value) if isinstance(value, str) else value
    except msgspec.DecodeError:
        return value


class SeqCustomFunction(StepNode, frozen=True, kw_only=True, tag="seqCustomFunction"):
    """Runs a JavaScript function."""

    info = NodeInfo(label="Custom JS Function", version=1, type="CustomFunction")
    title = "functionName"

    functionInputVariables: Annotated[Templated, Input(list=True, label="Input Variables")] = {}
    sequentialNode: Before = []
    functionName: str
    javascriptFunction: Annotated[Code[str], Input(label="Javascript Function")]
    returnValueAs: Returned = "aiMessage"

    async def work(self, task: StepTask) -> None:
        """Runs it, with the state as `$flow.state`. Raises ScriptError."""
        flow = task.flow()
        given = {name: resolved(value, flow) for name, value in self.functionInputVariables.items()}
        values = seen({name.removeprefix("$"): value for name, value in given.items()})
        script = task.run.ctx.run_script
        await give(task, await script(self.javascriptFunction, values, state=flow["state"]), self.returnValueAs)


class SeqExecuteFlow(StepNode, frozen=True, kw_only=True, tag="seqExecuteFlow"):
    """Asks another flow of this server; it runs inside this run and ends with it."""

    info = NodeInfo(label="Execute Flow", version=1, type="ExecuteFlow", credentials=("chatflowApi",), keyless=True)
    title = "seqExecuteFlowName"

    credential: str = ""
    sequentialNode: Before = []
    seqExecuteFlowName: Annotated[str, Input(label="Name")]
    selectedFlow: Annotated[str, Input(label="Select Flow", loadMethod="listFlows")]
    seqExecuteFlowInput: Annotated[
        str,
        msgspec.Meta(extra={"acceptVariable": True}),
        Input(label="Input", type="options", options=options(_QUESTION)),
    ] = _QUESTION
    """`userQuestion`, or a reference to a step, whose text is asked."""
    overrideConfig: Additional[dict[str, Any]] = {}
    baseURL: Annotated[
        Additional[str],
        Input(label="Base URL", unread="the flow is one of this server, and is run inside this run"),
    ] = ""
    startNewSession: Annotated[Additional[bool], Input(label="Start new session per message")] = False
    returnValueAs: Returned = "aiMessage"

    async def work(self, task: StepTask) -> None:
        """Asks it. Raises what the other flow raises."""
        ctx, wanted = task.run.ctx, self.seqExecuteFlowInput
        fields = await ctx.secrets(self.credential) if self.credential else {}
        question = task.run.text if wanted in ("", _QUESTION) else text_of(resolved(wanted, task.flow()) or "")
        chat = str(uuid4()) if self.startNewSession else None
        key = fields.get("chatflowApiKey", "").strip()
        answer = await ctx.ask_flow(FlowQuestion(self.selectedFlow, question, self.overrideConfig, key, chat))
        await give(task, answer.text if answer.json is None else answer.json, self.returnValueAs)


NODES = (SeqCustomFunction, SeqExecuteFlow)
