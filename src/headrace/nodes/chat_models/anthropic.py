"""Anthropic's chat models."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

from headrace.engine.annotations import Additional, Input, NodeInfo, options
from headrace.engine.node import Context, Node
from headrace.engine.ports import Cache, ChatModel
from headrace.nodes.accounts import account
from headrace.nodes.caches import cached
from headrace.nodes.chat_models.images import image_policy
from headrace.nodes.providers import ANTHROPIC, Provider
from headrace.providers.anthropic import AnthropicChat
from headrace.providers.endpoint import Endpoint, set_values

_ANSWER: Final = 4096  # tokens: Anthropic wants a limit in every request


class ChatAnthropic(Node, frozen=True, kw_only=True, tag="chatAnthropic"):
    """Anthropic's Claude."""

    info = NodeInfo(label="Anthropic Claude", version=8, credentials=("anthropicApi",))

    provider: ClassVar[Provider] = ANTHROPIC

    credential: str = ""
    cache: Cache | None = None
    modelName: Annotated[str, Input(loadMethod="listModels")] = "claude-haiku-4-5"
    temperature: float | None = 0.9
    streaming: Additional[bool] = True
    allowImageUploads: bool = False
    extendedThinking: Annotated[
        bool,
        Input(additionalParams=True, hide={"modelName": ["claude-opus-4-7", "claude-opus-4-6", "claude-sonnet-4-6"]}),
    ] = False
    budgetTokens: Annotated[
        int,
        Input(
            additionalParams=True,
            show={"extendedThinking": True},
            hide={"modelName": ["claude-opus-4-7", "claude-opus-4-6", "claude-sonnet-4-6"]},
        ),
    ] = 1024
    adaptiveThinking: Annotated[
        bool,
        Input(additionalParams=True, show={"modelName": ["claude-opus-4-7", "claude-opus-4-6", "claude-sonnet-4-6"]}),
    ] = False
    thinkingEffort: Annotated[
        str,
        Input(
            additionalParams=True,
            show={"adaptiveThinking": True, "modelName": ["claude-opus-4-7", "claude-opus-4-6", "claude-sonnet-4-6"]},
            options=options("low", "medium", "high", "max"),
        ),
    ] = ""
    maxTokensToSample: Additional[int | None] = None
    topP: Additional[float | None] = None
    topK: Additional[int | None] = None

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a key."""
        where = await account(ctx, ANTHROPIC, credential=self.credential)
        headers = {"x-api-key": where.key, "anthropic-version": "2023-06-01"}
        endpoint = Endpoint(ctx.http, f"{where.base}/v1/messages", headers, where.key)
        options = set_values(self._options())
        return cached(
            self.cache, AnthropicChat(endpoint, options, image_policy(self.allowImageUploads)), endpoint.url, options
        )

    def _options(self) -> dict[str, Any]:
        most = self.maxTokensToSample or _ANSWER
        options: dict[str, Any] = {"model": self.modelName}
        if self.extendedThinking or self.adaptiveThinking:  # which takes no temperature and counts into the limit
            if self.adaptiveThinking:
                effort = {"output_config": {"effort": self.thinkingEffort}} if self.thinkingEffort else {}
                return {**options, "max_tokens": most, "thinking": {"type": "adaptive"}, **effort}
            budget = {"type": "enabled", "budget_tokens": self.budgetTokens}
            return {**options, "max_tokens": max(most, self.budgetTokens + 1024), "thinking": budget}
        # Its newer models refuse a temperature beside top_p; the latter is set only on purpose.
        temperature = self.temperature if self.topP is None else None
        return {**options, "max_tokens": most, "temperature": temperature, "top_p": self.topP, "top_k": self.topK}


class ChatAnthropicLlamaIndex(ChatAnthropic, frozen=True, kw_only=True, tag="chatAnthropic_LlamaIndex"):
    """Anthropic's Claude, as the node for engines."""

    info = NodeInfo(
        label="ChatAnthropic",
        version=3,
        type="ChatAnthropic",
        credentials=("anthropicApi",),
        bases=("BaseChatModel_LlamaIndex", "BaseLLM"),
    )

    modelName: Annotated[str, Input(loadMethod="listModels")] = "claude-3-haiku"


NODES = (ChatAnthropic, ChatAnthropicLlamaIndex)
