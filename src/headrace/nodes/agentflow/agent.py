"""The agent node of agent flows: a model that uses tools and looks things up in its knowledge."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from headrace.documents.graph import Part, Parts, store_graph
from headrace.documents.library import document_library
from headrace.engine import chatflow
from headrace.engine.agent import Agent, attempts, described
from headrace.engine.agentflow.node import Task, message_json
from headrace.engine.annotations import Input, NodeInfo, options
from headrace.engine.catalog import Catalog
from headrace.engine.chat import ChatRequest, Delta, ModelMessage, OutputSchema, ToolCall
from headrace.engine.conversation import Conversation, Round, ToolUse
from headrace.engine.description import label, node_info
from headrace.engine.graph import check_known
from headrace.engine.inputs import fields_of, parsed
from headrace.engine.model_answer import ModelAnswer, arguments_object, arguments_of
from headrace.engine.ports import Tool
from headrace.engine.reply import Reply, tokens
from headrace.engine.tool_names import free_name
from headrace.engine.trace import sent
from headrace.events import Artifacts, CalledTools, Event, SourceDocuments, Token, UsedTool, UsedTools
from headrace.nodes.agentflow.forms import form
from headrace.nodes.agentflow.models import ModelNode, named
from headrace.nodes.agentflow.tools import built
from headrace.nodes.document_stores import DocumentStoreVS
from headrace.nodes.tools.retriever import RetrieverTool

_SPELT: Final = "Give this answer once more, in the form that is asked for:\n\n"


ProviderTools: TypeAlias = Annotated[
    Any,
    Input(
        type="multiOptions",
        refused="has tools of its model's provider, which cannot be used here yet: clear them, and give the agent "
        "other tools",
    ),
]
"""Tools that a provider runs itself."""


class SelectedTool(msgspec.Struct, frozen=True):
    """A tool that the agent may use: the name of its node type, and its inputs."""

    agentSelectedTool: Annotated[str, Input(label="Tool", loadMethod="listTools")] = ""
    agentSelectedToolConfig: Any = None
    agentSelectedToolRequiresHumanInput: Annotated[bool | Literal[""], Input(label="Ask a person first")] = False


class StoreKnowledge(msgspec.Struct, frozen=True):
    """A document store that the agent may look into. It is named `id:name`."""

    documentStore: Annotated[str, Input(loadMethod="listStores")] = ""
    docStoreDescription: str = ""
    returnSourceDocuments: bool | Literal[""] = False


class VectorKnowledge(msgspec.Struct, frozen=True):
    """A vector store that the agent may look into, with the embeddings that made its vectors."""

    vectorStore: Annotated[str, Input(loadMethod="listVectorStores")] = ""
    vectorStoreConfig: dict[str, Any] = {}
    embeddingModel: Annotated[str, Input(loadMethod="listEmbeddings")] = ""
    embeddingModelConfig: dict[str, Any] = {}
    knowledgeName: str = ""
    knowledgeDescription: str = ""
    returnSourceDocuments: bool | Literal[""] = False


class _Offer(msgspec.Struct, frozen=True):
    """A tool, the name of the node type that it is of, and whether sources are told even if it finds none."""

    tool: Tool
    node: str
    sources: bool = False
    asks: bool = False
    """A person is asked before it is used."""


class _Voice:
    """Tells of an agent's work, where the answer is told as it comes; of its calls in any case."""

    def __init__(self, reply: Callable[[], Reply], *, live: bool) -> None:
        self._reply, self._live = reply, live
        self.replies: list[Reply] = []

    def begin(self) -> None:
        """The model begins a turn."""
        self.replies.append(self._reply())

    def events(self, deltas: Sequence[Delta]) -> list[Event]:
        """The events of a batch."""
        events = self.replies[-1].take(deltas)
        return events if self._live else []

    def asked(self, turn: ModelAnswer) -> list[Event]:
        """The tools that are asked for."""
        silence: list[Event] = [Token("")] if self._live and not turn.text else []
        return [*silence, CalledTools([_called(call) for call in turn.calls])]


