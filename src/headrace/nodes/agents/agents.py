"""Agents: a model that decides which tools to use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated

from headrace.engine.agent import Agent
from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.chat import ModelMessage, TextPart
from headrace.engine.model_events import text_events
from headrace.engine.node import Context, Step, Template
from headrace.engine.ports import ChatModel, Memory, Moderation, Retriever, Tool, ToolMemory
from headrace.engine.text_tools import TextProtocol, TextToolModel
from headrace.events import Event
from headrace.nodes.agents.json_actions import JsonActions
from headrace.nodes.agents.text_protocols import ReAct, Tags
from headrace.nodes.chains.conversation import images, refusal
from headrace.nodes.chains.retrieval import REPHRASE, alone, cited
from headrace.nodes.prompts import ChatPromptTemplate, filled, variables


class ToolAgent(Step, frozen=True, kw_only=True, tag="toolAgent"):
    """An agent whose model calls tools by itself."""

    info = NodeInfo(version=2, category="Agents", type="AgentExecutor")

    tools: list[Tool] = []
    model: ChatModel
    memory: Memory | None = None
    chatPromptTemplate: ChatPromptTemplate | None = None
    systemMessage: Additional[Template] = "You are a helpful AI assistant."
    inputModeration: list[Moderation] = []
    maxIterations: Additional[int | None] = None
    enableDetailedStreaming: Additional[bool] = False

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The agent's answer to the question in its conversation."""
        if message := await refusal(self.inputModeration, ctx):
            return text_events(message)
        if isinstance(self.memory, ToolMemory):
            history = await self.memory.exchanges()
        else:
            history = await self.memory.messages() if self.memory else list(ctx.prior)
        first, *between, last = await self._opening(ctx, history)
        last = _pictured(last.text, self.model, ctx)
        agent = Agent(
            ctx, self.model, self.tools, max_iterations=self.maxIterations, traced=self.enableDetailedStreaming
        )
        return agent.run([first, *between, *history, last])

    async def _opening(self, ctx: Context, history: Sequence[ModelMessage]) -> list[ModelMessage]:
        return self._prompt({"input": ctx.question})

    def _prompt(self, values: Mapping[str, str]) -> list[ModelMessage]:
        """The system message and the question."""
        if self.chatPromptTemplate:
            return self.chatPromptTemplate.format({**values, **self.chatPromptTemplate.values})
        return [ModelMessage("system", filled(self.systemMessage, values)), ModelMessage("user", values["input"])]


def _pictured(text: str, model: ChatModel, ctx: Context) -> ModelMessage:
    pictures = images(model, ctx)
    return ModelMessage("user", [TextPart(text), *pictures] if pictures else text)


class OpenAIFunctionAgent(ToolAgent, frozen=True, kw_only=True, tag="openAIFunctionAgent"):
    """The tool agent's predecessor."""

    info = NodeInfo(streams=False)


class OpenAIToolAgentForEngines(ToolAgent, frozen=True, kw_only=True, tag="openAIToolAgentLlamaIndex"):
    """The tool agent, as the nodes for engines connect it."""

    info = NodeInfo(label="OpenAI Tool Agent", version=2, type="OpenAIToolAgent", bases=("AgentRunner",))

    tools: Annotated[list[Tool], Input(type="Tool_LlamaIndex", list=True)] = []
    model: Annotated[ChatModel, Input(type="BaseChatModel_LlamaIndex")]


class AnthropicAgentForEngines(OpenAIToolAgentForEngines, frozen=True, kw_only=True, tag="anthropicAgentLlamaIndex"):
    """The same with a model of Anthropic."""

    info = NodeInfo(label="Anthropic Agent", version=1, type="AnthropicAgent")


