"""Makes a node's record of its inputs: references replaced, and the components inside it built."""

from __future__ import annotations

from typing import Any, NamedTuple

from headrace.engine.agentflow.execution import public
from headrace.engine.agentflow.graph import AgentGraph
from headrace.engine.agentflow.node import AgentNode, AgentRun, Loops, Task
from headrace.engine.agentflow.references import Mentions
from headrace.engine.agentflow.walk import Prepared
from headrace.engine.catalog import Catalog
from headrace.engine.inputs import Field, current, fields_of, input_values, parsed, read, where
from headrace.engine.node import Context, Node
from headrace.engine.overrides import Overrides, read_json
from headrace.engine.parts import own_credential
from headrace.engine.references import MISSING
from headrace.errors import FlowError
from headrace.schema import HumanInput, NodeData


class AgentFlowPlan(NamedTuple):
    """The plan of an agent flow's run: the flow, the node types and the request's overrides."""

    graph: AgentGraph
    catalog: Catalog
    overrides: Overrides

    async def prepared(self, run: AgentRun, node: NodeData, answer: HumanInput | None) -> Prepared:
        """See Plan."""
        way = run.progress.path[-1]
        loops = Loops(way)
        mentions = Mentions(run, way.said, loops, way.item.value if way.item else MISSING)
        components = Components(self, run.ctx, mentions, node)
        is_last = way.item is None and not self.graph.level(way).arrows_from[node.id]
        task = Task(run, node, loops, mentions.resolve, is_last=is_last, component=components.built, answer=answer)
        return Prepared(await components.record(task), task)


class Components:
    """Builds what one execution of a node needs."""

    def __init__(self, plan: AgentFlowPlan, ctx: Context, mentions: Mentions, node: NodeData) -> None:
        self._plan, self._ctx, self._mentions, self._node = plan, ctx, mentions, node

    async def record(self, task: Task) -> AgentNode:
        """The node's record; what may be shown of its inputs goes into the task. Raises FlowError."""
        node, plan, place = self._node, self._plan, where(self._node)
        kind, resolve = plan.catalog[node.name], self._mentions.resolve
        inputs, task.asked = input_values(node, kind, plan.overrides)
        accepting = plan.graph.accepting[node.id]
        task.inputs = public({k: resolve(v) if k in accepting else v for k, v in inputs.items()})
        values: dict[str, Any] = {}
        for name, field in fields_of(kind).items():
            value = parsed(inputs.get(name), field)
            if field.port:
                value = await self.built(value, inputs.get(f"{name}Config"))
            elif name in accepting and not field.is_late:
                value = resolve(value)
            values[name] = value
        if credential := own_credential(node):
            values["credential"] = await self._ctx.credential(credential)
        record = read(kind, values, place, task.asked)
        if not isinstance(record, AgentNode):
            raise FlowError(f"{place} is no node of an agent flow: replace it")
        return record

    async def built(self, name: Any, config: Any) -> object:
        """Builds a component inside a node, by its name and inputs. Raises FlowError."""
        if not name:
            return None
        kind: type[Node] = self._plan.catalog[name]
        config = read_json(config)
        inputs = current(kind, config) if isinstance(config, dict) else {}
        values: dict[str, Any] = {}
        for key, field in fields_of(kind).items():
            if field.port and f"{key}Config" in inputs:
                values[key] = await self.built(inputs.get(key), inputs[f"{key}Config"])
            elif key in inputs:
                values[key] = self._resolved(inputs[key], field)
        if credential := inputs.get("FLOWISE_CREDENTIAL_ID"):
            values["credential"] = await self._ctx.credential(str(credential))
        return await read(kind, values, f"{name} in {where(self._node)}").build(self._ctx)

    def _resolved(self, value: Any, field: Field) -> Any:
        value = parsed(value, field)
        return self._mentions.resolve(value) if field.accepts_variables else value
