"""Chains that answer from documents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated

from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.model_events import answer_events, answer_text, text_events
from headrace.engine.node import Context, Step, Template
from headrace.engine.ports import ChatModel, Memory, Moderation, Retriever, Search, VectorStore
from headrace.events import Document, Event, SourceDocuments
from headrace.nodes.chains.conversation import refusal
from headrace.nodes.memory import StoredTurns
from headrace.nodes.prompts import filled

REPHRASE = (
    "Below are a conversation and a question that continues it. Write the question anew so that it can be understood "
    "without the conversation.\n\nConversation:\n{chat_history}\nQuestion: {question}\nQuestion that stands alone:"
)
_RESPOND = (
    "Answer the question from the passages between the lines, and from nothing else. When they do not answer it, say "
    'just "Hmm, I\'m not sure."\n------------\n{context}\n------------'
)
_SPEAKERS = {"user": "human", "assistant": "ai"}


def cited(documents: Sequence[Document]) -> str:
    """Passages as a model reads them, each with its number."""
    return "\n".join(f"<doc id='{n}'>{document.pageContent}</doc>" for n, document in enumerate(documents))


async def sourced(
    batches: AsyncGenerator[Sequence[Event]], documents: Sequence[Document]
) -> AsyncGenerator[Sequence[Event]]:
    """An answer, and behind it the passages that it rests on, if there are any."""
    async with aclosing(batches):
        async for events in batches:
            yield events
    if documents:
        yield [SourceDocuments(list(documents))]


class ConversationalRetrievalQAChain(Step, frozen=True, kw_only=True, tag="conversationalRetrievalQAChain"):
    """Answers from passages that fit the question; a question that continues a conversation is written anew first.

    Without a memory it remembers the whole session.
    """

    info = NodeInfo(version=3)

    model: ChatModel
    vectorStoreRetriever: Retriever
    memory: Annotated[Memory | None, Input(type="BaseMemory")] = None
    returnSourceDocuments: bool = False
    rephrasePrompt: Additional[Template] = REPHRASE
    responsePrompt: Additional[Template] = _RESPOND
    inputModeration: list[Moderation] = []

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer, then its sources when the flow wants them."""
        if message := await refusal(self.inputModeration, ctx):
            return text_events(message)
        history = await (self.memory or StoredTurns(ctx)).messages()
        question = await alone(self.model, self.rephrasePrompt, history, ctx)
        documents = await self.vectorStoreRetriever.find(question)
        values = {"context": cited(documents), "question": ctx.question, "chat_history": _said(history)}
        system = filled(self.responsePrompt, values)
        messages = [ModelMessage("system", system), *history, ModelMessage("user", ctx.question)]
        answer = answer_events(self.model, ChatRequest(messages), ctx, opens_empty=False)
        return sourced(answer, documents) if self.returnSourceDocuments else answer


async def alone(model: ChatModel, prompt: str, history: Sequence[ModelMessage], ctx: Context) -> str:
    """The question without need of what was said before."""
    if not history:
        return ctx.question
    asked = filled(prompt, {"chat_history": _said(history), "question": ctx.question})
    return await answer_text(model, ChatRequest([ModelMessage("user", asked)]), ctx)


def _said(history: Sequence[ModelMessage]) -> str:
    return "\n".join(f"{_SPEAKERS.get(turn.role, turn.role)}: {turn.text}" for turn in history)


class RetrievalQAChain(Step, frozen=True, kw_only=True, tag="retrievalQAChain"):
    """Answers one question from passages; remembers nothing."""

    info = NodeInfo(version=2)

    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]
    vectorStoreRetriever: Retriever
    inputModeration: list[Moderation] = []

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer."""
        if message := await refusal(self.inputModeration, ctx):
            return text_events(message)
        return await answered(self.model, self.vectorStoreRetriever, ctx.question, ctx)


async def answered(
    model: ChatModel, retriever: Retriever, question: str, ctx: Context, *, sources: bool = False
) -> AsyncGenerator[Sequence[Event]]:
    """The answer to one question from passages, and these behind it if wanted."""
    documents = await retriever.find(question)
    system = filled(_RESPOND, {"context": cited(documents)})
    messages = [ModelMessage("system", system), ModelMessage("user", question)]
    answer = answer_events(model, ChatRequest(messages), ctx, opens_empty=False)
    return sourced(answer, documents) if sources else answer


class VectorDBQAChain(Step, frozen=True, kw_only=True, tag="vectorDBQAChain"):
    """The same over a vector store itself."""

    info = NodeInfo(label="VectorDB QA Chain", version=2)

    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]
    vectorStore: VectorStore
    inputModeration: list[Moderation] = []

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer."""
        chain = RetrievalQAChain(
            model=self.model, vectorStoreRetriever=_Searched(self.vectorStore), inputModeration=self.inputModeration
        )
        return await chain.run(ctx)


class _Searched:
    """The plainest retriever over a vector store."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    async def find(self, query: str) -> list[Document]:
        return [hit.document for hit in await self._store.search(Search(text=query))]


NODES = (ConversationalRetrievalQAChain, RetrievalQAChain, VectorDBQAChain)