def _conversation_json(talk: Conversation, sourced: Collection[str]) -> list[dict[str, Any]]:
    """The conversation as executions show it."""
    lines = [message_json(message) for message in talk.opening]
    for one in talk.rounds:
        if one.message.calls:
            lines.append(_asked(one))
            lines += [_tool_json(use, sourced) for use in one.uses if use]
    return lines


def _tool_json(use: ToolUse, sourced: Collection[str]) -> dict[str, Any]:
    found, call = use.result.documents, use.call
    beside = {"sourceDocuments": msgspec.to_builtins(found)} if found or call.name in sourced else {}
    about = {"tool_call_id": call.id, "name": call.name, "additional_kwargs": beside}
    return {"role": "tool", "content": use.result.text, **about}


def _rests(uses: Sequence[ToolUse], sourced: Collection[str]) -> list[Event]:
    """Events after the answer: sources and artifacts of the tools that gave some."""
    used = [use.event for use in uses if use.event]
    documents = [document for use in uses for document in use.result.documents]
    artifacts = [artifact for use in uses for artifact in use.result.artifacts]
    rests: list[Event] = [UsedTools(used)] if used else []
    rests += [SourceDocuments(documents)] if documents or any(one.tool in sourced for one in used) else []
    return [*rests, Artifacts(artifacts)] if artifacts else rests


def _spent(talk: Conversation, earlier: int) -> int:
    """The tokens of its turns as Flowise counts them: those between the first and the last one twice.

    Where calls wait, the last one is yet to come. The `earlier` turns were counted before a person answered.
    """
    counts = talk.spent[earlier:]
    between = counts[1:] if talk.waiting else counts[1:-1]
    return sum(counts) + sum(between) if len(counts) > 1 or talk.waiting else 0


