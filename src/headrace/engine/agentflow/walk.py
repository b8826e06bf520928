"""The way through an agent flow's nodes, one at a time, each when what leads to it has been.

An arrow is taken or, behind an output that was not chosen, dead. A node runs once all its arrows are settled and one of
them is taken; if all are dead, so are the arrows behind it. So a node after both branches of a condition runs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from headrace.engine.agentflow.execution import public
from headrace.engine.agentflow.graph import AgentGraph, Arrow
from headrace.engine.agentflow.mentions import Mentions
from headrace.engine.agentflow.node import AgentNode, AgentRun, Loops, Task, shown
from headrace.engine.catalog import Catalog
from headrace.engine.chat import ModelMessage
from headrace.engine.inputs import Field, current, fields_of, given, parsed, read, where
from headrace.engine.node import Node
from headrace.engine.overrides import Overrides, read_json
from headrace.engine.references import MISSING
from headrace.errors import FlowError, HeadraceError
from headrace.events import AgentFlowExecutedData, Event, NextAgentFlow, Token
from headrace.schema import NodeData

_ALL_TOLD: Final = 100  # so many executions are told after each node; of more, after every tenth part of them


class Plan(NamedTuple):
    """What a run goes by: the flow, the node types, and what the request sets."""

    graph: AgentGraph
    catalog: Catalog
    overrides: Overrides


class Repeat(NamedTuple):
    """One item of an iteration: its node, the item, its place, and how many there are."""

    node: str
    value: Any
    place: int
    total: int

    def shown(self, session: str) -> dict[str, Any]:
        """What executions of the nodes inside say of it."""
        context = {
            "index": self.place,
            "value": self.value,
            "isFirst": self.place == 0,
            "isLast": self.place == self.total - 1,
            "sessionId": session,
        }
        return {"iterationIndex": self.place, "iterationContext": context, "parentNodeId": self.node}


class Walk:
    """One way through the nodes of a level: the flow's own, or an iteration's for one of its items."""

    def __init__(self, plan: Plan, run: AgentRun, repeat: Repeat | None = None) -> None:
        self._plan, self._run = plan, run
        self._repeat = repeat
        self._level = plan.graph.inside(repeat.node) if repeat else plan.graph.top
        self._settled: dict[Arrow, bool] = {}
        self._history: list[ModelMessage] = []
        self._loops = Loops()
        self._mentions = Mentions(run, self._history, self._loops, repeat.value if repeat else MISSING)
        self._inner: Walk | None = None
        self.text = ""
        """What the last node gave."""
        self.parting: list[Event] = []
        """What nodes that were cancelled still tell."""

    async def events(self) -> AsyncGenerator[Sequence[Event]]:
        """Executes the nodes. Raises what a node raises, after the event that says so."""
        queue = deque(self._level.starts)
        while queue:
            node = self._level.nodes[queue.popleft()]
            task = self._task(node)
            async with aclosing(self._executed(node, task)) as batches:
                async for events in batches:
                    yield events
            if self._repeat is None and (events := self._report()):
                yield events
            if task.fallback is not None and (events := self._fall_back(task.fallback)):
                yield events
            queue.extend(self._next(node.id, task))

    async def _executed(self, node: NodeData, task: Task) -> AsyncGenerator[Sequence[Event]]:
        yield [_next_event(node, "INPROGRESS")]
        try:
            self._run.step()
            record = await self._record(node, task)
            async with aclosing(record.run(task)) as batches:
                async for events in batches:
                    yield events
        except asyncio.CancelledError:
            inner = self._inner.parting if self._inner else []
            self.parting = [*inner, self._failed(node, "TERMINATED", "the run was cancelled")]
            raise
        except HeadraceError as error:
            yield [self._failed(node, "ERROR", str(error))]
            raise
        self._add(node, task)
        yield [_next_event(node, "FINISHED")]

    def _task(self, node: NodeData) -> Task:
        is_last = self._repeat is None and not self._level.arrows_from[node.id]
        return Task(
            self._run,
            node,
            self._history,
            self._loops,
            self._mentions.resolve,
            is_last=is_last,
            repeat=self._inside,
            component=lambda name, config: self._component(name, config, where(node)),
        )

    def _inside(self, node: str, value: Any, index: int, count: int) -> Walk:
        self._inner = Walk(self._plan, self._run, Repeat(node, value, index, count))
        return self._inner

    # What a node is given

    async def _record(self, node: NodeData, task: Task) -> AgentNode:
        kind, place = self._plan.catalog[node.name], where(node)
        inputs, task.asked = given(node, kind, self._plan.overrides)
        accepting = self._plan.graph.accepting[node.id]
        task.inputs = public({k: self._mentions.resolve(v) if k in accepting else v for k, v in inputs.items()})
        values: dict[str, Any] = {}
        for name, field in fields_of(kind).items():
            value = parsed(inputs.get(name), field)
            if field.port:
                value = await self._component(value, inputs.get(f"{name}Config"), place)
            elif name in accepting and not field.is_late:
                value = self._mentions.resolve(value)
            values[name] = value
        record = read(kind, values, place, task.asked)
        if not isinstance(record, AgentNode):
            raise FlowError(f"{place} is no node of an agent flow: replace it")
        return record

    async def _component(self, name: Any, config: Any, place: str) -> object:
        """What a node holds inside: a component by name, and its inputs."""
        if not name:
            return None
        kind: type[Node] = self._plan.catalog[name]
        config = read_json(config)
        inputs = current(kind, config) if isinstance(config, dict) else {}
        values: dict[str, Any] = {}
        for key, field in fields_of(kind).items():
            if field.port and f"{key}Config" in inputs:
                values[key] = await self._component(inputs.get(key), inputs[f"{key}Config"], place)
            elif key in inputs:
                values[key] = self._resolved(inputs[key], field)
        if credential := inputs.get("FLOWISE_CREDENTIAL_ID"):
            values["credential"] = await self._run.ctx.credential(str(credential))
        return await read(kind, values, f"{name} in {place}").build(self._run.ctx)

    def _resolved(self, value: Any, field: Field) -> Any:
        value = parsed(value, field)
        return self._mentions.resolve(value) if field.accepts_variables else value

    # What a node leaves behind

    def _add(self, node: NodeData, task: Task) -> None:
        self._run.state = task.state
        self._history += task.said
        self.text = str(task.output.get("content", ""))
        data: dict[str, Any] = {"input": task.shown, "output": task.output, "state": task.state}
        if task.said:
            data["chatHistory"] = [shown(message) for message in task.said]
            if task.beside:
                data["chatHistory"][-1]["additional_kwargs"] = task.beside
        self._enter(node, data, "FINISHED")

    def _failed(self, node: NodeData, status: str, error: str) -> Event:
        self._enter(node, {"error": error}, status)
        return _next_event(node, status, error)

    def _enter(self, node: NodeData, data: dict[str, Any], status: str) -> None:
        context = self._repeat.shown(self._run.ctx.session) if self._repeat else {}
        entry = {
            "nodeId": node.id,
            "nodeLabel": node.label,
            "data": {"id": node.id, "name": node.name, **data, **context},
            "previousNodeIds": self._level.parents(node.id),
            "status": status,
        }
        self._run.executed.append(entry)

    def _report(self) -> list[Event]:
        """All executions so far; of very many only now and then, or a long loop would send the square of its length."""
        executed, execution = self._run.executed, self._run.execution
        if len(executed) > _ALL_TOLD and len(executed) < len(execution.data) * 1.1:
            return []
        execution.data = list(executed)
        self._run.ctx.note(execution)
        return [AgentFlowExecutedData(execution.data)]

    def _fall_back(self, text: str) -> list[Event]:
        entry = self._run.executed[-1]
        data = {**entry["data"], "output": {**entry["data"]["output"], "content": text}}
        self._run.executed[-1] = {**entry, "data": data}
        self.text = text
        if self._repeat:
            return []
        self._run.execution.data, self._run.execution.amended = list(self._run.executed), True
        return [Token(text)]

    # What comes next

    def _next(self, node: str, task: Task) -> list[str]:
        if task.back_to is None:
            return self._settle(
                [(arrow, task.taken in (None, arrow.output)) for arrow in self._level.arrows_from[node]]
            )
        if task.back_to not in self._level.nodes:
            raise FlowError(f"{node!r} loops back to {task.back_to!r}, which is not beside it: choose another node")
        again = self._level.after(task.back_to)
        self._settled = {arrow: taken for arrow, taken in self._settled.items() if arrow.source not in again}
        return [task.back_to]

    def _settle(self, arrows: list[tuple[Arrow, bool]]) -> list[str]:
        """Marks arrows as taken or dead, and those that die with them; returns the nodes that can run now."""
        ready: list[str] = []
        waiting = deque(arrows)
        while waiting:
            arrow, taken = waiting.popleft()
            self._settled[arrow] = taken
            before = [self._settled.get(other) for other in self._level.arrows_to[arrow.target]]
            if None in before:
                continue
            if any(before):
                ready.append(arrow.target)
            else:
                waiting.extend((other, False) for other in self._level.arrows_from[arrow.target])
        return ready


def _next_event(node: NodeData, status: str, error: str | None = None) -> NextAgentFlow:
    data: dict[str, Any] = {"nodeId": node.id, "nodeLabel": node.label, "status": status}
    return NextAgentFlow(data if error is None else {**data, "error": error})
