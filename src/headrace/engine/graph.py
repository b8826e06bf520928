"""A flow read once: what runs, in which order, what this server lacks for it, and whether it streams."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from headrace.engine.catalog import Catalog
from headrace.engine.description import node_info
from headrace.engine.inputs import fields_of
from headrace.engine.node import Chooser, Sink
from headrace.engine.overrides import read_json
from headrace.engine.references import node_ids
from headrace.errors import FlowError, InvalidRequest, UnknownNodes
from headrace.schema import FlowEdge, FlowFile, NodeData

_ENDINGS = ("Chains", "Agents", "Engine", "Multi Agents", "Sequential Agents")
_NOTES = ("stickyNote", "stickyNoteAgentflow")
_QUESTION = re.compile(r"\{\{\s*(question|file_attachment)\s*\}\}|\$(flow\.)?input\b")


def nodes_of(flow: FlowFile) -> list[NodeData]:
    """The flow's nodes without notes."""
    return [node.data for node in flow.nodes if node.type != "stickyNote" and node.data.name not in _NOTES]


def endings(flow: FlowFile) -> list[NodeData]:
    """The nodes that a chatflow ends with: those of its last nodes that can end it. Raises FlowError without one.

    In a file without arrows, as scripts write them, the references between nodes say what comes before what.
    """
    nodes = nodes_of(flow)
    here = {node.id for node in nodes}
    drawn = [(edge.source, edge.target) for edge in flow.edges if edge.source in here and edge.target in here]
    named = [(other, node.id) for node in nodes for other in node_ids(node.inputs) & here]
    last: list[NodeData] = []
    for arrows in (drawn, [*drawn, *named]):
        sources, targets = {source for source, _ in arrows}, {target for _, target in arrows}
        found = [n for n in nodes if n.id not in sources and (n.id in targets or len(nodes) == 1)]
        if fit := [node for node in found if not _unfit(node)]:
            return fit
        last = last or found
    if not last:
        raise FlowError("the flow has no ending node: connect a chain or an agent to what comes before it")
    raise FlowError(_unfit(last[0]))


def _unfit(node: NodeData) -> str:
    """The reason why a flow cannot end with this node; "" when it can."""
    if _is_ending_function(node):
        return ""
    if node.category not in _ENDINGS:
        return f"{node.id!r} cannot end a flow: only a chain, an agent or an engine can"
    output = (node.outputs or {}).get("output") or node.name
    return "" if output == node.name else f"{node.id!r} ends the flow, so its output must be {node.name!r}"


def _is_ending_function(node: NodeData) -> bool:
    return (node.outputs or {}).get("output") == "EndingNode"


def sink(flow: FlowFile, catalog: Catalog, wanted: str | None = None) -> NodeData:
    """The node that an upsert is into: the one of this id, or the only one. Raises InvalidRequest."""
    found = {n.id: n for n in nodes_of(flow) if n.category == "Vector Stores" or _is_sink(n, catalog)}
    if wanted and wanted not in found:
        raise InvalidRequest(f"the flow has no vector store {wanted!r} at $.stopNodeId: {_choice(found)}")
    if len(found) != 1 and not wanted:
        raise InvalidRequest(f"say into which vector store at $.stopNodeId: {_choice(found)}")
    node = found[wanted or next(iter(found))]
    if node.name in catalog and not _is_sink(node, catalog):
        raise InvalidRequest(f"nothing can be upserted into {node.id!r}: it only shows what is stored already")
    return node


def _is_sink(node: NodeData, catalog: Catalog) -> bool:
    return node.name in catalog and issubclass(catalog[node.name], Sink)


def _choice(ids: Iterable[str]) -> str:
    names = ", ".join(map(repr, ids))
    return f"it has {names}" if names else "it has none, so add one and connect documents to it"


