"""Makes an agent flow from a sentence: a model plans it, and nothing is given back that could not run here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.engine.agentflow.graph import START
from headrace.engine.catalog import Catalog
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.complaints import complaint
from headrace.engine.coverage import coverage
from headrace.engine.description import AGENT_FLOWS, Description, described
from headrace.engine.inputs import fields_of, provides, read
from headrace.engine.json_extraction import extract_object
from headrace.engine.model_events import answer_text
from headrace.engine.node import Context
from headrace.engine.ports import ChatModel
from headrace.errors import FlowError, InvalidRequest
from headrace.schema import FlowFile

_TRIES: Final = 3
_MOST_NODES: Final = 60
_LEFT_OUT: Final = ("endAgentflow",)  # only read from older exports
_WIDTH: Final = 300
_HEIGHT: Final = 140
_PROMPT: Final = (
    "You design flows of steps. The user's message says what the flow is for. Reply with one JSON object:\n"
    '{"nodes": [{"id": "a", "name": "<node type>", "label": "<a few words>", "inputs": {"<input>": <value>}, '
    '"inside": "<id of the iteration around it, if any>"}], '
    '"edges": [{"source": "a", "output": "0", "target": "b"}]}\n'
    f"There is exactly one {START}, and nothing leads to it. Every other node is reached from it; the only way back is "
    "a loop node. An edge's `output` is needed only behind nodes that choose: the number of the condition or "
    "scenario, counted from 0; a condition has one more output for what fits none; of a human input 0 is proceed and 1 "
    "is reject. Leave out the inputs that name models: they are set afterwards. A text may hold references: "
    "{{ question }}, {{ $form.<field> }}, {{ $flow.state.<key> }} and {{ <id> }} for what a node has said.\n\n"
    "Node types and their inputs:\n{types}\n\n"
    'Tools for agents (agentTools: [{"agentSelectedTool": "<tool>"}]): {tools}'
)  # fmt: skip


class ChosenModel(msgspec.Struct):
    """The model that plans the flow, and that its nodes then use: the name of a node type, and its inputs."""

    name: str
    inputs: dict[str, Any] = {}
    credential: str = ""


class _PlannedNode(msgspec.Struct):
    id: str
    name: str
    label: str = ""
    inputs: dict[str, Any] = {}
    inside: str | None = None


class _PlannedEdge(msgspec.Struct):
    source: str
    target: str
    output: str | int | None = None


class _Sketch(msgspec.Struct):
    nodes: list[_PlannedNode]
    edges: list[_PlannedEdge] = []


class GeneratedFlow(msgspec.Struct):
    """A flow as builders draw it."""

    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]


async def generated(sentence: str, chosen: ChosenModel, catalog: Catalog, ctx: Context) -> GeneratedFlow:
    """The flow. The model is told what is wrong with a plan, twice at most. Raises InvalidRequest and FlowError."""
    model = await _model(chosen, catalog, ctx)
    messages = [ModelMessage("system", _instructions(catalog)), ModelMessage("user", sentence)]
    wrong = ""
    for _ in range(_TRIES):
        text = await answer_text(model, ChatRequest(messages), ctx)
        try:
            flow = _drawn(_sketch(text), chosen, catalog)
            _check(flow, catalog)
            return flow
        except FlowError as error:
            wrong = str(error)
        messages += [ModelMessage("assistant", text), ModelMessage("user", f"This cannot run: {wrong}. Mend it.")]
    raise FlowError(f"the model planned no flow that can run here: {wrong}")


async def _model(chosen: ChosenModel, catalog: Catalog, ctx: Context) -> Any:
    kind = catalog.get(chosen.name)
    if kind is not None:
        values = {key: value for key, value in chosen.inputs.items() if key in fields_of(kind)}
        credential = chosen.credential or str(chosen.inputs.get("FLOWISE_CREDENTIAL_ID") or "")
        values["credential"] = await ctx.credential(credential)
        model = await read(kind, values, chosen.name).build(ctx)
        if provides(type(model), ChatModel):
            return model
    raise InvalidRequest(f"{chosen.name!r} at $.selectedChatModel.name is no chat model of this server")


def _types(catalog: Catalog) -> Iterator[Description]:
    every = (described(kind) for name, kind in sorted(catalog.items()) if name not in _LEFT_OUT)
    return (one for one in every if one.category == AGENT_FLOWS)


def _instructions(catalog: Catalog) -> str:
    lines: list[str] = []
    for one in _types(catalog):
        inputs = [{"name": i.name, "type": i.type, **_shape(i)} for i in one.inputs if i.loadMethod != "listModels"]
        lines.append(f"{one.name}: {one.description} {msgspec.json.encode(inputs).decode()}")
    tools = [name for name, kind in sorted(catalog.items()) if described(kind).category == "Tools"]
    return _PROMPT.replace("{types}", "\n".join(lines)).replace("{tools}", ", ".join(tools))


def _shape(one: Any) -> dict[str, Any]:
    choices = {"options": [option.name for option in one.options]} if one.options else {}
    return {**choices, **({"items": [item.name for item in one.array]} if one.array else {})}


def _sketch(text: str) -> _Sketch:
    """The plan. Raises FlowError for an answer that is none."""
    try:
        found = msgspec.convert(extract_object(text), _Sketch)
    except msgspec.ValidationError as error:
        raise FlowError(f"the plan is malformed: {complaint(error)}") from None
    except ValueError as error:
        raise FlowError(f"the plan is no JSON object: {error}") from None
    if len(found.nodes) > _MOST_NODES:
        raise FlowError(f"the plan has {len(found.nodes)} nodes, and may have {_MOST_NODES}")
    return found


def _drawn(sketch: _Sketch, chosen: ChosenModel, catalog: Catalog) -> GeneratedFlow:
    """The plan as a builder's nodes and edges. Raises FlowError for what is not there."""
    types = {one.name: one for one in _types(catalog)}
    if unknown := sorted({node.name for node in sketch.nodes} - types.keys()):
        raise FlowError(f"there are no node types {', '.join(map(repr, unknown))}: use {', '.join(types)}")
    count: Counter[str] = Counter()
    ids: dict[str, str] = {}
    for node in sketch.nodes:
        if node.id in ids:
            raise FlowError(f"two nodes have the id {node.id!r}")
        ids[node.id] = f"{node.name}_{count[node.name]}"
        count[node.name] += 1
    named = [edge.source for edge in sketch.edges] + [edge.target for edge in sketch.edges]
    if lost := sorted({*named, *(node.inside for node in sketch.nodes if node.inside)} - ids.keys()):
        raise FlowError(f"there are no nodes {', '.join(map(repr, lost))}, which the plan names")
    columns = _columns(sketch)
    rows: Counter[int] = Counter()
    nodes: list[dict[str, Any]] = []
    for node in sketch.nodes:
        says, column = types[node.name], columns[node.id]
        place = {"x": column * _WIDTH, "y": rows[column] * _HEIGHT}
        rows[column] += 1
        nodes.append(_node(node, says, ids, chosen) | {"position": place, "positionAbsolute": place})
    return GeneratedFlow(nodes, [_edge(edge, ids, types) for edge in sketch.edges])


