"""Conditions of sequential agents: what the state or a model says decides on the next step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec

from headrace.engine.annotations import Additional, Code, Input, NodeInfo, Output
from headrace.engine.chat import ChatRequest
from headrace.engine.model_events import answer_text
from headrace.engine.multiagent.graph import END, output_name
from headrace.engine.multiagent.node import StepNode, StepTask
from headrace.engine.multiagent.state import resolved
from headrace.engine.node import Template
from headrace.engine.references import text_of
from headrace.errors import FlowError
from headrace.nodes.multiagent.speaking import Answered, PromptingStep, structured
from headrace.nodes.multiagent.steering import BeforeCondition

_OUTPUTS: Final = (Output("next", "Next", ("Condition",)), Output("end", "End", ("Condition",)))


class Comparison(msgspec.Struct, frozen=True):
    """A value such as `$flow.state.next`, what it is compared with, and the output that is taken when it fits."""

    variable: str = ""
    operation: str = "Is"
    value: Any = ""
    output: str = ""


_TEXTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "Contains": lambda one, two: two in one,
    "Not Contains": lambda one, two: two not in one,
    "Start With": str.startswith,
    "End With": str.endswith,
    "Is": lambda one, two: one == two,
    "Is Not": lambda one, two: one != two,
    "Is Empty": lambda one, _: not one.strip(),
    "Is Not Empty": lambda one, _: bool(one.strip()),
}
_NUMBERS: Final[dict[str, Callable[[float, float], bool]]] = {
    "Greater Than": lambda one, two: one > two,
    "Less Than": lambda one, two: one < two,
    "Equal To": lambda one, two: one == two,
    "Not Equal To": lambda one, two: one != two,
    "Greater Than or Equal To": lambda one, two: one >= two,
    "Less Than or Equal To": lambda one, two: one <= two,
}


def fits(found: Any, comparison: Comparison) -> bool:
    """True when the value fits. A value that is not there, and 0, fit nothing but `Is Empty`, as with the original.

    Raises FlowError for an unknown operation.
    """
    operation = comparison.operation
    if operation not in _TEXTS and operation not in _NUMBERS:
        raise FlowError(f"a condition knows no operation {operation!r}: choose another one")
    if found in (None, "", 0, False):
        return operation == "Is Empty"
    one, two = text_of(found), text_of(comparison.value)
    if operation in _TEXTS:
        return _TEXTS[operation](one, two)
    left, right = _number(one), _number(two)
    return left is not None and right is not None and _NUMBERS[operation](left, right)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


Comparisons: TypeAlias = Annotated[list[Comparison], Input(type="conditionFunction", label="Condition")]


class Deciding(NamedTuple):
    """How a condition decides: by a table of comparisons, or by a script that returns an output's label."""

    tab: str
    """The one of both that counts; "" for the table."""
    table: Sequence[Comparison]
    script: str

    async def decide(self, task: StepTask, output: Any = None) -> None:
        """Marks the output that is taken. Raises FlowError for one that leads nowhere, and ScriptError."""
        label = await self._label(task, output)
        task.taken = output_name(label)
        task.output = {"condition": label, **({} if output is None else {"output": output})}
        if task.taken != END and task.taken not in task.ways:
            known = ", ".join(sorted(task.ways)) or "none"
            raise FlowError(f"{task.title!r} goes on at {label!r}, where nothing is connected; connected are {known}")

    async def _label(self, task: StepTask, output: Any) -> str:
        flow = task.flow(output)
        if self.tab.startswith("conditionFunction"):
            given = {key: flow[key] for key in ("state", "output", "input") if key in flow}
            return text_of(await task.run.ctx.run_script(self.script, {}, **given) or "")
        found = (one for one in self.table if fits(resolved(one.variable, flow), one))
        return next((one.output for one in found), END)


class SeqCondition(StepNode, frozen=True, kw_only=True, tag="seqCondition"):
    """Decides on the next step by the state."""

    info = NodeInfo(label="Condition", version=2.1, type="Condition", outputs=_OUTPUTS)
    title = "conditionName"

    conditionName: str = ""
    sequentialNode: BeforeCondition = []
    selectedConditionFunctionTab: str = ""
    conditionUI: Comparisons = []
    conditionFunction: Code[str] = ""

    async def work(self, task: StepTask) -> None:
        """Marks the output that is taken."""
        await Deciding(self.selectedConditionFunctionTab, self.conditionUI, self.conditionFunction).decide(task)


class SeqConditionAgent(PromptingStep, frozen=True, kw_only=True, tag="seqConditionAgent"):
    """Decides on the next step by a model's answer."""

    info = NodeInfo(label="Condition Agent", version=3.1, type="ConditionAgent", outputs=_OUTPUTS)
    title = "conditionAgentName"

    conditionAgentName: Annotated[str, Input(label="Name")]
    sequentialNode: BeforeCondition = []
    systemMessagePrompt: Additional[Template] = (
        "You decide on the way that a conversation takes. Read it, and answer with the decision that you are asked for."
    )
    humanMessagePrompt: Additional[Template] = "Decide now, by the conversation above."
    conditionAgentStructuredOutput: Annotated[
        Additional[list[Answered]], Input(type="datagrid", label="JSON Structured Output")
    ] = []
    selectedConditionFunctionTab: str = ""
    conditionUI: Comparisons = []
    conditionFunction: Code[str] = ""

    async def work(self, task: StepTask) -> None:
        """Asks the model, whose answer is no part of the conversation, and marks the output that is taken."""
        messages, model = await self.conversation(task), self.asked(task)
        if self.conditionAgentStructuredOutput:
            output = await structured(model, messages, self.conditionAgentStructuredOutput, task)
        else:
            output = {"content": await answer_text(model, ChatRequest(messages), task.run.ctx)}
        how = Deciding(self.selectedConditionFunctionTab, self.conditionUI, self.conditionFunction)
        await how.decide(task, output)


NODES = (SeqCondition, SeqConditionAgent)