class Graph:
    """The part of a chatflow that runs: its ending node and everything before it, dependencies first.

    A flow with choosers may have several endings: what they choose says which one is reached.
    """

    def __init__(self, flow: FlowFile, catalog: Catalog, last: NodeData | None = None) -> None:
        """Up to the node `last`, or else to the flow's own endings.

        Raises FlowError for a flow that cannot run, UnknownNodes naming the nodes that this server lacks.
        """
        nodes = {node.id: node for node in nodes_of(flow)}
        self.endings = [last] if last else _reachable(flow, catalog)
        self.ending = self.endings[-1]
        unread = {key: _unread(node, catalog) for key, node in nodes.items() if node not in self.endings}
        nodes = {key: _without(node, unread.get(key, {})) for key, node in nodes.items()}
        needs = _sources(flow, nodes, unread)
        self.needed = {node.id: _ordered(node, nodes, needs) for node in self.endings}
        """For an ending or a chooser: itself and everything before it."""
        self.order = list({node.id: node for order in self.needed.values() for node in order}.values())
        check_known({node.name for node in self.order}, catalog)
        self.choosers = [node for node in self.order if issubclass(catalog[node.name], Chooser)]
        self.needed |= {node.id: _ordered(node, nodes, needs) for node in self.choosers}
        self.memory = _memory(flow, nodes)
        self.reads_history = any("{{chat_history}}" in t or "$flow.chatHistory" in t for t in _texts(self.order))
        self.accepting = {node.id: accepting(node, catalog) for node in self.order}
        self._edges = flow.edges

    def passed_over(self, chooser: str, output: str) -> set[str]:
        """Ids of the nodes that do not run when a chooser takes this output."""
        mine = [edge for edge in self._edges if edge.source == chooser]
        taken = {edge.target for edge in mine if _output(edge) == output}
        return self._behind({edge.target for edge in mine} - taken) - self._behind(taken)

    def _behind(self, ids: set[str]) -> set[str]:
        """The nodes, and all that arrows lead to from them."""
        found: set[str] = set()
        while ids:
            found |= ids
            ids = {edge.target for edge in self._edges if edge.source in ids} - found
        return found


def _output(edge: FlowEdge) -> str:
    """The name of the output that an arrow begins at."""
    return (edge.sourceHandle or "").rpartition("-output-")[2].partition("-")[0]


def _reachable(flow: FlowFile, catalog: Catalog) -> list[NodeData]:
    """The endings that a run may reach: the last one, or all of them where a node chooses."""
    found = endings(flow)
    chooses = any(node.name in catalog and issubclass(catalog[node.name], Chooser) for node in nodes_of(flow))
    return found if chooses else found[-1:]


def check_known(names: Iterable[str], catalog: Catalog) -> None:
    """Raises UnknownNodes that names the node types that this server lacks."""
    if missing := sorted({name for name in names if name not in catalog}):
        raise UnknownNodes(
            f"this server has no node {', '.join(map(repr, missing))}, which the flow needs: "
            "replace it in the builder, or install a package that brings it"
        )


def _unread(node: NodeData, catalog: Catalog) -> dict[str, Any]:
    """The node's inputs that only an upsert reads."""
    names = catalog[node.name].upserted if node.name in catalog else ()
    return {name: value for name, value in node.inputs.items() if name in names}


def _without(node: NodeData, inputs: Mapping[str, Any]) -> NodeData:
    if not inputs:
        return node
    return msgspec.structs.replace(node, inputs={k: v for k, v in node.inputs.items() if k not in inputs})


def _sources(
    flow: FlowFile, nodes: Mapping[str, NodeData], unread: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[str]]:
    """For each node the ids of the nodes it needs: those its inputs refer to, and those with an arrow to it."""
    needed: dict[str, dict[str, None]] = {key: {} for key in nodes}
    passed_over = {key: node_ids(dict(inputs)) for key, inputs in unread.items() if inputs}
    for edge in flow.edges:
        if edge.source in nodes and edge.target in nodes and edge.source not in passed_over.get(edge.target, ()):
            needed[edge.target][edge.source] = None
    for key, node in nodes.items():
        for other in sorted(node_ids(node.inputs) & nodes.keys()):
            needed[key][other] = None
    return {key: list(others) for key, others in needed.items()}