def _node(node: _PlannedNode, says: Description, ids: Mapping[str, str], chosen: ChosenModel) -> dict[str, Any]:
    key, inputs = ids[node.id], {one.name: one.default for one in says.inputs if one.default is not None}
    inputs |= _renamed(node.inputs, ids)
    for one in says.inputs:
        if one.loadMethod == "listModels":
            credential = {"FLOWISE_CREDENTIAL_ID": chosen.credential} if chosen.credential else {}
            inputs[one.name] = chosen.name
            inputs[f"{one.name}Config"] = {**chosen.inputs, **credential, one.name: chosen.name}
    if target := inputs.get("loopBackToNode"):
        inputs["loopBackToNode"] = ids.get(str(target), str(target))
    description = msgspec.to_builtins(says)
    data = {**description, "id": key, "label": node.label or says.label, "inputs": inputs}
    data |= {"inputParams": description["inputs"], "outputs": {}}
    kind = "iteration" if node.name == "iterationAgentflow" else "agentFlow"
    inside = {"parentNode": ids[node.inside], "extent": "parent"} if node.inside else {}
    return {"id": key, "type": kind, "data": data, **inside}


def _renamed(value: Any, ids: Mapping[str, str]) -> Any:
    """An input whose references name the plan's nodes, with the flow's own ids in them."""
    if isinstance(value, str):
        for old, new in ids.items():
            for after in (" ", "}", "."):
                value = value.replace(f"{{{{ {old}{after}", f"{{{{ {new}{after}").replace(
                    f"{{{{{old}{after}", f"{{{{{new}{after}"
                )
        return value
    if isinstance(value, list):
        return [_renamed(item, ids) for item in value]
    return {key: _renamed(item, ids) for key, item in value.items()} if isinstance(value, dict) else value


def _edge(edge: _PlannedEdge, ids: Mapping[str, str], types: Mapping[str, Description]) -> dict[str, Any]:
    source, target = ids[edge.source], ids[edge.target]
    name = source.rpartition("_")[0]
    handle = f"{source}-output-{name if edge.output in (None, '') else edge.output}"
    colors = {"sourceColor": types[name].color, "targetColor": types[target.rpartition("_")[0]].color}
    return {
        "id": f"{source}-{handle}-{target}-{target}",
        "source": source,
        "sourceHandle": handle,
        "target": target,
        "targetHandle": target,
        "type": "agentFlow",
        "data": {**colors, "edgeLabel": "" if edge.output is None else str(edge.output), "isHumanInput": False},
    }


def _columns(sketch: _Sketch) -> Mapping[str, int]:
    """How far right each node is drawn: beside what leads to it. Circles are cut off; the check names them."""
    columns = {node.id: 0 for node in sketch.nodes}
    for _ in sketch.nodes:
        for edge in sketch.edges:
            columns[edge.target] = max(columns[edge.target], min(columns[edge.source] + 1, len(columns)))
    return columns


def _check(flow: GeneratedFlow, catalog: Catalog) -> None:
    """Raises FlowError that names what keeps the flow from running here."""
    report = coverage(msgspec.convert(msgspec.to_builtins(flow), FlowFile), catalog, kind="AGENTFLOW")
    wrong: Sequence[str] = [one.message for one in report.findings if one.stops and one.kind != "credential"]
    if wrong:
        raise FlowError("; ".join(wrong[:5]))
