"""Chains: a prompt, a model, and what the conversation remembers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from headrace.engine.node import Context, Step, Template
from headrace.engine.ports import ChatModel, ImagePart, Memory, ModelMessage, Part, Prompt, TextPart, UsageDelta
from headrace.errors import FlowError
from headrace.events import Event, Start, Token, fold
from headrace.nodes.prompts import ChatPromptTemplate, filled

_FRIENDLY = (
    "You are talking with a person. Be friendly and concrete, use what the conversation has told you, "
    "and say so plainly when you do not know something."
)


async def answer(model: ChatModel, messages: Sequence[ModelMessage], ctx: Context) -> AsyncGenerator[Sequence[Event]]:
    """The model's answer: `start` with its first chunk, then `token` for every text that is not empty."""
    started = False
    async with aclosing(model.stream(messages)) as batches:
        async for deltas in batches:
            events: list[Event] = []
            for delta in deltas:
                if isinstance(delta, UsageDelta):
                    ctx.count(delta.usage)
                    continue
                if not started:
                    started = True
                    events.append(Start(delta.text))
                if delta.text:
                    events.append(Token(delta.text))
            if events:
                yield events


def images(model: ChatModel, ctx: Context) -> list[Part]:
    """The pictures that came with the question, if the model takes any."""
    if model.images == "refused":
        return []
    uploads = [upload for upload in ctx.uploads if upload.mime.startswith("image/")]
    return [ImagePart(upload.data) for upload in uploads if upload.type in ("file", "url") and upload.data]


class LLMChain(Step, frozen=True, kw_only=True, tag="llmChain"):
    """A prompt and a model. One open variable of the prompt receives the question."""

    model: ChatModel
    prompt: Prompt

    async def build(self, ctx: Context) -> object:
        """For the output `outputPrediction` the answer's text, for any other the chain."""
        if self.output != "outputPrediction":
            return self
        async with aclosing(await self.run(ctx)) as batches:
            return fold([event async for events in batches for event in events]).text

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer to the filled prompt. Raises FlowError when more than one variable is open."""
        messages = self._messages(ctx)
        if pictures := images(self.model, ctx):
            last = messages[-1]
            messages[-1] = ModelMessage(last.role, [*pictures, TextPart(last.text)])
        return answer(self.model, messages, ctx)

    def _messages(self, ctx: Context) -> list[ModelMessage]:
        values = {name: value for name, value in self.prompt.values.items() if value is not None}
        unset = [name for name in self.prompt.variables if name not in values]
        if len(unset) > 1:
            raise FlowError(
                f"the prompt's variables {', '.join(unset)} have no values: set all but one of them in Format Prompt "
                "Values; the one left open receives the question"
            )
        return self.prompt.format(values | dict.fromkeys(unset, ctx.question))


class ConversationChain(Step, frozen=True, kw_only=True, tag="conversationChain"):
    """A conversation: system message, what was said before, the question."""

    model: ChatModel
    memory: Memory | None = None
    chatPromptTemplate: ChatPromptTemplate | None = None
    systemMessagePrompt: Template = _FRIENDLY

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer to the question in its conversation."""
        history = await self.memory.messages() if self.memory else list(ctx.prior)
        first, *_, last = self._prompt(ctx)
        messages = [first, *history, last]
        if pictures := images(self.model, ctx):
            if self.model.images == "after the question":
                messages.append(ModelMessage("user", pictures))
            else:
                messages[-1] = ModelMessage("user", [TextPart(last.text), *pictures])
        return answer(self.model, messages, ctx)

    def _prompt(self, ctx: Context) -> list[ModelMessage]:
        values = {"input": ctx.question}
        if self.chatPromptTemplate:
            return self.chatPromptTemplate.format({**values, **self.chatPromptTemplate.values})
        return [ModelMessage("system", filled(self.systemMessagePrompt, values)), ModelMessage("user", ctx.question)]


NODES = (LLMChain, ConversationChain)
