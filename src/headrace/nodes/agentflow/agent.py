"""The agent node of agent flows: a model that uses tools and looks things up in its knowledge."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal

import msgspec

from headrace.documents.graph import Part, Parts, store_graph
from headrace.documents.library import document_library
from headrace.engine import chatflow
from headrace.engine.agent import MAX_ITERATIONS, STOPPED, Agent, Use
from headrace.engine.agentflow.node import Task, shown
from headrace.engine.chat import ChatRequest, ModelMessage, OutputSchema
from headrace.engine.graph import check_known
from headrace.engine.inputs import fields_of, parsed
from headrace.engine.labels import label
from headrace.engine.ports import Tool
from headrace.engine.reply import Reply, tokens
from headrace.engine.tool_names import free_name
from headrace.engine.trace import sent
from headrace.engine.turn import Turn, as_object, given
from headrace.errors import FlowError
from headrace.events import Artifacts, CalledTools, Event, SourceDocuments, Token, UsedTool, UsedTools
from headrace.nodes.agentflow.forms import form
from headrace.nodes.agentflow.models import ModelNode, named
from headrace.nodes.agentflow.tools import built
from headrace.nodes.document_stores import DocumentStoreVS
from headrace.nodes.tools.retriever import RetrieverTool

_SPELT: Final = "Give this answer once more, in the form that is asked for:\n\n"


class SelectedTool(msgspec.Struct, frozen=True):
    """A tool that the agent may use: the name of its node type, and its inputs."""

    agentSelectedTool: str = ""
    agentSelectedToolConfig: Any = None
    agentSelectedToolRequiresHumanInput: bool | Literal[""] = False


class StoreKnowledge(msgspec.Struct, frozen=True):
    """A document store that the agent may look into. It is named `id:name`."""

    documentStore: str = ""
    docStoreDescription: str = ""
    returnSourceDocuments: bool | Literal[""] = False


class VectorKnowledge(msgspec.Struct, frozen=True):
    """A vector store that the agent may look into, with the embeddings that made its vectors."""

    vectorStore: str = ""
    vectorStoreConfig: dict[str, Any] = {}
    embeddingModel: str = ""
    embeddingModelConfig: dict[str, Any] = {}
    knowledgeName: str = ""
    knowledgeDescription: str = ""
    returnSourceDocuments: bool | Literal[""] = False


class _Offer(msgspec.Struct, frozen=True):
    """A tool, the name of the node type that it is of, and whether sources are told even if it finds none."""

    tool: Tool
    node: str
    sources: bool = False


class _Talk:
    """What comes of one conversation with tools."""

    def __init__(self, messages: Sequence[ModelMessage], offers: Sequence[_Offer]) -> None:
        self._sourced = {offer.tool.spec.name for offer in offers if offer.sources}
        self.messages = list(messages)
        self.shown = [shown(message) for message in messages]
        self.replies: list[Reply] = []
        self.uses: list[Use] = []
        self.verdict = ""
        """The answer where the model has not the last word."""

    @property
    def used(self) -> list[UsedTool]:
        """The calls as answers show them."""
        return [use.shown for use in self.uses if use.shown]

    def add(self, turn: Turn, uses: Sequence[Use]) -> None:
        """What the model asked for, and what it got."""
        self.uses += uses
        self.messages.append(turn.message)
        self.shown.append(_asked(turn))
        for use in uses:
            text, call = use.result.text, use.call
            self.messages.append(ModelMessage("tool", text, answers=call))
            found = use.result.documents
            beside = {"sourceDocuments": msgspec.to_builtins(found)} if found or call.name in self._sourced else {}
            about = {"tool_call_id": call.id, "name": call.name, "additional_kwargs": beside}
            self.shown.append({"role": "tool", "content": text, **about})

    @property
    def spent(self) -> int:
        """The tokens of its turns as Flowise counts them: those between the first and the last one twice."""
        counts = [reply.spent for reply in self.replies]
        return sum(counts) + sum(counts[1:-1]) if len(counts) > 1 else 0

    @property
    def rests(self) -> list[Event]:
        """What is told of the tools after the answer: sources and artifacts of those that give them."""
        documents = [document for use in self.uses for document in use.result.documents]
        artifacts = [artifact for use in self.uses for artifact in use.result.artifacts]
        rests: list[Event] = [UsedTools(self.used)] if self.used else []
        sourced = documents or any(use.tool in self._sourced for use in self.used)
        rests += [SourceDocuments(documents)] if sourced else []
        return [*rests, Artifacts(artifacts)] if artifacts else rests


class _Agent(ModelNode, frozen=True, kw_only=True):
    tools: list[SelectedTool] = []
    knowledgeDocumentStores: list[StoreKnowledge] = []
    knowledgeVSEmbeddings: list[VectorKnowledge] = []
    toolsBuiltInOpenAI: Any = ""
    toolsBuiltInGemini: Any = ""
    toolsBuiltInAnthropic: Any = ""

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """Answers like an LLM node, with its tools and its knowledge if it has any. Raises FlowError for others."""
        for chosen in (self.toolsBuiltInOpenAI, self.toolsBuiltInGemini, self.toolsBuiltInAnthropic):
            if chosen not in ("", "[]", []):
                raise FlowError(f"{task.node.id!r} has tools of its model's provider, which cannot be used here yet")
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
            name = one.agentSelectedTool
            if one.agentSelectedToolRequiresHumanInput:
                raise FlowError(f"{task.node.id!r} asks a human before it uses {name!r}, which cannot be done here yet")
            if name:
                offers += [_Offer(tool, name) for tool in await built(task, name, one.agentSelectedToolConfig)]
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
        opening = self.opening(task)
        talk = _Talk(await self.conversation(task, opening), offers)
        async with aclosing(self._talked(task, talk, [offer.tool for offer in offers])) as batches:
            async for events in batches:
                yield events
        self.show(task, talk.shown)
        last, text = talk.replies[-1], talk.verdict or talk.replies[-1].text
        if self.structuredOutput:
            last, text = await self._spelt(task, text), ""
        content, rests = self.give(task, last, opening, text), talk.rests
        self._account(task, talk, offers, rests)
        if self.is_live(task):
            yield [*([Token(talk.verdict)] if talk.verdict else []), *last.end(rests)]
            task.run.ctx.text = content  # words before a use of tools are no part of the answer
        elif task.is_last:
            yield [Token(content), *rests]

    async def _talked(self, task: Task, talk: _Talk, tools: Sequence[Tool]) -> AsyncGenerator[Sequence[Event]]:
        agent, live = Agent(task.run.ctx, self.model, tools), self.is_live(task)
        specs = [tool.spec for tool in tools]
        for _ in range(MAX_ITERATIONS):
            turn, reply = Turn(), self.reply(task)
            talk.replies.append(reply)
            async with aclosing(self.model.stream(ChatRequest(talk.messages, specs, facts=True))) as batches:
                async for deltas in batches:
                    turn.add(deltas)
                    events = reply.take(deltas)
                    if live and events:
                        yield events
            if not (calls := turn.calls):
                return
            if live:
                silence: list[Event] = [] if turn.text else [Token("")]
                yield [*silence, CalledTools([UsedTool(call.name, as_object(given(call), {}), "") for call in calls])]
            uses = await agent.used(calls)
            talk.add(turn, uses)
            if direct := [use.result.text for use in uses if use.returns]:
                talk.verdict = direct[0]
                return
        talk.verdict = STOPPED

    async def _spelt(self, task: Task, text: str) -> Reply:
        """The answer in the form that the flow wants: models do not write it while they may still call tools."""
        asked, reply = ModelMessage("user", f"{_SPELT}{text}"), self.reply(task)
        schema = OutputSchema("extract", form(self.structuredOutput))
        async with aclosing(self.model.stream(ChatRequest([asked], schema=schema, facts=True))) as batches:
            async for deltas in batches:
                reply.take(deltas)
        return reply

    def _account(self, task: Task, talk: _Talk, offers: Sequence[_Offer], rests: Sequence[Event]) -> None:
        """What the execution keeps of the tools."""
        task.output["timeMetadata"] = talk.replies[0].times()["timeMetadata"]
        if usage := task.output.get("usageMetadata"):
            usage["tool_call_tokens"] = talk.spent
            usage["total_tokens"] += talk.spent
            if price := usage.get("base_output_cost"):
                usage["output_cost"] = (usage["output_tokens"] + talk.spent) * price
                usage["total_cost"] = usage["input_cost"] + usage["output_cost"]
        task.keep(rests)
        if talk.used:
            task.beside = {"usedTools": task.output["usedTools"]}
        task.output["availableTools"] = [_described(offer) for offer in offers]


def _described(offer: _Offer) -> dict[str, Any]:
    """A tool as executions show it."""
    spec, node = offer.tool.spec, {"label": label(offer.node), "name": offer.node}
    return {"name": spec.name, "description": spec.description, "schema": spec.parameters, "toolNode": node}


def _asked(turn: Turn) -> dict[str, Any]:
    """A turn with calls as executions show it."""
    calls = [(call, as_object(given(call), {})) for call in turn.calls]
    return {
        "role": "assistant",
        "content": turn.text,
        "tool_calls": [{"name": c.name, "args": args, "id": c.id, "type": "tool_call"} for c, args in calls],
        "additional_kwargs": {"tool_calls": sent(turn.calls)},
        **({"usage_metadata": tokens(turn.usage, turn.facts.facts)} if turn.usage else {}),
        "id": turn.facts.id,
    }


async def _retriever(knowledge: VectorKnowledge, task: Task) -> object:
    """What searches the store; a filter may name the run's own values, as every input that accepts variables."""
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
        _Agent, "agentAgentflow", "agent", "Asks a chat model, which may use tools and look things up in its knowledge."
    ),
)
