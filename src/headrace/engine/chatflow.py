"""Runs a chatflow: builds what its ending node needs, then lets that node answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.engine.catalog import Catalog
from headrace.engine.chat import ImagePart, ModelMessage, Part, TextPart, ToolCall
from headrace.engine.graph import Graph
from headrace.engine.inputs import check_asked, fields_of, input_values, parsed, read, unset, where
from headrace.engine.node import Choice, Context, Node, NothingGiven, Sink, Source, Step
from headrace.engine.overrides import OverrideRules, Overrides
from headrace.engine.ports import Upserted, UpsertProgress
from headrace.engine.references import Scope, node_ids, text_of
from headrace.errors import FlowError
from headrace.events import Event
from headrace.schema import FlowFile, MemoryMessage, NodeData, PredictionRequest

_MOST_TOOLS: Final = 100  # of one remembered turn
_LONGEST_RESULT: Final = 20_000  # characters of a remembered result
_SPEAKERS = {"user": "Human", "assistant": "Assistant"}


def remembered(turns: Sequence[MemoryMessage]) -> list[ModelMessage]:
    """Stored messages as a model sees them."""
    return [
        ModelMessage("assistant" if turn.role == "apiMessage" else "user", _content(turn), uses=turn.tools)
        for turn in turns
    ]


def exchanged(turns: Sequence[MemoryMessage]) -> list[ModelMessage]:
    """The same, each answer behind the calls of tools that led to it."""
    return [message for number, turn in enumerate(turns) for message in (*_uses(turn, number), *remembered([turn]))]


def _uses(turn: MemoryMessage, number: int) -> list[ModelMessage]:
    """The calls that a turn made, as if in one go, and their results."""
    if not (tools := turn.tools[:_MOST_TOOLS]):
        return []
    # Nine letters and digits, the one form of ids that every provider takes.
    calls = [_call(used, f"t{number % 100_000:05}{index:03}") for index, used in enumerate(tools)]
    results = [_cut(text_of(used.get("error") or used.get("toolOutput", ""))) for used in tools]
    answers = [ModelMessage("tool", text, answers=call) for text, call in zip(results, calls, strict=True)]
    return [ModelMessage("assistant", "", calls), *answers]


def _call(used: Mapping[str, Any], name: str) -> ToolCall:
    input_values: Any = used.get("toolInput")
    arguments = input_values if isinstance(input_values, dict) else {"input": input_values}
    return ToolCall(name, str(used.get("tool")), msgspec.json.encode(arguments).decode())


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_RESULT else f"{text[:_LONGEST_RESULT]}\n[cut here]"


def _content(turn: MemoryMessage) -> str | list[Part]:
    shown = (upload for upload in turn.uploads if upload.mime.startswith("image/") and upload.data)
    pictures: list[Part] = [ImagePart(upload.data or "") for upload in shown]
    return [TextPart(turn.content), *pictures] if pictures else turn.content


def transcript(turns: Sequence[ModelMessage]) -> str:
    """The conversation as text, a line for each turn."""
    return "\n".join(f"{_SPEAKERS.get(turn.role, turn.role)}: {turn.text}" for turn in turns)


class Chatflow:
    """A chatflow, ready to run."""

    def __init__(self, flow: FlowFile, catalog: Catalog) -> None:
        """Raises FlowError for a flow that cannot run, and UnknownNodes."""
        self._graph, self._catalog = Graph(flow, catalog), catalog
        self.memory = self._graph.memory

    def check(self, request: PredictionRequest) -> None:
        """A chatflow can be asked anything."""

    async def run(self, ctx: Context, overrides: Overrides) -> AsyncGenerator[Sequence[Event]]:
        """Starts the answer: its events in batches, without the terminal ones. Raises what nodes raise."""
        check_asked(self._graph.order, self._catalog, overrides)
        step = await _last(self._graph, self._catalog, ctx, overrides, searching=True)
        if not isinstance(step, Step):
            raise FlowError("the last node cannot end a flow: connect it to a chain or an agent")
        return await step.run(ctx)


async def upsert(
    graph: Graph, catalog: Catalog, ctx: Context, overrides: Overrides, progress: UpsertProgress
) -> Upserted:
    """Upserts the documents of the vector store that the graph ends with. Raises FlowError and what nodes raise."""
    check_asked(graph.order, catalog, overrides)
    return await (await keeping(graph, catalog, ctx, overrides)).upsert(ctx, progress)


async def keeping(graph: Graph, catalog: Catalog, ctx: Context, overrides: Overrides) -> Sink:
    """The vector store node that the graph ends with. Raises FlowError and what nodes raise."""
    node = await _last(graph, catalog, ctx, overrides)
    if not isinstance(node, Sink):
        raise FlowError(f"nothing can be upserted into {graph.ending.id!r}")
    return node


async def built(graph: Graph, catalog: Catalog, ctx: Context) -> object:
    """The value of the graph's last node. Raises FlowError and the nodes' own errors."""
    return await (await _last(graph, catalog, ctx, Overrides(OverrideRules(), None))).build(ctx)


async def _last(graph: Graph, catalog: Catalog, ctx: Context, overrides: Overrides, *, searching: bool = False) -> Node:
    return await last_record(graph, catalog, ctx, overrides, await _scope(graph, ctx), searching=searching)


async def last_record(
    graph: Graph, catalog: Catalog, ctx: Context, overrides: Overrides, scope: Scope, *, searching: bool = False
) -> Node:
    """The graph's last node, with everything before it built; nodes that choose say which one that is.

    What the scope has built already is not built again. For a run that is `searching`, loaders may lack inputs: what
    was upserted is there without them.
    """
    passed: set[str] = set()

    async def build(nodes: Sequence[NodeData]) -> None:
        for node in nodes:
            if node.id not in scope.built and node.id not in passed:
                built: object = _lacking(node, catalog, overrides) if searching else None
                built = built or await _built(node, graph, catalog, scope, overrides, ctx)
                if isinstance(built, Choice):
                    passed.update(graph.passed_over(node.id, built.output))
                    built = built.value
                scope.built[node.id] = built

    for chooser in graph.choosers:
        if chooser.id not in passed:
            await build(graph.needed[chooser.id])
    if not (left := [node for node in graph.endings if node.id not in passed]):
        raise FlowError("what was chosen leads to no chain or agent: connect one to each output of the If Else nodes")
    await build(graph.needed[left[-1].id][:-1])
    return await _record(left[-1], graph, catalog, scope, overrides, ctx)


async def _scope(graph: Graph, ctx: Context) -> Scope:
    turns: list[ModelMessage] = []
    if graph.reads_history:
        remembers = any(node_ids(node.inputs.get("memory")) for node in graph.endings)
        stored = await ctx.history() if remembers else ()
        turns = [*ctx.prior, *remembered(stored)]
    texts = {
        "question": ctx.question,
        "file_attachment": ctx.attached,
        "chat_history": transcript(turns),
    }
    return Scope(texts, flow_values(ctx, turns), ctx.variables)


def flow_values(ctx: Context, turns: Sequence[ModelMessage]) -> Mapping[str, Any]:
    """The values of `{{$flow.…}}`."""
    return {
        "chatflowid": ctx.flow,
        "chatflowId": ctx.flow,
        "chatId": ctx.chat,
        "sessionId": ctx.session,
        "apiMessageId": ctx.message,
        "chatHistory": said(turns),
    }


def said(turns: Sequence[ModelMessage]) -> list[dict[str, str]]:
    """Turns as scripts and references of a flow read them."""
    return [
        {"message": turn.text, "type": "apiMessage" if turn.role == "assistant" else "userMessage"} for turn in turns
    ]


def _lacking(node: NodeData, catalog: Catalog, overrides: Overrides) -> NothingGiven | None:
    """The stand-in for a loader without an input that it needs; not where its text is wanted at once."""
    kind = catalog[node.name]
    if not issubclass(kind, Source) or (node.outputs or {}).get("output") == "text":
        return None
    lacks = unset(kind, input_values(node, kind, overrides).inputs)
    return NothingGiven(where(node), f"its input {lacks[0]!r} is not set") if lacks else None


async def _built(
    node: NodeData, graph: Graph, catalog: Catalog, scope: Scope, overrides: Overrides, ctx: Context
) -> object:
    """The node's value. Raises the node's errors; a missing credential is named."""
    record = await _record(node, graph, catalog, scope, overrides, ctx)
    try:
        return await record.build(ctx)
    except FlowError as error:
        if type(error) is FlowError and node.credential and not await ctx.credential(node.credential):
            lost = f"the credential {node.credential!r} of {where(node)} does not exist here"
            raise FlowError(f"{error}; {lost}") from None
        raise


async def _record(
    node: NodeData, graph: Graph, catalog: Catalog, scope: Scope, overrides: Overrides, ctx: Context
) -> Node:
    kind = catalog[node.name]
    fields, accepting = fields_of(kind), graph.accepting[node.id]
    inputs, asked = input_values(node, kind, overrides)
    values: dict[str, Any] = {
        name: scope.resolve(
            parsed(inputs[name], field), accepts_variables=name in accepting, into_template=field.is_template
        )
        for name, field in fields.items()
        if name in inputs
    }
    if node.credential:
        values["credential"] = await ctx.credential(node.credential)
    if output := (node.outputs or {}).get("output"):
        values["output"] = output
    if issubclass(kind, Sink):
        values["node"] = node.id
    if issubclass(kind, Source):
        values["node"] = where(node)
    return read(kind, values, where(node), asked)