class _Agent(ModelNode, frozen=True, kw_only=True):
    tools: list[SelectedTool] = []
    knowledgeDocumentStores: Annotated[list[StoreKnowledge], Input(label="Knowledge (Document Stores)")] = []
    knowledgeVSEmbeddings: Annotated[list[VectorKnowledge], Input(label="Knowledge (Vector Embeddings)")] = []
    toolsBuiltInOpenAI: Annotated[
        ProviderTools,
        Input(
            label="OpenAI Built-in Tools",
            options=options("web_search_preview", "code_interpreter", "image_generation"),
            show={"model": "chatOpenAI"},
        ),
    ] = ""
    toolsBuiltInGemini: Annotated[
        ProviderTools,
        Input(
            label="Gemini Built-in Tools",
            options=options("urlContext", "googleSearch", "codeExecution"),
            show={"model": "chatGoogleGenerativeAI"},
        ),
    ] = ""
    toolsBuiltInAnthropic: Annotated[
        ProviderTools,
        Input(
            label="Anthropic Built-in Tools",
            options=options("web_search_20250305", "web_fetch_20250910"),
            show={"model": "chatAnthropic"},
        ),
    ] = ""

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """Answers like an LLM node, with its tools and its knowledge if it has any. Raises what they raise."""
        offers = [*await self._chosen(task), *await self._known(task)]
        async with aclosing(self._working(task, offers) if offers else super().run(task)) as batches:
            async for events in batches:
                yield events
        if usage := task.output.get("usageMetadata"):
            usage.setdefault("tool_call_tokens", 0)

    async def _chosen(self, task: Task) -> list[_Offer]:
        """Its tools; a node may be several, as those of an OpenAPI document are."""
        offers: list[_Offer] = []
        for one in self.tools:
            if name := one.agentSelectedTool:
                tools, asks = (
                    await built(task, name, one.agentSelectedToolConfig),
                    one.agentSelectedToolRequiresHumanInput,
                )
                offers += [_Offer(tool, name, asks=bool(asks)) for tool in tools]
        return offers

    async def _known(self, task: Task) -> list[_Offer]:
        """Its knowledge, each as a tool."""
        ctx = task.run.ctx
        known: dict[str, RetrieverTool] = {}

        def add(name: str, description: str, retriever: Any, sources: object) -> None:
            name = free_name(knowledge_name(name), known)
            about = description or "Looks up passages that bear on a text."
            known[name] = RetrieverTool(
                name=name, description=about, retriever=retriever, returnSourceDocuments=bool(sources)
            )

        for one in self.knowledgeDocumentStores:
            key, _, name = one.documentStore.partition(":")
            retriever = await DocumentStoreVS(selectedStore=key, output="retriever").build(ctx)
            add(name or key, one.docStoreDescription, retriever, one.returnSourceDocuments)
        for one in self.knowledgeVSEmbeddings:
            add(one.knowledgeName, one.knowledgeDescription, await _retriever(one, task), one.returnSourceDocuments)
        return [
            _Offer(await one.build(ctx), "retrieverTool", sources=one.returnSourceDocuments) for one in known.values()
        ]

    async def _working(self, task: Task, offers: Sequence[_Offer]) -> AsyncGenerator[Sequence[Event]]:
        """The answer, after the model has used what it wants; only the answer is told when nothing is live."""
        opening, sourced = self.opening(task), {offer.tool.spec.name for offer in offers if offer.sources}
        voice = _Voice(lambda: self.reply(task), live=self.is_live(task))
        if waited := task.talk:
            yield [CalledTools([_called(call) for call in waited.waiting])]
        talk, tools = await self._begun(task, opening), [offer.tool for offer in offers]
        if waited and not (task.answer and task.answer.proceeds):
            tools = []
        asking = {offer.tool.spec.name for offer in offers if offer.asks}
        agent = Agent(task.run.ctx, self.model, tools, facts=True, asking=asking)
        async with aclosing(agent.work(talk, voice)) as batches:
            async for events in batches:
                yield events
        if waiting := agent.talk.waiting:
            agent.talk = agent.talk.announced(attempts(waiting))
        async with aclosing(self._concluded(task, agent, voice, opening, sourced)) as batches:
            async for events in batches:
                yield events
        task.output["availableTools"] = [_described(offer, document_library(task.run.ctx).catalog) for offer in offers]
        if agent.talk.waiting:
            task.talk, task.output["isWaitingForHumanInput"] = agent.talk, True
            task.ask()

    async def _begun(self, task: Task, opening: list[ModelMessage]) -> Conversation:
        """The conversation as it begins, or as a person's answer lets it go on."""
        if task.talk is None:
            return Conversation(await self.conversation(task, opening))
        return task.talk if task.answer and task.answer.proceeds else task.talk.rejected

    async def _concluded(
        self, task: Task, agent: Agent, voice: _Voice, opening: list[ModelMessage], sourced: Collection[str]
    ) -> AsyncGenerator[Sequence[Event]]:
        """Leaves the answer behind, or what the agent waits for, and tells the rest of it."""
        talk, last = agent.talk, voice.replies[-1]
        self.show(task, _conversation_json(talk, sourced))
        if task.answer:
            given = {"startNodeId": task.node.id, **msgspec.to_builtins(task.answer)}
            task.input_record["humanInput"] = {key: value for key, value in given.items() if value is not None}
        text = agent.verdict or talk.rounds[-1].message.text
        if self.structuredOutput and not talk.waiting:
            last, text = await self._spelt(task, text), ""
        earlier = len(task.talk.rounds) - 1 if task.talk else 0
        uses = [use for one in talk.rounds[earlier:] for use in one.uses if use]
        content, rests = self.give(task, last, opening, text, plain=bool(talk.waiting)), _rests(uses, sourced)
        self._account(task, _spent(talk, earlier), voice, rests)
        if talk.waiting:
            task.output["calledTools"] = [described(call) for call in talk.waiting]
        if self.is_live(task):
            added = content if talk.waiting else agent.verdict
            yield [*([Token(added)] if added else []), *last.end(rests, [_called(call) for call in talk.waiting])]
            task.run.ctx.text = content  # words before a use of tools are no part of the answer
        elif task.is_last or talk.waiting:
            yield [Token(content), *rests]

    async def _spelt(self, task: Task, text: str) -> Reply:
        """The answer in the form that the flow wants: models do not write it while they may still call tools."""
        asked, reply = ModelMessage("user", f"{_SPELT}{text}"), self.reply(task)
        schema = OutputSchema("extract", form(self.structuredOutput))
        async with aclosing(self.model.stream(ChatRequest([asked], schema=schema, facts=True))) as batches:
            async for deltas in batches:
                reply.take(deltas)
        return reply

    def _account(self, task: Task, spent: int, voice: _Voice, rests: Sequence[Event]) -> None:
        """The tools' part of the execution, with the tokens that all turns have spent."""
        task.output["timeMetadata"] = voice.replies[0].times()["timeMetadata"]
        if usage := task.output.get("usageMetadata"):
            usage["tool_call_tokens"] = spent
            usage["total_tokens"] += spent
            if price := usage.get("base_output_cost"):
                usage["output_cost"] = (usage["output_tokens"] + spent) * price
                usage["total_cost"] = usage["input_cost"] + usage["output_cost"]
        task.keep(rests)
        if used := task.output.get("usedTools"):
            task.said[-1] = msgspec.structs.replace(task.said[-1], uses=used)


