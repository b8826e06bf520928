"""Agents: a model that decides which tools to use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from headrace.engine.agent import Agent
from headrace.engine.answering import recited
from headrace.engine.chat import ModelMessage, TextPart
from headrace.engine.node import Context, Step, Template
from headrace.engine.ports import ChatModel, Memory, Moderation, Tool
from headrace.events import Event
from headrace.nodes.chains import images, refusal
from headrace.nodes.prompts import ChatPromptTemplate, filled


class ToolAgent(Step, frozen=True, kw_only=True, tag="toolAgent"):
    """An agent whose model calls tools by itself."""

    tools: list[Tool] = []
    model: ChatModel
    memory: Memory | None = None
    chatPromptTemplate: ChatPromptTemplate | None = None
    systemMessage: Template = "You are a helpful AI assistant."
    inputModeration: list[Moderation] = []
    maxIterations: int | None = None
    enableDetailedStreaming: bool = False

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The agent's answer to the question in its conversation."""
        if message := await refusal(self.inputModeration, ctx):
            return recited(message)
        history = await self.memory.messages() if self.memory else list(ctx.prior)
        first, *_, last = self._prompt(ctx)
        if pictures := images(self.model, ctx):
            last = ModelMessage("user", [TextPart(last.text), *pictures])
        agent = Agent(
            ctx, self.model, self.tools, max_iterations=self.maxIterations, traced=self.enableDetailedStreaming
        )
        return agent.run([first, *history, last])

    def _prompt(self, ctx: Context) -> list[ModelMessage]:
        values = {"input": ctx.question}
        if self.chatPromptTemplate:
            return self.chatPromptTemplate.format({**values, **self.chatPromptTemplate.values})
        return [ModelMessage("system", filled(self.systemMessage, values)), ModelMessage("user", ctx.question)]


class OpenAIFunctionAgent(ToolAgent, frozen=True, kw_only=True, tag="openAIFunctionAgent"):
    """The tool agent's predecessor."""


class ConversationalRetrievalToolAgent(ToolAgent, frozen=True, kw_only=True, tag="conversationalRetrievalToolAgent"):
    """The tool agent, as older flows name it where its tools are retrievers."""


NODES = (ToolAgent, OpenAIFunctionAgent, ConversationalRetrievalToolAgent)
