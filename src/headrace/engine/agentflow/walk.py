"""Runs a flow's nodes in order, each after its predecessors. Every step makes a new record of the progress.

How a flow is drawn is its `Plan`'s matter, and what clients are told of it its `Teller`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol

import msgspec

from headrace.engine.agentflow import steps
from headrace.engine.agentflow.graph import Levels
from headrace.engine.agentflow.node import AgentNode, AgentRun, Task, message_json
from headrace.engine.agentflow.progress import Item, Iterating, Way
from headrace.engine.agentflow.telling import Broken, Teller
from headrace.errors import HeadraceError
from headrace.events import Event
from headrace.schema import HumanInput, NodeData


class Prepared(NamedTuple):
    """A node that can be executed: its record, and what it is to do."""

    record: AgentNode
    task: Task


class Plan(Protocol):
    """A flow's levels, and the records of its nodes."""

    @property
    def graph(self) -> Levels:
        """The levels."""
        ...

    async def prepared(self, run: AgentRun, node: NodeData, answer: HumanInput | None) -> Prepared:
        """The node, which lies on the innermost way of the progress. Raises FlowError."""
        ...


class Walk:
    """Goes on with a run from where it is, until the flow has ended or waits for a person."""

    def __init__(self, plan: Plan, run: AgentRun, teller: Teller, answer: HumanInput | None = None) -> None:
        """`answer` is for the next node, which has asked for it."""
        self._plan, self._run, self._teller, self._answer = plan, run, teller, answer
        self.parting: list[Event] = []
        """Events of nodes that were cancelled."""

    async def events(self) -> AsyncGenerator[Sequence[Event]]:
        """Executes the nodes. Raises what a node raises, after the event that says so."""
        run = self._run
        while run.progress.way.ready and run.execution.action is None:
            async with aclosing(self.step()) as batches:
                async for events in batches:
                    yield events
            run.execution.progress = run.with_so_far()
            await run.ctx.note(run.execution)

    async def step(self) -> AsyncGenerator[Sequence[Event]]:
        """Executes the next node, or goes on to an iteration's next item; the run's progress is then a new one."""
        path = self._run.progress.path
        if not path[-1].ready:
            yield self._item_done(path, path[-1].text)
            return
        node = self._node(path[-1])
        try:
            async with aclosing(self._executed(path, node)) as batches:
                async for events in batches:
                    yield events
        except asyncio.CancelledError:
            self.parting = self._failed(path, "TERMINATED", "the run was cancelled")
            raise
        except HeadraceError as error:
            item = path[-1].item
            if item is None or self._run.exhausted:
                error.node = node.id
                yield self._failed(path, "ERROR", str(error))
                raise
            yield self._failed(path[-1:], "ERROR", str(error))
            yield self._item_done(path, f"Error in iteration {item.place + 1}: {error}")

    def _node(self, way: Way) -> NodeData:
        return self._plan.graph.level(way).nodes[way.ready[0]]

    async def _executed(self, path: Sequence[Way], node: NodeData) -> AsyncGenerator[Sequence[Event]]:
        if events := self._teller.begun(node):
            yield events
        run, way = self._run, path[-1]
        answer, self._answer = self._answer, None
        if answer:
            run.progress = run.progress.without(node.id, *(("STOPPED",) if way.item else ()))
        run.step()
        record, task = await self._plan.prepared(run, node, answer)
        path = run.progress.path
        run.answers |= task.is_last
        async with aclosing(record.run(task)) as batches:
            async for events in batches:
                yield events
        yield self._left(path, node, task)

    # What a node leaves behind

    def _left(self, path: Sequence[Way], node: NodeData, task: Task) -> list[Event]:
        run, way = self._run, path[-1]
        run.progress = msgspec.structs.replace(run.progress, state=task.state)
        if task.items:
            inside = Iterating(task.items, [], _begun(self._plan.graph, node.id, task.items, 0))
            run.progress = run.progress.at([*path[:-1], msgspec.structs.replace(way, inside=inside)])
            return []
        if task.items is not None:
            return self._iterated(path, node, task.items, [])
        way = msgspec.structs.replace(
            way,
            said=[*way.said, *task.said],
            text=str(task.output.get("content", "")),
            rounds=task.loops.rounds,
            gone_back=task.loops.gone_back,
            talk=task.talk if task.action else None,
        )
        if task.action:
            run.execution.action = task.action
            return self._ended(path, node, _data(task), way, "STOPPED")
        level = self._plan.graph.level(way)
        further = steps.onward(way, level, task.taken) if task.back_to is None else steps.back(way, level, task.back_to)
        if not (further.ready or further.item or run.answers):  # it chose an output that leads nowhere
            run.ctx.text = further.text
        events = self._ended(path, node, _data(task), further, "FINISHED")
        return events if task.fallback is None else [*events, *self._fall_back(task.fallback)]

    def _ended(
        self, path: Sequence[Way], node: NodeData, data: dict[str, Any], further: Way, status: str
    ) -> list[Event]:
        """Notes that the next node of the path has ended, and goes on from there."""
        self._enter(path[-1], node, data, status)
        self._run.progress = self._run.progress.at([*path[:-1], further])
        return self._teller.ended(node, status, inside=further.item is not None)

    def _failed(self, path: Sequence[Way], status: Broken, error: str) -> list[Event]:
        """Notes that the next node has failed, and with it the iterations that it lies in."""
        events: list[Event] = []
        for way in reversed(path):
            node = self._node(way)
            self._enter(way, node, {"error": error}, status)
            events += self._teller.failed(node, status, error)
        return events

    def _enter(self, way: Way, node: NodeData, data: dict[str, Any], status: str) -> None:
        context = way.item.iteration_json(self._run.ctx.session) if way.item else {}
        entry = {
            "nodeId": node.id,
            "nodeLabel": node.label,
            "data": {"id": node.id, "name": node.name, **data, **context},
            "previousNodeIds": self._plan.graph.level(way).parents(node.id),
            "status": status,
        }
        self._run.progress = self._run.progress.entered(entry)

    def _fall_back(self, text: str) -> list[Event]:
        run = self._run
        *before, entry = run.progress.executed
        data = {**entry["data"], "output": {**entry["data"]["output"], "content": text}}
        path = run.progress.path
        path[-1] = msgspec.structs.replace(path[-1], text=text)
        run.progress = msgspec.structs.replace(run.progress.at(path), executed=[*before, {**entry, "data": data}])
        return [] if path[-1].item else self._teller.amended(text)

    # Iterations

    def _item_done(self, path: Sequence[Way], result: str) -> list[Event]:
        """Goes on to the next item of the innermost iteration, or leaves it after the last one."""
        *outer, way = path[:-1]
        node, inside = self._node(way), way.inside
        assert inside
        results = [*inside.results, result]
        if len(results) == len(inside.items):
            return self._iterated(path[:-1], node, inside.items, results)
        begun = _begun(self._plan.graph, node.id, inside.items, len(results))
        way = msgspec.structs.replace(way, inside=Iterating(inside.items, results, begun))
        self._run.progress = self._run.progress.at([*outer, way])
        return []

    def _iterated(
        self, path: Sequence[Way], node: NodeData, items: Sequence[Any], results: Sequence[str]
    ) -> list[Event]:
        """An iteration's results, a line each; its state is what the nodes inside have left."""
        text = "\n".join(results)
        output = {"iterationResults": list(results), "content": text}
        data = {"input": {"iterationInput": list(items)}, "output": output, "state": dict(self._run.state)}
        way = msgspec.structs.replace(path[-1], inside=None, text=text)
        return self._ended(path, node, data, steps.onward(way, self._plan.graph.level(way), None), "FINISHED")


def _begun(graph: Levels, iteration: str, items: Sequence[Any], place: int) -> Way:
    return Way(ready=graph.begun(iteration), item=Item(iteration, items[place], place, len(items)))


def _data(task: Task) -> dict[str, Any]:
    """The data of a node that the execution keeps."""
    data: dict[str, Any] = {"input": task.input_record, "output": task.output, "state": task.state}
    if task.said:
        data["chatHistory"] = [message_json(message) for message in task.said]
    return data
