"""A multi-agent flow read once: its steps in their order, and what each of them is connected to."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from headrace.engine.agentflow.graph import Level, Levels
from headrace.engine.agentflow.node import spoken
from headrace.engine.agentflow.progress import Arrow
from headrace.engine.catalog import Catalog
from headrace.engine.graph import Graph, check_known, nodes_of
from headrace.engine.multiagent.node import CATEGORIES, MULTI, Opening, StepNode
from headrace.engine.node import Node
from headrace.engine.references import node_ids
from headrace.errors import FlowError
from headrace.schema import FlowEdge, FlowFile, NodeData

END: Final = "end"
"""The output of a step that ends the run."""
_CONDITIONS: Final = ("seqCondition", "seqConditionAgent")
_BETWEEN: Final = re.compile(r"[^a-z0-9]")


def is_multiagent(flow: FlowFile) -> bool:
    """True for a flow of agents that work in steps, whatever its type says."""
    return any(node.category in CATEGORIES for node in nodes_of(flow))


def output_name(label: str) -> str:
    """An output's label and its name in arrows, in one form: builders write `Code Reviewer` and `codeReviewer`."""
    return _BETWEEN.sub("", label.lower())


class TeamGraph(Levels):
    """The steps of a flow that its first one leads to."""

    def __init__(self, flow: FlowFile, catalog: Catalog) -> None:
        """Raises FlowError for a flow that cannot run, UnknownNodes naming the nodes that this server lacks."""
        nodes = nodes_of(flow)
        steps = {node.id: node for node in nodes if _is_step(node, catalog)}
        check_known({node.name for node in steps.values()}, catalog)
        self.start = _start(list(steps.values()), catalog)
        arrows = [_arrow(edge, steps) for edge in flow.edges]
        reached = Level(steps.values(), arrows).after(self.start.id)
        level = _ordered([step for step in steps.values() if step.id in reached], arrows, self.start)
        if circle := level.circle():
            raise FlowError(f"the flow goes in a circle through {circle!r}: use a Loop node to go back")
        super().__init__({None: level})
        self.titles = {node.id: _title(node, catalog) for node in level.nodes.values()}
        """The name of each step in the flow."""
        self.parts = {key: Graph(_without_others(flow, steps, key), catalog, step) for key, step in level.nodes.items()}
        """For each step itself and everything that must be built before it."""
        self.nodes = list({node.id: node for part in self.parts.values() for node in part.order}.values())
        self.memory = _memory(self.start, nodes)
        _check_loops(self, catalog)

    def ways(self, step: str) -> dict[str, NodeData]:
        """The steps that this one leads to, by the output that leads there."""
        return {arrow.output: self.top.nodes[arrow.target] for arrow in self.top.arrows_from[step]}

    def named(self, title: str) -> str | None:
        """The id of the step with this title."""
        return next((key for key, known in self.titles.items() if spoken(known) == spoken(title)), None)

    def conditions_before(self, step: str) -> list[NodeData]:
        """The conditions that an arrow leads from to this step."""
        sources = (self.top.nodes[arrow.source] for arrow in self.top.arrows_to[step])
        return [node for node in sources if node.name in _CONDITIONS]


def _is_step(node: NodeData, catalog: Catalog) -> bool:
    kind = catalog.get(node.name, Node)
    return issubclass(kind, StepNode) if kind is not Node else node.category in CATEGORIES


def _start(steps: Sequence[NodeData], catalog: Catalog) -> NodeData:
    found = [node for node in steps if issubclass(catalog[node.name], Opening)]
    if not found:
        raise FlowError("the flow has no Start node and no supervisor: add one that leads to its agents")
    if len(found) > 1:
        names = ", ".join(repr(node.id) for node in found)
        raise FlowError(f"the flow begins at more than one node: remove all but one of {names}")
    return found[0]


def _arrow(edge: FlowEdge, steps: Mapping[str, NodeData]) -> Arrow:
    """An edge between steps. A step that chooses has an output for each choice: its name, or the next step's id."""
    source, target = steps.get(edge.source), steps.get(edge.target)
    output = ""
    if source and source.name in _CONDITIONS:
        output = output_name((edge.sourceHandle or "").rpartition("-output-")[2].partition("-")[0])
    elif source and target and (source.category == MULTI or target.name == "seqToolNode"):
        output = target.id
    return Arrow(edge.source, output, edge.target)


def _ordered(steps: Sequence[NodeData], arrows: Sequence[Arrow], start: NodeData) -> Level:
    """Steps with their arrows in the order in which the targets run: those with the most steps behind them first.

    Among equals those come first that the ends of the flow lead back to first. A supervisor's are as they are drawn.
    """
    level = Level(steps, arrows)
    if start.category == MULTI:
        return level
    found: dict[str, int] = {}
    waiting = [key for key, leading in reversed(level.arrows_from.items()) if not leading]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found[key] = len(found)
            waiting += [arrow.source for arrow in reversed(level.arrows_to[key])]
    drawn = [arrow for arrow in arrows if arrow.source in level.nodes and arrow.target in level.nodes]
    left = _left(level, drawn)
    return Level(steps, sorted(drawn, key=lambda arrow: (-left[arrow.target], found.get(arrow.target, 0))))


def _left(level: Level, arrows: Sequence[Arrow]) -> dict[str, int]:
    """For each step the most steps that may come after it; a circle is refused later."""
    left = dict.fromkeys(level.nodes, 0)
    for _ in level.nodes:
        for arrow in arrows:
            left[arrow.source] = max(left[arrow.source], min(left[arrow.target] + 1, len(left)))
    return left


def _title(node: NodeData, catalog: Catalog) -> str:
    kind = catalog[node.name]
    given = node.inputs.get(kind.title) if issubclass(kind, StepNode) else None
    return str(given or node.label or node.name).strip()


def _without_others(flow: FlowFile, steps: Collection[str], own: str) -> FlowFile:
    """The flow with this one of its steps."""
    others = set(steps) - {own}
    nodes = [node for node in flow.nodes if node.data.id not in others]
    return msgspec.structs.replace(flow, nodes=nodes, edges=[edge for edge in flow.edges if edge.source not in steps])


def _memory(start: NodeData, nodes: Sequence[NodeData]) -> NodeData | None:
    ids = node_ids(start.inputs.get("agentMemory"))
    return next((node for node in nodes if node.id in ids), None)


def _check_loops(graph: TeamGraph, catalog: Catalog) -> None:
    for node in graph.top.nodes.values():
        if node.name == "seqLoop" and graph.named(str(node.inputs.get("loopToName") or "")) is None:
            known = ", ".join(sorted({repr(title) for title in graph.titles.values()}))
            raise FlowError(f"{node.id!r} loops to a step that is not there: choose one of {known}")