class ConversationalRetrievalToolAgent(ToolAgent, frozen=True, kw_only=True, tag="conversationalRetrievalToolAgent"):
    """The tool agent with passages in its system message, which fit the question as it stands in the conversation."""

    vectorStoreRetriever: Retriever | None = None
    rephrasePrompt: Template = REPHRASE
    rephraseModel: ChatModel | None = None
    """Writes the question anew; the agent's own model without it."""

    async def _opening(self, ctx: Context, history: Sequence[ModelMessage]) -> list[ModelMessage]:
        if self.vectorStoreRetriever is None:
            return self._prompt({"input": ctx.question, "context": ""})
        asked = await alone(self.rephraseModel or self.model, self.rephrasePrompt, history, ctx)
        context = cited(await self.vectorStoreRetriever.find(asked))
        messages = self._prompt({"input": ctx.question, "context": context})
        known = self.chatPromptTemplate.variables if self.chatPromptTemplate else variables(self.systemMessage)
        if "context" not in known:
            messages[0] = ModelMessage("system", f"{messages[0].text}\n\n{context}")
        return messages


class _TextAgent(Step, frozen=True, kw_only=True):
    """The shared part of agents whose model uses tools by a protocol in its text."""

    info = NodeInfo(streams=False, category="Agents")

    tools: list[Tool] = []
    model: ChatModel
    inputModeration: list[Moderation] = []
    maxIterations: Additional[int | None] = None

    async def _answer(
        self, ctx: Context, protocol: TextProtocol, system: str = "", memory: Memory | None = None
    ) -> AsyncGenerator[Sequence[Event]]:
        if message := await refusal(self.inputModeration, ctx):
            return text_events(message)
        history = await memory.messages() if memory else list(ctx.prior)
        agent = Agent(ctx, TextToolModel(self.model, protocol), self.tools, max_iterations=self.maxIterations)
        return agent.run([ModelMessage("system", system), *history, _pictured(ctx.question, self.model, ctx)])


class ConversationalAgent(_TextAgent, frozen=True, kw_only=True, tag="conversationalAgent"):
    """An agent whose model answers with JSON in a block of code: a tool to use, or the final answer."""

    info = NodeInfo(version=3, type="AgentExecutor")

    memory: Memory | None = None
    systemMessage: Additional[str] = (
        "You are a helpful assistant. Answer what you are asked, and say so when you do not know."
    )

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The agent's answer to the question in its conversation."""
        return await self._answer(ctx, JsonActions(), self.systemMessage, self.memory)


class ReactAgentChat(_TextAgent, frozen=True, kw_only=True, tag="reactAgentChat"):
    """An agent whose model thinks, acts and observes in lines of text, until it writes a final answer."""

    info = NodeInfo(label="ReAct Agent for Chat Models", version=4, type="AgentExecutor")

    memory: Memory | None = None

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The agent's answer to the question in its conversation."""
        return await self._answer(ctx, ReAct(), memory=self.memory)


class ReactAgentLLM(_TextAgent, frozen=True, kw_only=True, tag="reactAgentLLM"):
    """The same for models that continue a text; it remembers nothing."""

    info = NodeInfo(label="ReAct Agent for LLMs", version=2, type="AgentExecutor")

    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The agent's answer to the question."""
        return await self._answer(ctx, ReAct(joined=True))


class XmlAgent(_TextAgent, frozen=True, kw_only=True, tag="xmlAgent"):
    """An agent whose model writes tags: a tool to use, or the final answer."""

    info = NodeInfo(label="XML Agent", version=2, type="XMLAgent")

    memory: Memory | None = None
    systemMessage: Additional[str] = "You are a helpful assistant."
    """May be a template with `{tools}`, `{chat_history}`, `{input}` and `{agent_scratchpad}`."""

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """The agent's answer to the question in its conversation."""
        return await self._answer(ctx, Tags(), self.systemMessage, self.memory)


NODES = (
    ToolAgent,
    OpenAIFunctionAgent,
    OpenAIToolAgentForEngines,
    AnthropicAgentForEngines,
    ConversationalRetrievalToolAgent,
    ConversationalAgent,
    ReactAgentChat,
    ReactAgentLLM,
    XmlAgent,
)
