"""Engines: the nodes that answer from an index in older flows, on this server's own retrieval."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing, suppress
from typing import Annotated, Any, Final

from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.concurrency import gather_some
from headrace.engine.json_extraction import extract_json
from headrace.engine.model_events import answer_events, answer_text
from headrace.engine.node import Context, Node, Step
from headrace.engine.ports import ChatModel, Embeddings, Memory, Retriever
from headrace.errors import FlowError, ProviderMalformed
from headrace.events import Document, Event, fold
from headrace.nodes.chains.retrieval import cited, sourced
from headrace.nodes.chains.synthesizers import CompactRefine, ResponseSynthesizer
from headrace.nodes.model_retriever import ModelRetriever

_CONTEXT: Final = "Passages that may help with the last question:\n------------\n{context}\n------------"
_SPLIT: Final = (
    "A question is to be answered with the help of tools that each know something else. Divide it into questions of "
    "which each can be answered by one tool alone, and by no more of them than the answer needs.\n\nThe tools:\n{tools}"
    '\n\nThe question: {question}\n\nAnswer with a JSON array and nothing else, an object like {{"question": "...", '
    '"tool": "the name of a tool"}} for each.'
)
_MOST_QUESTIONS: Final = 20


class Engine(Step, frozen=True, kw_only=True):
    """The shared part of engines that answer single questions."""

    info = NodeInfo(category="Engine", bases=("BaseQueryEngine",))

    responseSynthesizer: ResponseSynthesizer | None = None
    """Compact and Refine without it."""
    returnSourceDocuments: bool = False

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer, then its sources when the flow wants them."""
        return await self.asked(ctx.question, ctx)

    async def asked(self, question: str, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer to any question."""
        documents = await self._sources(question, ctx)
        passages = [document.pageContent for document in documents]
        how = self.responseSynthesizer or CompactRefine()
        answer = await how.answer(self._answering, question, passages, ctx)
        return sourced(answer, documents) if self.returnSourceDocuments else answer

    @property
    def _answering(self) -> ChatModel:
        raise FlowError("this engine has no model: connect one")

    async def _sources(self, question: str, ctx: Context) -> list[Document]:
        raise FlowError("this engine has nothing to answer from: connect a retriever")


class QueryEngine(Engine, frozen=True, kw_only=True, tag="queryEngine"):
    """Answers one question from passages, with the model of the index; remembers nothing."""

    info = NodeInfo(version=2)

    vectorStoreRetriever: Annotated[ModelRetriever, Input(type="VectorIndexRetriever")]

    @property
    def _answering(self) -> ChatModel:
        return self.vectorStoreRetriever.model

    async def _sources(self, question: str, ctx: Context) -> list[Document]:
        return await self.vectorStoreRetriever.find(question)


class QueryEngineTool(Node, frozen=True, kw_only=True, tag="queryEngineToolLlamaIndex"):
    """An engine under a name, for the engine that divides questions."""

    info = NodeInfo(
        label="QueryEngine Tool", version=2, category="Tools", type="QueryEngineTool", bases=("Tool_LlamaIndex",)
    )

    baseQueryEngine: Annotated[Engine, Input(type="BaseQueryEngine")]
    toolName: str
    toolDesc: str

    async def answer(self, question: str, ctx: Context) -> str:
        """The whole answer."""
        async with aclosing(await self.baseQueryEngine.asked(question, ctx)) as batches:
            return fold([event async for events in batches for event in events]).text or ""


class SubQuestionQueryEngine(Engine, frozen=True, kw_only=True, tag="subQuestionQueryEngine"):
    """Divides a question, asks an engine each part, and answers from their answers, which are its sources."""

    info = NodeInfo(version=2)

    queryEngineTools: Annotated[list[QueryEngineTool], Input(type="QueryEngineTool")]
    model: Annotated[ChatModel, Input(type="BaseChatModel_LlamaIndex")]
    embeddings: Annotated[
        Embeddings | None,
        Input(type="BaseEmbedding_LlamaIndex", unread="the engines behind the tools bring their own"),
    ] = None

    @property
    def _answering(self) -> ChatModel:
        return self.model

    async def _sources(self, question: str, ctx: Context) -> list[Document]:
        tools = {tool.toolName: tool for tool in self.queryEngineTools}
        if not tools:
            raise FlowError("the Sub Question Query Engine has no tools: connect a QueryEngine Tool")
        listed = "\n".join(f"- {name}: {tool.toolDesc}" for name, tool in tools.items())
        prompt = _SPLIT.format(tools=listed, question=question)
        text = await answer_text(self.model, ChatRequest([ModelMessage("user", prompt)]), ctx)

        async def one(part: tuple[str, str]) -> Document:
            answer = await tools[part[1]].answer(part[0], ctx)
            return Document(f"Sub question: {part[0]}\nResponse: {answer}", {})

        return await gather_some(one, _divided(text, tools))


def _divided(text: str, known: Collection[str]) -> list[tuple[str, str]]:
    """The questions of a model's answer, each with its tool. Raises ProviderMalformed when there is none."""
    found: Any = None
    with suppress(ValueError):
        found = extract_json(text)
    parts = [part for part in (found if isinstance(found, list) else [found]) if isinstance(part, dict)]
    asked = [(str(part.get("question", "")), str(part.get("tool", ""))) for part in parts]
    asked = [part for part in asked if part[0] and part[1] in known][:_MOST_QUESTIONS]
    if not asked:
        raise ProviderMalformed("the model has not divided the question into questions for the engine's tools")
    return asked


class ContextChatEngine(Step, frozen=True, kw_only=True, tag="contextChatEngine"):
    """A conversation in which every question brings passages along that fit it."""

    info = NodeInfo(category="Engine")

    model: Annotated[ChatModel, Input(type="BaseChatModel_LlamaIndex")]
    vectorStoreRetriever: Annotated[Retriever, Input(type="VectorIndexRetriever")]
    memory: Annotated[Memory | None, Input(type="BaseChatMemory")] = None
    returnSourceDocuments: bool = False
    systemMessagePrompt: str = ""

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer to the question in its conversation, then its sources when the flow wants them."""
        history = await self.memory.messages() if self.memory else list(ctx.prior)
        documents = await self.vectorStoreRetriever.find(ctx.question)
        context = _CONTEXT.format(context=cited(documents))
        system = f"{self.systemMessagePrompt}\n\n{context}" if self.systemMessagePrompt else context
        messages = [ModelMessage("system", system), *history, ModelMessage("user", ctx.question)]
        answer = answer_events(self.model, ChatRequest(messages), ctx, opens_empty=False)
        return sourced(answer, documents) if self.returnSourceDocuments else answer


NODES = (QueryEngine, SubQuestionQueryEngine, ContextChatEngine, QueryEngineTool)