def _described(offer: _Offer, catalog: Catalog) -> dict[str, Any]:
    """A tool as executions show it."""
    kind = catalog.get(offer.node)
    spec, node = offer.tool.spec, {"label": node_info(kind).label if kind else label(offer.node), "name": offer.node}
    return {"name": spec.name, "description": spec.description, "schema": spec.parameters, "toolNode": node}


def _called(call: ToolCall) -> UsedTool:
    """A call before it is answered."""
    return UsedTool(call.name, arguments_object(arguments_of(call), {}), "")


def _asked(one: Round) -> dict[str, Any]:
    """A turn with calls as executions show it."""
    calls = one.message.calls
    return {
        "role": "assistant",
        "content": one.message.text,
        "tool_calls": [described(call) for call in calls],
        "additional_kwargs": {"tool_calls": sent(calls)},
        **({"usage_metadata": tokens(one.usage, one.facts.facts)} if one.usage else {}),
        "id": one.facts.id,
    }


async def _retriever(knowledge: VectorKnowledge, task: Task) -> object:
    """The store's retriever; its filter may name the run's values, as every input that accepts variables."""
    ctx = task.run.ctx
    catalog = document_library(ctx).catalog
    check_known([knowledge.vectorStore], catalog)
    fields = fields_of(catalog[knowledge.vectorStore])
    inputs = {
        name: task.resolve(parsed(value, field)) if (field := fields.get(name)) and field.accepts_variables else value
        for name, value in knowledge.vectorStoreConfig.items()
    }
    embeddings = Part(knowledge.embeddingModel, knowledge.embeddingModelConfig) if knowledge.embeddingModel else None
    graph = store_graph(Parts(Part(knowledge.vectorStore, inputs), embeddings), catalog)
    return await chatflow.built(graph, catalog, ctx)


def knowledge_name(name: str) -> str:
    """The name of the tool that looks into a store, as Flowise makes it of the store's name."""
    return re.sub(r"[^a-z0-9_-]", "", name.lower().replace(" ", "_"))[:64] or "knowledge"


NODES: Final = (
    named(
        _Agent,
        "agentAgentflow",
        "agent",
        "Asks a chat model, which may use tools and look things up in its knowledge.",
        NodeInfo(version=3.2),
    ),
)
