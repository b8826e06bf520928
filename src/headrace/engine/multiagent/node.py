"""Nodes of multi-agent flows: their records, and one execution of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

import msgspec

from headrace.engine.agentflow.execution import Execution
from headrace.engine.agentflow.node import AgentNode, AgentRun, Loops, Task, spoken
from headrace.engine.agentflow.progress import Progress
from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.chat import ModelMessage
from headrace.engine.chatflow import flow_values
from headrace.engine.multiagent.memory import AgentMemory
from headrace.engine.multiagent.state import Channels, shown
from headrace.engine.node import Context
from headrace.engine.ports import ChatModel, Moderation
from headrace.errors import FlowError
from headrace.events import Event
from headrace.schema import HumanInput, NodeData

SEQUENTIAL: Final = "Sequential Agents"
MULTI: Final = "Multi Agents"
CATEGORIES: Final = (MULTI, SEQUENTIAL)
"""The categories of these nodes in flow files."""


class StepNode(AgentNode, frozen=True, kw_only=True):
    """A node of a multi-agent flow."""

    info = NodeInfo(category=SEQUENTIAL, names_question=False)
    title: ClassVar[str] = ""
    """The input that names it in the flow."""

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """Executes the step, which is told once it has ended."""
        assert isinstance(task, StepTask)
        await self.work(task)
        yield []

    async def work(self, task: StepTask) -> None:
        """Executes the step; what it gives goes into the task. Raises HeadraceError."""
        raise FlowError(f"{task.node.name!r} cannot be executed")


class Opening(StepNode, frozen=True, kw_only=True):
    """The node that a multi-agent flow begins with. What is connected here is there for all others."""

    most_steps: ClassVar[int] = 100

    model: ChatModel
    agentMemory: Annotated[AgentMemory | None, Input(type="BaseCheckpointSaver")] = None
    inputModeration: list[Moderation] = msgspec.field(default_factory=list)

    @property
    def most(self) -> int:
        """The number of steps that a run may take."""
        return self.most_steps

    @property
    def channels(self) -> Channels:
        """The keys of the state."""
        return Channels()


class TeamRun(AgentRun):
    """The state that all steps of one run share."""

    def __init__(self, ctx: Context, execution: Execution, progress: Progress, text: str, opening: Opening) -> None:
        super().__init__(ctx, execution, progress, text, most=opening.most)
        self.opening = opening


class StepTask(Task):
    """One execution of a step."""

    run: TeamRun

    def __init__(self, run: TeamRun, node: NodeData, title: str, answer: HumanInput | None) -> None:
        way = run.progress.path[-1]
        super().__init__(run, node, Loops(way), _as_is, is_last=True, component=_nothing_inside, answer=answer)
        self.title = title
        """The step's name in the flow."""
        self.history = way.said[: way.seen]
        """The conversation as it was before those steps that run at the same time."""
        self.ways: Mapping[str, NodeData] = {}
        """The steps that this one leads to, by the output that leads there."""
        self.titles: Mapping[str, str] = {}
        """All steps' names in the flow, by their ids."""
        self.first = node.id
        """The id of the step that the flow begins with."""
        self.beside: Callable[[str], Awaitable[AgentNode]]
        """The record of another step, by its id. Raises FlowError."""

    @property
    def name(self) -> str:
        """The name under which the step speaks."""
        return spoken(self.title or self.node.id)

    def speaker(self, step: str) -> str:
        """The name under which another step speaks."""
        return spoken(self.titles[step] or step)

    def named(self, title: str) -> str | None:
        """The id of the step with this title."""
        return next((key for key, known in self.titles.items() if spoken(known) == spoken(title)), None)

    @property
    def messages(self) -> list[ModelMessage]:
        """The session's conversation: that of earlier runs, the question, and what the steps of this run have said."""
        return [*self.run.past, *self.history]

    def flow(self, output: Any = None) -> dict[str, Any]:
        """The values of `$flow` and `$vars`, as the flow's inputs and scripts name them."""
        run = self.run
        state = {**self.state, "messages": [shown(message) for message in self.messages]}
        values = {**flow_values(run.ctx, run.past), "input": run.text, "state": state, "vars": run.ctx.variables}
        return values if output is None else {**values, "output": output}

    async def change(self, updates: Mapping[str, Any]) -> None:
        """Changes the flow's state, each key as its channel wants. Raises ScriptError."""
        if updates:
            self.output["state"] = dict(updates)
            self.state = await self.run.opening.channels.updated(self.state, updates, self.run.ctx)

    def say(self, messages: Sequence[ModelMessage], *, told: Sequence[str], **beside: Any) -> None:
        """Adds messages to the conversation; `told` are the texts that clients are shown of them."""
        self.said = list(messages)
        content = told[-1] if told else ""
        self.output = {"content": content, "messages": list(told), **msgspec.to_builtins(beside), **self.output}


def _as_is(value: Any, *, output: Any = None) -> Any:
    """References were replaced before."""
    return value


async def _nothing_inside(name: str, config: Any) -> object:
    raise AssertionError(f"a step of a multi-agent flow has no component {name!r} inside")
