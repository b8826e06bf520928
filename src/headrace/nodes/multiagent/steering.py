"""Steps of multi-agent flows that steer: start, end, loop, and the state that the start is given."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from headrace.engine.annotations import Additional, Code, Input, NodeInfo
from headrace.engine.multiagent.node import SEQUENTIAL, Opening, StepNode, StepTask
from headrace.engine.multiagent.state import Channel, Channels
from headrace.engine.node import Node
from headrace.errors import FlowError
from headrace.nodes.chains.conversation import refusal

REFUSED = "refused"
"""The output that a run takes whose question was refused: nothing is behind it."""
Before: TypeAlias = Annotated[
    list[str],
    Input(type="Start | Agent | Condition | LLMNode | ToolNode | CustomFunction | ExecuteFlow", list=True),
]
"""The steps before this one. They are read from the flow's arrows."""
BeforeCondition: TypeAlias = Annotated[
    list[str], Input(type="Start | Agent | LLMNode | ToolNode | CustomFunction | ExecuteFlow", list=True)
]
"""The same of a condition."""
_LAST: Final = "Agent | Condition | LLMNode | ToolNode | CustomFunction | ExecuteFlow"


class SeqState(Node, frozen=True, kw_only=True, tag="seqState"):
    """The keys of a flow's state beside its messages, each with its first value and how updates change it."""

    info = NodeInfo(label="State", version=2, type="State", category=SEQUENTIAL)

    stateMemory: Annotated[Additional[str], Input(type="tabs")] = "stateMemoryUI"
    selectedStateTab: str = ""
    stateMemoryUI: Annotated[list[Channel], Input(type="datagrid")] = []
    stateMemoryCode: Code[str] = ""

    @property
    def channels(self) -> Channels:
        """The keys of the tab that is chosen."""
        if self.selectedStateTab.startswith("stateMemoryCode"):
            return Channels(code=self.stateMemoryCode)
        return Channels(self.stateMemoryUI)


class SeqStart(Opening, frozen=True, kw_only=True, tag="seqStart"):
    """Where a flow of sequential agents begins: the model, the memory and the state that all its steps share."""

    info = NodeInfo(label="Start", version=2, type="Start")

    state: Annotated[SeqState | None, Input(type="State")] = None

    @property
    def channels(self) -> Channels:
        """The keys of the state that is connected."""
        return self.state.channels if self.state else Channels()

    async def work(self, task: StepTask) -> None:
        """Refuses a question that its moderation stops."""
        await refused(self, task)


async def refused(opening: Opening, task: StepTask) -> bool:
    """True when a moderation stops the question: then its message is the answer."""
    message = await refusal(opening.inputModeration, task.run.ctx)
    if message:
        task.taken, task.output["answer"] = REFUSED, message
    return message is not None


class SeqEnd(StepNode, frozen=True, kw_only=True, tag="seqEnd"):
    """Ends a flow of sequential agents."""

    info = NodeInfo(label="End", version=2.1, type="End")

    sequentialNode: Annotated[list[str], Input(type=_LAST)] = []

    async def work(self, task: StepTask) -> None:
        """The step before has said the answer."""


class SeqLoop(StepNode, frozen=True, kw_only=True, tag="seqLoop"):
    """Goes back to an earlier step, by its name."""

    info = NodeInfo(label="Loop", version=2.1, type="Loop")

    sequentialNode: Annotated[list[str], Input(type=_LAST, list=True)] = []
    loopToName: Annotated[str, Input(label="Loop To")]

    async def work(self, task: StepTask) -> None:
        """Marks where to go on. Raises FlowError for a name that no step has."""
        task.back_to = task.named(self.loopToName)
        if task.back_to is None:
            raise FlowError(f"{task.node.id!r} loops to {self.loopToName!r}, which no step is called")


NODES = (SeqStart, SeqState, SeqEnd, SeqLoop)
