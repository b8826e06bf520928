"""The progress of an agent flow: plain data, stored with its execution, from which any process can go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from headrace.engine.chat import ModelMessage
from headrace.engine.conversation import Conversation
from headrace.events import Usage


class Arrow(NamedTuple):
    """An edge: where it begins, at which output, and where it leads."""

    source: str
    output: str
    target: str


class Item(msgspec.Struct, frozen=True):
    """One item of an iteration: the iteration's node, the item, its place, and how many there are."""

    node: str
    value: Any
    place: int
    total: int

    def iteration_json(self, session: str) -> dict[str, Any]:
        """The iteration's marks in the executions of the nodes inside."""
        context = {
            "index": self.place,
            "value": self.value,
            "isFirst": self.place == 0,
            "isLast": self.place == self.total - 1,
            "sessionId": session,
        }
        return {"iterationIndex": self.place, "iterationContext": context, "parentNodeId": self.node}


class Way(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The way through the nodes of one level: the flow's own, or an iteration's for one of its items."""

    ready: Sequence[str]
    """The nodes that can run, in the order in which they do. The first one of them is the next."""
    taken: Sequence[Arrow] = ()
    dead: Sequence[Arrow] = ()
    """Arrows that nothing will come along: those of outputs that were not chosen, and what is only behind these."""
    said: Sequence[ModelMessage] = ()
    """The nodes' messages in this run."""
    rounds: Mapping[str, int] = {}
    """How often each Loop node was reached."""
    gone_back: int = 0
    """How often the last one of them has gone back."""
    text: str = ""
    """The text of the last node."""
    item: Item | None = None
    inside: Iterating | None = None
    """The iteration that the next node is, once it has begun."""
    talk: Conversation | None = None
    """The conversation of the next node, which waits for a person's approval."""
    together: int = 0
    """How many of the first ready nodes are executed as if at the same time."""
    seen: int = 0
    """How many of the messages these nodes see."""


class Iterating(msgspec.Struct, frozen=True):
    """The progress of an iteration: its items, the results so far, and the way through its nodes for the next item."""

    items: Sequence[Any]
    results: Sequence[str]
    way: Way


class RunSoFar(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of a run's answer that its events do not hold: what a process needs that goes on with this run."""

    usage: Usage | None = None
    text: str | None = None
    """The text in place of what was said."""
    answers: bool = False
    """A last node was executed."""


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The progress of a flow."""

    way: Way
    text: str = ""
    """The user's first text: the question, or the filled form in words."""
    attached: str = ""
    """The texts of the files that came with it."""
    form: Mapping[str, Any] | None = None
    webhook: Mapping[str, Any] | None = None
    """The call that the flow began with: its `body`, `headers` and `query`."""
    state: Mapping[str, Any] = {}
    executed: Sequence[dict[str, Any]] = ()
    """An entry for every node that was executed, as clients are told."""
    steps: int = 0
    """How many nodes were executed in all."""
    forgetful: bool = False
    """The flow remembers nothing of its session."""
    so_far: RunSoFar = RunSoFar()
    """Of the newest run."""

    @property
    def path(self) -> list[Way]:
        """The ways from the flow's own to the innermost one, which the next node lies on."""
        path = [self.way]
        while inside := path[-1].inside:
            path.append(inside.way)
        return path

    @property
    def asks(self) -> bool:
        """True when the next node has asked a person, whose answer has not been taken yet."""
        ready, last = self.path[-1].ready, self.executed[-1] if self.executed else None
        return bool(ready and last and (last["status"], last["nodeId"]) == ("STOPPED", ready[0]))

    def without_failure(self) -> Progress:
        """Without the last entries of the nodes that it goes on with: they have failed, and are executed again."""
        places = {way.ready[0]: way.item.place if way.item else None for way in self.path if way.ready}
        executed = list(self.executed)
        while executed and executed[-1]["status"] in ("ERROR", "TERMINATED"):
            node = executed[-1]["nodeId"]
            if node not in places or places[node] != executed[-1]["data"].get("iterationIndex"):
                break
            executed.pop()
        return msgspec.structs.replace(self, executed=executed)

    def at(self, path: Sequence[Way]) -> Progress:
        """With these ways in place of those so far, from the flow's own to the innermost one."""
        way = path[-1]
        for outer in reversed(path[:-1]):
            inside = msgspec.structs.replace(outer.inside, way=way) if outer.inside else None
            way = msgspec.structs.replace(outer, inside=inside)
        return msgspec.structs.replace(self, way=way)

    def entered(self, entry: dict[str, Any]) -> Progress:
        """With a further node executed."""
        return msgspec.structs.replace(self, executed=[*self.executed, entry])

    def without(self, node: str, *states: str) -> Progress:
        """Without the node's executions: those that ended in one of these states, or all."""
        kept = [e for e in self.executed if e["nodeId"] != node or (states and e["status"] not in states)]
        return msgspec.structs.replace(self, executed=kept)
