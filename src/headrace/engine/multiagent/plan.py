"""Makes the steps of a multi-agent flow ready: their components built once for the run, their references replaced."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from headrace.engine.agentflow.execution import public
from headrace.engine.agentflow.node import AgentNode, AgentRun
from headrace.engine.agentflow.walk import Prepared
from headrace.engine.catalog import Catalog
from headrace.engine.chatflow import flow_values, last_record, transcript
from headrace.engine.inputs import input_values, where
from headrace.engine.multiagent.graph import TeamGraph
from headrace.engine.multiagent.node import Opening, StepNode, StepTask, TeamRun
from headrace.engine.node import Context
from headrace.engine.overrides import Overrides
from headrace.engine.references import Scope
from headrace.errors import FlowError
from headrace.schema import HumanInput, NodeData


class TeamPlan:
    """The plan of a multi-agent flow's run."""

    def __init__(self, graph: TeamGraph, catalog: Catalog, overrides: Overrides, ctx: Context) -> None:
        self._graph, self._catalog, self._overrides, self._ctx = graph, catalog, overrides, ctx
        self._built: dict[str, object] = {}

    @property
    def graph(self) -> TeamGraph:
        """See Plan."""
        return self._graph

    async def opening(self) -> Opening:
        """The record of the first step. Raises FlowError."""
        record = await self._record(self._graph.start.id, None)
        assert isinstance(record, Opening)
        return record

    async def prepared(self, run: AgentRun, node: NodeData, answer: HumanInput | None) -> Prepared:
        """See Plan."""
        assert isinstance(run, TeamRun)
        _enter(run, answer)
        task = StepTask(run, node, self._graph.titles[node.id], answer)
        task.ways = self._graph.ways(node.id)
        task.titles, task.first = self._graph.titles, self._graph.start.id
        inputs = input_values(node, self._catalog[node.name], self._overrides).inputs
        task.inputs = public({name: value for name, value in inputs.items() if name != "sequentialNode"})
        task.input_record = {name: value for name, value in task.inputs.items() if value not in ("", None, [])}

        async def beside(step: str) -> AgentNode:
            return await self._record(step, run)

        task.beside = beside
        return Prepared(await self._record(node.id, run), task)

    async def _record(self, step: str, run: TeamRun | None) -> StepNode:
        scope = self._scope(run)
        scope.built = {**_contents(run), **self._built} if run else dict(self._built)
        record = await last_record(
            self._graph.parts[step], self._catalog, self._ctx, self._overrides, scope, searching=True
        )
        self._built |= {key: value for key, value in scope.built.items() if key not in self._graph.top.nodes}
        if not isinstance(record, StepNode):
            raise FlowError(f"{where(self._graph.top.nodes[step])} is no step of a multi-agent flow: replace it")
        return record

    def _scope(self, run: TeamRun | None) -> Scope:
        ctx, past = self._ctx, run.past if run else self._ctx.prior
        texts = {"question": ctx.question, "file_attachment": ctx.attached, "chat_history": transcript(past)}
        state = {"state": dict(run.state)} if run else {}
        return Scope(texts, {**flow_values(ctx, past), **state}, ctx.variables)


def _contents(run: TeamRun) -> Mapping[str, str]:
    """The newest text of each step that has one, for references to it."""
    entries = ((entry["nodeId"], entry["data"].get("output") or {}) for entry in run.progress.executed)
    return {node: output["content"] for node, output in entries if output.get("messages")}


def _enter(run: TeamRun, answer: HumanInput | None) -> None:
    """Notes which steps are executed at the same time, and what they see of the conversation."""
    *outer, way = run.progress.path
    if answer:
        return
    if way.together < 1:
        way = msgspec.structs.replace(way, together=len(way.ready), seen=len(way.said))
    way = msgspec.structs.replace(way, together=way.together - 1)
    run.progress = run.progress.at([*outer, way])