def _ordered(ending: NodeData, nodes: Mapping[str, NodeData], needs: Mapping[str, list[str]]) -> list[NodeData]:
    """The ending node and what it needs, dependencies first; iterative, since a flow may be a long line."""
    order: dict[str, NodeData] = {}
    path: dict[str, None] = {}
    stack = [(ending.id, False)]
    while stack:
        key, ready = stack.pop()
        if ready:
            path.pop(key)
            order[key] = nodes[key]
        elif key in path:
            raise FlowError(f"the flow goes in a circle through {key!r}")
        elif key not in order:
            path[key] = None
            stack.append((key, True))
            stack.extend((other, False) for other in reversed(needs[key]) if other not in order)
    return list(order.values())


def _memory(flow: FlowFile, nodes: Mapping[str, NodeData]) -> NodeData | None:
    """The memory node that something is connected to: its label is the `memoryType` of answers."""
    sources = (nodes.get(edge.source) for edge in flow.edges)
    return next((node for node in sources if node and node.category == "Memory"), None)


def takes_images(node: NodeData, inputs: Mapping[str, Any]) -> bool:
    """True for a chat model that takes pictures with these inputs, and for a node that holds one."""
    models = [inputs] if node.category == "Chat Models" else _models_inside(inputs)
    return any(model.get("allowImageUploads") in (True, "true") for model in models)


def reads_question(node: NodeData, catalog: Catalog) -> bool:
    """True when the node looks at the question, with the texts of attached files in front of it.

    Some do only where they ask a model or name it, as their types say; any other one may.
    """
    if node.name not in catalog or not node_info(catalog[node.name]).names_question:
        return node.name not in _NOTES
    return bool(_models_inside(node.inputs)) or any(_QUESTION.search(text) for text in _texts([node]))


def _models_inside(inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The inputs of the models that a node of an agent flow asks."""
    values = [read_json(value) for name, value in inputs.items() if name.endswith("ModelConfig")]
    return [value for value in values if isinstance(value, Mapping)]


def accepting(node: NodeData, catalog: Catalog) -> frozenset[str]:
    """Inputs in which `{{question}}` and the like are replaced: as the flow file says, or else the node type."""
    if node.inputParams:
        return frozenset(p["name"] for p in node.inputParams if p.get("acceptVariable") and "name" in p)
    return frozenset(name for name, field in fields_of(catalog[node.name]).items() if field.accepts_variables)


def _texts(nodes: Iterable[NodeData]) -> Iterable[str]:
    def inside(value: Any) -> Iterable[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            for item in value.values() if isinstance(value, dict) else value:
                yield from inside(item)

    for node in nodes:
        yield from inside(node.inputs)


def streams(flow: FlowFile, kind: str, catalog: Catalog, *, post_processing: bool = False) -> bool:
    """True when a prediction of this flow can be streamed. `kind` is the flow's type ("CHATFLOW", "AGENTFLOW", …).

    Raises FlowError for a chatflow without a valid ending.
    """
    if post_processing:
        return False
    nodes = nodes_of(flow)
    if kind == "AGENTFLOW" or any(node.category in ("Multi Agents", "Sequential Agents") for node in nodes):
        return True
    last = endings(flow)
    if any(_is_ending_function(node) for node in last):
        return False
    if last[-1].name not in catalog:
        return True  # as the builder has it of most; it is refused before it would
    parsers = any("Output Parser" in node.category for node in nodes)
    return _may_stream(last[-1], catalog) and _models_stream(nodes, catalog) and not parsers


def _may_stream(node: NodeData, catalog: Catalog) -> bool:
    """False when its type says that it does not stream by itself; a type that is not here may."""
    return node.name not in catalog or node_info(catalog[node.name]).streams is not False


def _models_stream(nodes: Iterable[NodeData], catalog: Catalog) -> bool:
    models = [node for node in nodes if node.category in ("Chat Models", "LLMs")]
    flags = [_streaming_flag(node, catalog) for node in models]
    return any(flag is True for flag in flags) and not any(flag is False for flag in flags)


def _streaming_flag(node: NodeData, catalog: Catalog) -> bool | None:
    """The input `streaming`, which older nodes do not have; None for a value that is neither."""
    if "streaming" not in node.inputs:
        return _may_stream(node, catalog)
    return {True: True, "true": True, False: False, "false": False}.get(node.inputs["streaming"])
