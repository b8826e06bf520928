"""Chains that let the model choose first: which of several prompts or retrievers fits the question."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated, Final, Protocol

import msgspec

from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.json_extraction import extract_object
from headrace.engine.model_events import answer_events, answer_text, text_events
from headrace.engine.node import Context, Node, Step
from headrace.engine.ports import ChatModel, Moderation, Retriever
from headrace.events import Event
from headrace.nodes.chains.conversation import refusal
from headrace.nodes.chains.retrieval import answered

_CHOOSE: Final = """\
Decide who shall answer a question. These can:

{choices}

Answer with one JSON object and nothing else: {{"destination": "one of these names, or DEFAULT when none fits", \
"question": "the question, put more clearly if that helps"}}

The question: {question}"""


class NamedRetriever(Retriever, Protocol):
    """A retriever that says what it is good for."""

    name: str
    description: str


class _Choice(msgspec.Struct):
    destination: str = ""
    question: str = ""


async def chosen(model: ChatModel, choices: Mapping[str, str], ctx: Context) -> tuple[str, str]:
    """The name of the choice that fits the question ("" for none), and the question as it shall be asked."""
    listed = "\n".join(f"- {name}: {' '.join(about.split())}" for name, about in choices.items())
    asked = ModelMessage("user", _CHOOSE.format(choices=listed, question=ctx.question))
    choice = _read(await answer_text(model, ChatRequest([asked]), ctx))
    names = {name.strip().lower(): name for name in choices}
    name = names.get(choice.destination.strip().lower(), "")
    return name, (choice.question.strip() or ctx.question) if name else ctx.question


def _read(said: str) -> _Choice:
    """The model's choice, as far as it can be read: a model that keeps to no form chooses nothing."""
    try:
        return msgspec.convert(extract_object(said), _Choice)
    except (ValueError, msgspec.ValidationError):
        return _Choice()


class PromptRetriever(Node, frozen=True, kw_only=True, tag="promptRetriever"):
    """A system message for a Multi Prompt Chain, and what it is good for."""

    info = NodeInfo(category="Retrievers")

    name: str
    description: str
    systemMessage: str


class MultiPromptChain(Step, frozen=True, kw_only=True, tag="multiPromptChain"):
    """Answers with the system message that fits the question; when none does, without one."""

    info = NodeInfo(version=2)

    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]
    promptRetriever: list[PromptRetriever]
    inputModeration: list[Moderation] = []

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer."""
        if message := await refusal(self.inputModeration, ctx):
            return text_events(message)
        prompts = {prompt.name: prompt for prompt in self.promptRetriever}
        name, question = await chosen(self.model, {n: prompt.description for n, prompt in prompts.items()}, ctx)
        system = [ModelMessage("system", prompts[name].systemMessage)] if name else []
        return answer_events(self.model, ChatRequest([*system, ModelMessage("user", question)]), ctx)


class MultiRetrievalQAChain(Step, frozen=True, kw_only=True, tag="multiRetrievalQAChain"):
    """Answers from what the fitting retriever finds; when none fits, the model answers alone."""

    info = NodeInfo(version=2)

    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]
    vectorStoreRetriever: Annotated[list[NamedRetriever], Input(type="VectorStoreRetriever")]
    returnSourceDocuments: bool = False
    inputModeration: list[Moderation] = []

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer, then its sources when the flow wants them."""
        if message := await refusal(self.inputModeration, ctx):
            return text_events(message)
        retrievers = {retriever.name: retriever for retriever in self.vectorStoreRetriever}
        name, question = await chosen(self.model, {n: each.description for n, each in retrievers.items()}, ctx)
        if not name:
            return answer_events(self.model, ChatRequest([ModelMessage("user", question)]), ctx)
        return await answered(self.model, retrievers[name], question, ctx, sources=self.returnSourceDocuments)


NODES = (PromptRetriever, MultiPromptChain, MultiRetrievalQAChain)
