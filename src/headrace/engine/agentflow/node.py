"""Nodes of agent flows: their records, their input and their outcome."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias
from uuid import uuid4

import msgspec

from headrace.engine.agentflow.execution import Execution
from headrace.engine.agentflow.progress import Progress, RunSoFar, Way
from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.chat import ModelMessage
from headrace.engine.node import Context, Node
from headrace.engine.references import text_of
from headrace.errors import FlowError
from headrace.events import Event
from headrace.schema import HumanInput, NodeData

MOST_STEPS: Final = 1000
"""Executions of nodes in one run."""

Accepts: TypeAlias = Annotated[str, msgspec.Meta(extra={"acceptVariable": True})]
"""A text in which `{{ references }}` are replaced."""


_NOT_IN_NAMES: Final = re.compile(r"[\s<|\\/>]")  # as providers say
_BUTTONS: Final = (("approve", "Proceed"), ("reject", "Reject"))


class StateUpdate(msgspec.Struct, frozen=True):
    """A value to set in the flow's state."""

    key: str = ""
    value: Any = ""


StateUpdates: TypeAlias = Annotated[
    list[StateUpdate],
    msgspec.Meta(extra={"acceptVariable": True, "late": True}),
    Input(label="Update Flow State"),
]
"""A node's changes to the flow's state, resolved once, after the node has its output."""


def filled(form: Mapping[str, Any]) -> str:
    """A filled form in words, as models and the chat history are told it."""
    return "\n".join(f"{name}: {text_of(value)}" for name, value in form.items())


class AgentRun:
    """The state that all nodes of one run share."""

    def __init__(
        self, ctx: Context, execution: Execution, progress: Progress, text: str, *, most: int = MOST_STEPS
    ) -> None:
        """`most` is the number of nodes that the run may execute."""
        self._most = most
        self.ctx, self.execution, self.progress = ctx, execution, progress
        self.text = text
        """The user's text: the question, or the filled form in words; beside an answer to the flow it may be ""."""
        self.form, self.webhook = progress.form, progress.webhook
        self.past: Sequence[ModelMessage] = ()
        """The session's messages before this run."""
        self.answers = False
        """A last node was executed: the answer is what it says."""

    @property
    def state(self) -> Mapping[str, Any]:
        """The flow's state."""
        return self.progress.state

    @property
    def exhausted(self) -> bool:
        """True when no further node may be executed."""
        return self.progress.steps > self._most

    def step(self) -> None:
        """Counts an execution of a node. Raises FlowError when there were too many."""
        self.progress = msgspec.structs.replace(self.progress, steps=self.progress.steps + 1)
        if self.exhausted:
            raise FlowError(f"the flow has executed {self._most} nodes in one run, which is the most there may be")

    def forget(self) -> None:
        """Forgets the session's earlier messages; those that the request brings stay."""
        self.progress, self.past = msgspec.structs.replace(self.progress, forgetful=True), self.ctx.prior

    def with_so_far(self) -> Progress:
        """The progress with what this run has come to."""
        return msgspec.structs.replace(self.progress, so_far=RunSoFar(self.ctx.usage, self.ctx.text, self.answers))

    def take_up(self) -> None:
        """Goes on with a run whose process has died."""
        so_far = self.progress.so_far
        self.ctx.usage, self.ctx.text, self.answers = so_far.usage, so_far.text, so_far.answers

    def last_output(self, node: str) -> Mapping[str, Any] | None:
        """The output of the node's newest execution."""
        for entry in reversed(self.progress.executed):
            if entry["nodeId"] == node:
                return entry["data"].get("output")
        return None


class Loops:
    """Counts of a level's Loop nodes: how often each was reached, and how often the last one has gone back."""

    def __init__(self, way: Way) -> None:
        self.rounds = dict(way.rounds)
        self.gone_back = way.gone_back


class Task:
    """One execution of a node: its input and its outcome."""

    def __init__(
        self,
        run: AgentRun,
        node: NodeData,
        loops: Loops,
        resolve: Callable[..., Any],
        *,
        is_last: bool,
        component: Callable[[str, Any], Awaitable[object]],
        answer: HumanInput | None = None,
    ) -> None:
        self.run, self.node, self.resolve, self.is_last, self.loops = run, node, resolve, is_last, loops
        self.component = component
        """Builds what the node holds inside, by the name of its type and its inputs. Raises FlowError."""
        self.answer = answer
        """A person's answer to the node's question."""
        way = run.progress.path[-1]
        self.history = way.said
        """The messages of the nodes before this one in this run."""
        self.answered = run.ctx.answer is not None
        """The run goes on after an answer: what was asked before is in the session's history."""
        self.talk = way.talk
        """The node's conversation as it was when it asked; what it leaves here is kept while it waits."""
        self.inputs: dict[str, Any] = {}
        """The node's inputs with their references replaced, as they may be shown."""
        self.asked: Mapping[str, Any] = {}
        """Those of them that the request sets, on their own."""
        self.state: dict[str, Any] = dict(run.state)
        self.input_record: dict[str, Any] = {}
        """The input as the execution shows it."""
        self.output: dict[str, Any] = {}
        self.said: list[ModelMessage] = []
        """Messages that the node adds to the conversation of this run."""
        self.taken: str | None = None
        """The only output that is taken, where the node decides on one."""
        self.back_to: str | None = None
        """The node to go on with, where it is not the next one."""
        self.items: Sequence[Any] | None = None
        """The items for the nodes inside this one, one after the other."""
        self.action: dict[str, Any] | None = None
        """The question to a person: the flow stops until there is an answer, and then executes the node anew."""
        self.fallback: str | None = None
        """Replacement text after the loop limit."""

    def keep(self, told: Sequence[Event]) -> None:
        """Adds the payloads of events to the output, each under the event's name."""
        for event in told:
            kept = msgspec.to_builtins(event)
            self.output[kept["event"]] = kept["data"]

    def ask(self) -> None:
        """Stops the flow with a question: may it go on? Its text is the node's content."""
        buttons = [{"type": f"agentflowv2-{kind}-button", "label": label} for kind, label in _BUTTONS]
        about = {"nodeId": self.node.id, "nodeLabel": self.node.label, "input": self.input_record}
        labels = dict(_BUTTONS)
        self.action = {"id": str(uuid4()), "mapping": labels, "elements": buttons, "data": about}
        self.output["humanInputAction"] = self.action

    def update(self, updates: Sequence[StateUpdate], output: Any = None) -> None:
        """Sets values in the flow's state; they may refer to the node's `output`."""
        for update in updates:
            if update.key:
                self.state[update.key] = self.resolve(update.value, output=output)


class AgentNode(Node, frozen=True, kw_only=True):
    """A node of an agent flow."""

    info = NodeInfo(names_question=True, category="Agent Flows")

    def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """Executes the node: its events in batches; what it gives goes into the task. Raises HeadraceError."""
        raise FlowError(f"{task.node.name!r} cannot be executed")


def message_json(message: ModelMessage) -> dict[str, Any]:
    """A message as executions show it; pictures are only named."""
    content = message.text if isinstance(message.content, str) else message.text or "(picture)"
    name = {"name": message.name} if message.name else {}
    beside = {"additional_kwargs": {"usedTools": message.uses}} if message.uses else {}
    return {"role": message.role, "content": content, **name, **beside}


def spoken_name(node: NodeData) -> str:
    """The name under which a node speaks in the conversation of a run."""
    return spoken(node.label or node.id)


def spoken(title: str) -> str:
    """A title as the name of a speaker."""
    return _NOT_IN_NAMES.sub("_", title.strip().lower())[:64]
