"""An agent flow read once: nodes and arrows, on the level of the flow itself and inside of each iteration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from headrace.engine.agentflow.progress import Arrow, Way
from headrace.engine.catalog import Catalog
from headrace.engine.graph import accepting, check_known, nodes_of
from headrace.engine.parts import parts_of
from headrace.errors import FlowError
from headrace.schema import FlowFile, NodeData

START = "startAgentflow"


class Level:
    """Nodes that lie together, in the order of the file, and the arrows between them."""

    def __init__(self, nodes: Iterable[NodeData], arrows: Iterable[Arrow]) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.arrows_from: dict[str, list[Arrow]] = {key: [] for key in self.nodes}
        self.arrows_to: dict[str, list[Arrow]] = {key: [] for key in self.nodes}
        for arrow in dict.fromkeys(arrows):
            if arrow.source in self.nodes and arrow.target in self.nodes:
                self.arrows_from[arrow.source].append(arrow)
                self.arrows_to[arrow.target].append(arrow)
        self.starts = [key for key, arrows in self.arrows_to.items() if not arrows]

    def parents(self, node: str) -> list[str]:
        """Ids of the nodes directly before this one."""
        return list(dict.fromkeys(arrow.source for arrow in self.arrows_to[node]))

    def after(self, node: str) -> set[str]:
        """The node itself and all that can be reached from it."""
        found, waiting = {node}, [node]
        while waiting:
            targets = {arrow.target for arrow in self.arrows_from[waiting.pop()]} - found
            found |= targets
            waiting += targets
        return found

    def circle(self) -> str | None:
        """A node that arrows lead back to, if there is one."""
        open_arrows = {key: len(arrows) for key, arrows in self.arrows_to.items()}
        free = list(self.starts)
        while free:
            for arrow in self.arrows_from[free.pop()]:
                open_arrows[arrow.target] -= 1
                if not open_arrows[arrow.target]:
                    free.append(arrow.target)
        return next((key for key, count in open_arrows.items() if count), None)


class Levels:
    """The levels of a flow: its own, and one inside of each iteration."""

    def __init__(self, levels: Mapping[str | None, Level]) -> None:
        """`levels` by the node that each lies in, None for the outermost one."""
        self._levels = levels
        self.top = levels[None]

    def level(self, way: Way) -> Level:
        """The level that the way leads through. Raises FlowError for an iteration that is not there."""
        try:
            return self._levels[way.item.node if way.item else None]
        except KeyError as error:
            raise FlowError(f"the flow has no node {error.args[0]!r}") from None

    def begun(self, iteration: str) -> Sequence[str]:
        """The nodes that an iteration begins with."""
        return self._levels[iteration].starts


class AgentGraph(Levels):
    """The levels of an agent flow. The outermost one has exactly one node that nothing leads to: the start."""

    def __init__(self, flow: FlowFile, catalog: Catalog) -> None:
        """Raises FlowError for a flow that cannot run, UnknownNodes naming the nodes that this server lacks."""
        self.nodes = nodes = nodes_of(flow)
        inside = {node.data.id: node.parentNode for node in flow.nodes}
        arrows = [Arrow(edge.source, _output(edge.sourceHandle), edge.target) for edge in flow.edges]
        levels = {
            parent: Level([node for node in nodes if inside[node.id] == parent], arrows)
            for parent in (None, *(node.id for node in nodes))
        }
        super().__init__(levels)
        self.start = _start(self.top)
        for level in levels.values():
            if circle := level.circle():
                raise FlowError(f"the flow goes in a circle through {circle!r}: use a Loop node to go back")
        check_known({part.name for node in nodes for part in parts_of(node)}, catalog)
        self.accepting = {node.id: accepting(node, catalog) for node in nodes}


def _output(handle: str | None) -> str:
    return (handle or "").rpartition("-output-")[2]


def _start(level: Level) -> NodeData:
    starts = [level.nodes[key] for key in level.starts]
    if len(starts) > 1:
        names = ", ".join(repr(node.id) for node in starts)
        raise FlowError(f"Multiple starting nodes are not allowed: connect or remove all but one of {names}")
    if not starts or starts[0].name != START:
        raise FlowError("the flow has no Start node that leads to the others: add one")
    return starts[0]
