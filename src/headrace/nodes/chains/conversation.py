"""Chains: a prompt, a model, and what the conversation remembers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any

from headrace.engine.annotations import Additional, Input, NodeInfo, Output
from headrace.engine.chat import ChatRequest, ImagePart, ModelMessage, Part, TextPart
from headrace.engine.model_events import answer_events, answer_text, text_events
from headrace.engine.node import Context, Step, Template
from headrace.engine.ports import ChatModel, Memory, Moderation, OutputParser, Prompt
from headrace.errors import FlowError, ProviderMalformed
from headrace.events import Event, fold
from headrace.nodes.prompts import ChatPromptTemplate, filled

_FRIENDLY = (
    "You are talking with a person. Be friendly and concrete, use what the conversation has told you, "
    "and say so plainly when you do not know something."
)
_MEND = (
    "This answer does not have the form that was asked for.\n\nThe form: {form}\n\nThe answer: {answer}\n\n"
    "What is wrong with it: {error}\n\nGive the answer again in the right form."
)


def images(model: ChatModel, ctx: Context) -> list[Part]:
    """The pictures that came with the question, if the model takes any."""
    if model.images == "refused":
        return []
    uploads = [upload for upload in ctx.uploads if upload.mime.startswith("image/")]
    return [ImagePart(upload.data) for upload in uploads if upload.type in ("file", "url") and upload.data]


async def refusal(moderation: Sequence[Moderation], ctx: Context) -> str | None:
    """The answer when a moderation stops the question."""
    for each in moderation:
        if message := await each.refusal(ctx.question):
            return message
    return None


class LLMChain(Step, frozen=True, kw_only=True, tag="llmChain"):
    """A prompt and a model. One open variable of the prompt receives the question."""

    info = NodeInfo(
        version=3,
        type="LLMChain",
        outputs=(
            Output("llmChain", "LLM Chain", ("LLMChain", "BaseChain", "Runnable")),
            Output("outputPrediction", "Output Prediction", ("string", "json")),
        ),
    )

    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]
    prompt: Prompt
    outputParser: OutputParser | None = None
    inputModeration: list[Moderation] = []

    async def build(self, ctx: Context) -> object:
        """For the output `outputPrediction` the answer itself, for any other the chain."""
        if self.output != "outputPrediction":
            return self
        async with aclosing(await self.run(ctx)) as batches:
            text = fold([event async for events in batches for event in events]).text
        answer, ctx.json = ctx.json, None
        return text if answer is None else answer

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer to the filled prompt. Raises FlowError when more than one variable is open."""
        if message := await refusal(self.inputModeration, ctx):
            return text_events(message)
        messages = self._messages(ctx)
        if pictures := images(self.model, ctx):
            last = messages[-1]
            messages[-1] = ModelMessage(last.role, [*pictures, TextPart(last.text)])
        if self.outputParser:
            return self._read(self.outputParser, messages, ctx)
        return answer_events(self.model, ChatRequest(messages), ctx)

    def _messages(self, ctx: Context) -> list[ModelMessage]:
        told = {"format_instructions": self.outputParser.instructions} if self.outputParser else {}
        values = told | {name: value for name, value in self.prompt.values.items() if value is not None}
        unset = [name for name in self.prompt.variables if name not in values]
        if len(unset) > 1:
            raise FlowError(
                f"the prompt's variables {', '.join(unset)} have no values: set all but one of them in Format Prompt "
                "Values; the one left open receives the question"
            )
        return self.prompt.format(values | dict.fromkeys(unset, ctx.question))

    async def _read(
        self, parser: OutputParser, messages: list[ModelMessage], ctx: Context
    ) -> AsyncGenerator[Sequence[Event]]:
        """The answer in the parser's form, as the run's `json`."""
        asked = messages
        if "format_instructions" not in self.prompt.variables:  # else they stand where the prompt wants them
            first = messages[0]
            asked = [ModelMessage(first.role, f"{first.text}\n{parser.instructions}"), *messages[1:]]
        ctx.json = await self._parsed(parser, await answer_text(self.model, ChatRequest(asked), ctx), ctx)
        yield []

    async def _parsed(self, parser: OutputParser, text: str, ctx: Context) -> Any:
        try:
            return parser.parse(text)
        except ValueError as error:
            if not parser.mends:
                raise ProviderMalformed(
                    f"the model's answer has not the form that the flow asks for: {error}"
                ) from None
            mend = _MEND.format(form=parser.instructions, answer=text, error=error)
        try:
            return parser.parse(await answer_text(self.model, ChatRequest([ModelMessage("user", mend)]), ctx))
        except ValueError as error:
            raise ProviderMalformed(
                f"the model's answer has not the form, and neither has its mended one: {error}"
            ) from None


class ConversationChain(Step, frozen=True, kw_only=True, tag="conversationChain"):
    """A conversation: system message, what was said before, the question."""

    info = NodeInfo(version=3)

    model: ChatModel
    memory: Annotated[Memory | None, Input(type="BaseMemory")] = None
    chatPromptTemplate: ChatPromptTemplate | None = None
    inputModeration: list[Moderation] = []
    systemMessagePrompt: Additional[Template] = _FRIENDLY

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The answer to the question in its conversation."""
        if message := await refusal(self.inputModeration, ctx):
            return text_events(message)
        history = await self.memory.messages() if self.memory else list(ctx.prior)
        first, *_, last = self._prompt(ctx)
        messages = [first, *history, last]
        if pictures := images(self.model, ctx):
            if self.model.images == "after the question":
                messages.append(ModelMessage("user", pictures))
            else:
                messages[-1] = ModelMessage("user", [TextPart(last.text), *pictures])
        return answer_events(self.model, ChatRequest(messages), ctx)

    def _prompt(self, ctx: Context) -> list[ModelMessage]:
        values = {"input": ctx.question}
        if self.chatPromptTemplate:
            return self.chatPromptTemplate.format({**values, **self.chatPromptTemplate.values})
        return [ModelMessage("system", filled(self.systemMessagePrompt, values)), ModelMessage("user", ctx.question)]


class SimpleChatEngine(ConversationChain, frozen=True, kw_only=True, tag="simpleChatEngine"):
    """A conversation, as the node for engines."""

    info = NodeInfo(category="Engine", bases=("BaseChatEngine",))

    model: Annotated[ChatModel, Input(type="BaseChatModel_LlamaIndex")]
    memory: Memory | None = None


NODES = (LLMChain, ConversationChain, SimpleChatEngine)
