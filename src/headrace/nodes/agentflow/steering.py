"""Nodes of agent flows that steer: start, direct reply, loop, iteration."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from headrace.engine.agentflow.form import FormInput
from headrace.engine.agentflow.node import Accepts, AgentNode, StateUpdate, StateUpdates, Task
from headrace.engine.agentflow.schedule import Schedule
from headrace.engine.annotations import Input, NodeInfo
from headrace.errors import FlowError
from headrace.events import Event, Token

_MOST_ROUNDS: Final = "MAX_LOOP_COUNT"
_DEFAULT_ROUNDS: Final = 10


_FORM: Final = Input(show={"startInputType": "formInput"})


class StartNode(Schedule, AgentNode, frozen=True, kw_only=True, tag="startAgentflow"):
    """Where an agent flow begins: with a question, a form, a call or by the clock, and with the first state."""

    info = NodeInfo(version=1.4)

    startInputType: Annotated[
        Literal["chatInput", "formInput", "webhookTrigger", "scheduleInput"],
        Input(label="Input Type"),
    ] = "chatInput"
    formTitle: Annotated[str, _FORM] = ""
    formDescription: Annotated[str, _FORM] = ""
    formInputTypes: Annotated[list[FormInput], _FORM] = []
    startEphemeralMemory: bool = False
    startState: Annotated[list[StateUpdate] | dict[str, Any], Input(label="Flow State")] = []
    startPersistState: bool = False

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """Sets the state: the flow's own, over it the session's if it is to persist, over it the request's."""
        run = task.run
        if self.startEphemeralMemory:
            run.forget()
        task.state = _state(self.startState)
        if self.startPersistState:
            task.state |= _last_state(await run.ctx.previous())
        if "startState" in task.asked:
            task.state |= _state(msgspec.convert(task.asked["startState"], list[StateUpdate] | dict[str, Any]))
        self._describe(task)
        yield []

    def _describe(self, task: Task) -> None:
        key = "form" if task.run.form else "question"
        task.input_record = {key: task.run.text}
        if key == "form" and self.formInputTypes:
            fields = msgspec.to_builtins(self.formInputTypes)
            task.input_record = {
                "form": {"title": self.formTitle, "description": self.formDescription, "inputs": fields}
            }
        task.output = {key: task.run.text}
        if task.run.webhook is not None:
            task.input_record = task.output = {"webhook": task.run.webhook, **task.output}
        if self.startEphemeralMemory:
            task.output["ephemeralMemory"] = True
        if self.startPersistState:
            task.output["persistState"] = True


def _state(entries: Sequence[StateUpdate] | dict[str, Any]) -> dict[str, Any]:
    """A state out of a list of keys and values, or out of an object."""
    return entries if isinstance(entries, dict) else {entry.key: entry.value for entry in entries if entry.key}


def _last_state(executed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The state that the session's last execution ended with."""
    states = [entry["data"]["state"] for entry in executed if "state" in entry.get("data", {})]
    return states[-1] if states else {}


class DirectReply(AgentNode, frozen=True, kw_only=True, tag="directReplyAgentflow"):
    """Says a text."""

    directReplyMessage: Annotated[Accepts, Input(label="Message")] = ""

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """The text, as one token where it is the flow's answer."""
        task.output = {"content": self.directReplyMessage}
        yield [Token(self.directReplyMessage)] if task.is_last else []


class Loop(AgentNode, frozen=True, kw_only=True, tag="loopAgentflow"):
    """Goes back to an earlier node, so many times at most."""

    info = NodeInfo(version=1.2)

    loopBackToNode: Annotated[str, Input(label="Loop Back To", loadMethod="listPreviousNodes")]
    """`<node id>-<label>`."""
    maxLoopCount: Annotated[int | None, Input(label="Max Loop Count")] = None
    fallbackMessage: Accepts = ""
    loopUpdateState: StateUpdates = []

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """Marks where to go on, or the fallback message when it has been reached too often."""
        loops, (target, _, label) = task.loops, self.loopBackToNode.partition("-")
        most = self.maxLoopCount or _limit(task.run.ctx.environ.get(_MOST_ROUNDS, ""))
        content = f"Loop back to {label} ({target})"
        task.input_record = {"nodeID": target, "maxLoopCount": most}
        task.output = {"content": content, **task.input_record, "fallbackMessage": self.fallbackMessage}
        rounds = loops.rounds[task.node.id] = loops.rounds.get(task.node.id, 0) + 1
        if rounds < most:
            task.back_to, loops.gone_back = target, rounds
        else:
            task.fallback = self.fallbackMessage or f"Stopped after {most} rounds."
        task.update(self.loopUpdateState, content)
        yield []


def _limit(text: str) -> int:
    return int(text) if text.isdecimal() and int(text) else _DEFAULT_ROUNDS


class Iteration(AgentNode, frozen=True, kw_only=True, tag="iterationAgentflow"):
    """Executes the nodes inside it for each item of a list, one after the other."""

    iterationInput: Annotated[Accepts, Input(label="Array Input")]

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """The items. One that fails gives the reason as its result; the others go on. Raises FlowError."""
        task.items = _items(self.iterationInput, task.node.id)
        yield []


def _items(text: str, node: str) -> list[Any]:
    try:
        return msgspec.json.decode(text, type=list[Any])
    except msgspec.MsgspecError:
        raise FlowError(f"{node!r} needs a JSON list to go through, not {text[:60]!r}") from None


class EndNode(AgentNode, frozen=True, kw_only=True, tag="endAgentflow"):
    """Ends a flow, as older exports have it: says what the node before it gave."""

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """The text of the node before, as one token."""
        content = task.run.progress.path[-1].text
        task.output = {"content": content}
        yield [Token(content)] if task.is_last and content else []


NODES = (StartNode, DirectReply, Loop, Iteration, EndNode)
