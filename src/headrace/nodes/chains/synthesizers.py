"""Response synthesizers: how an engine makes one answer out of many passages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Final

from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.model_events import answer_events, answer_text, text_events
from headrace.engine.node import Context, Node, Template
from headrace.engine.ports import ChatModel
from headrace.errors import FlowError
from headrace.events import Event
from headrace.nodes.prompts import filled

_AT_ONCE: Final = 12_000
"""Characters of passages in one call; a longer passage has a call of its own."""
_NOTHING: Final = "Empty Response"
"""The answer where no passage was found: flows read it from Flowise's engines."""
_ANSWER: Final = (
    "Answer the question from the passages between the lines, and from nothing that you know otherwise.\n"
    "------------\n{context}\n------------\nQuestion: {query}\nAnswer:"
)
_REFINE: Final = (
    "A question was answered from some passages, and here are more of them. Write a better answer where they add to "
    "it or correct it; otherwise repeat the answer as it is.\nQuestion: {query}\nThe answer so far: {existingAnswer}\n"
    "------------\n{context}\n------------\nAnswer:"
)


class ResponseSynthesizer(Node, frozen=True, kw_only=True):
    """The shared part of all of them."""

    info = NodeInfo(category="Response Synthesizer")

    async def answer(
        self, model: ChatModel, query: str, passages: Sequence[str], ctx: Context
    ) -> AsyncGenerator[Sequence[Event]]:
        """The answer in batches of events. Raises ProviderError, and FlowError for a prompt with other variables."""
        raise FlowError("this synthesizer makes no answer: choose another one")


class _Refining(ResponseSynthesizer, frozen=True, kw_only=True):
    """Answers from the first portion of passages, and refines the answer with each further one."""

    refinePrompt: Annotated[Template, Input(optional=True)] = _REFINE
    """Its variables are `{query}`, `{existingAnswer}` and `{context}`."""
    textQAPrompt: Annotated[Template, Input(optional=True)] = _ANSWER
    """Its variables are `{query}` and `{context}`."""

    async def answer(
        self, model: ChatModel, query: str, passages: Sequence[str], ctx: Context
    ) -> AsyncGenerator[Sequence[Event]]:
        """The last refinement is told as it comes."""
        if not passages:
            return text_events(_NOTHING)
        first, *others = self._portions(passages)
        prompt = filled(self.textQAPrompt, {"query": query, "context": first})
        for portion in others:
            so_far = await answer_text(model, _asking(prompt), ctx)
            prompt = filled(self.refinePrompt, {"query": query, "existingAnswer": so_far, "context": portion})
        return answer_events(model, _asking(prompt), ctx, opens_empty=False)

    def _portions(self, passages: Sequence[str]) -> Sequence[str]:
        return passages


class Refine(_Refining, frozen=True, kw_only=True, tag="refineLlamaIndex"):
    """Asks the model once for each passage."""

    info = NodeInfo(label="Refine", type="Refine", bases=("ResponseSynthesizer",))


class CompactRefine(_Refining, frozen=True, kw_only=True, tag="compactrefineLlamaIndex"):
    """Asks the model once for as many passages as fit into one call."""

    info = NodeInfo(label="Compact and Refine", type="CompactRefine", bases=("ResponseSynthesizer",))

    def _portions(self, passages: Sequence[str]) -> Sequence[str]:
        return portions(passages)


class TreeSummarize(ResponseSynthesizer, frozen=True, kw_only=True, tag="treeSummarizeLlamaIndex"):
    """Answers from each portion of passages, and then from these answers, until one is left."""

    info = NodeInfo(label="TreeSummarize", type="TreeSummarize", bases=("ResponseSynthesizer",))

    prompt: Annotated[Template, Input(optional=True)] = _ANSWER
    """Its variables are `{query}` and `{context}`."""

    async def answer(
        self, model: ChatModel, query: str, passages: Sequence[str], ctx: Context
    ) -> AsyncGenerator[Sequence[Event]]:
        """The last answer is told as it comes."""
        if not passages:
            return text_events(_NOTHING)
        left = portions(passages)
        while len(left) > 1:
            answers = [await answer_text(model, self._request(query, portion), ctx) for portion in left]
            fewer = portions(answers)
            left = fewer if len(fewer) < len(left) else ["\n\n".join(answers)]
        return answer_events(model, self._request(query, left[0]), ctx, opens_empty=False)

    def _request(self, query: str, context: str) -> ChatRequest:
        return _asking(filled(self.prompt, {"query": query, "context": context}))


class SimpleResponseBuilder(ResponseSynthesizer, frozen=True, kw_only=True, tag="simpleResponseBuilderLlamaIndex"):
    """Gives the passages themselves, without a model."""

    info = NodeInfo(label="Simple Response Builder", type="SimpleResponseBuilder", bases=("ResponseSynthesizer",))

    async def answer(
        self, model: ChatModel, query: str, passages: Sequence[str], ctx: Context
    ) -> AsyncGenerator[Sequence[Event]]:
        """The passages, one after the other."""
        return text_events("\n".join(passages) or _NOTHING)


def portions(passages: Sequence[str]) -> list[str]:
    """The passages, joined as far as they fit into one call."""
    joined: list[str] = []
    for passage in passages:
        if joined and len(joined[-1]) + len(passage) <= _AT_ONCE:
            joined[-1] += f"\n\n{passage}"
        else:
            joined.append(passage)
    return joined


def _asking(prompt: str) -> ChatRequest:
    return ChatRequest([ModelMessage("user", prompt)])


NODES = (CompactRefine, Refine, SimpleResponseBuilder, TreeSummarize)
