"""Chat models with protocols of their own. Those that speak OpenAI's are in `openai_models`."""

from __future__ import annotations

from typing import Any, ClassVar, Final
from urllib.parse import quote

from headrace.engine.node import Context, Node
from headrace.engine.ports import Cache, ChatModel, Images
from headrace.errors import FlowError
from headrace.nodes.accounts import account, is_loopback, secrets, words
from headrace.nodes.caches import cached
from headrace.nodes.providers import ANTHROPIC, BEDROCK, COHERE, GOOGLE, OLLAMA, VERTEX, Provider
from headrace.providers.anthropic import AnthropicChat
from headrace.providers.arithmetic import ArithmeticChat
from headrace.providers.bedrock import AwsKey, BedrockChat
from headrace.providers.cohere import CohereChat
from headrace.providers.endpoint import Endpoint, set_values
from headrace.providers.extractive import ExtractiveChat
from headrace.providers.fallback import FallbackChat
from headrace.providers.google import GoogleChat
from headrace.providers.ollama import OllamaChat
from headrace.providers.vertex import service_account

_ANSWER: Final = 4096  # tokens: Anthropic wants a limit in every request


def _images(allowed: bool) -> Images:
    return "with the question" if allowed else "refused"


class ChatAnthropic(Node, frozen=True, kw_only=True, tag="chatAnthropic"):
    """Anthropic's Claude."""

    provider: ClassVar[Provider] = ANTHROPIC

    credential: str = ""
    cache: Cache | None = None
    modelName: str = "claude-haiku-4-5"
    temperature: float | None = 0.9
    streaming: bool = True
    allowImageUploads: bool = False
    extendedThinking: bool = False
    budgetTokens: int = 1024
    adaptiveThinking: bool = False
    thinkingEffort: str = ""
    maxTokensToSample: int | None = None
    topP: float | None = None
    topK: int | None = None

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a key."""
        where = await account(ctx, ANTHROPIC, credential=self.credential)
        headers = {"x-api-key": where.key, "anthropic-version": "2023-06-01"}
        endpoint = Endpoint(ctx.http, f"{where.base}/v1/messages", headers, where.key)
        options = set_values(self._options())
        return cached(
            self.cache, AnthropicChat(endpoint, options, _images(self.allowImageUploads)), endpoint.url, options
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

    modelName: str = "claude-3-haiku"


class ChatGoogleGenerativeAI(Node, frozen=True, kw_only=True, tag="chatGoogleGenerativeAI"):
    """Google's Gemini, by its developers' API."""

    provider: ClassVar[Provider] = GOOGLE

    credential: str = ""
    cache: Cache | None = None
    modelName: str = "gemini-1.5-flash-latest"
    customModelName: str = ""
    temperature: float | None = 0.9
    streaming: bool = True
    allowImageUploads: bool = False
    thinkingBudget: int | None = None
    thinkingLevel: str = ""
    maxOutputTokens: int | None = None
    topP: float | None = None
    topK: int | None = None
    seed: int | None = None
    safetySettings: list[dict[str, str]] = []
    """Each `{harmCategory, harmBlockThreshold}`."""
    baseUrl: str = ""

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a key."""
        where = await account(ctx, GOOGLE, base=self.baseUrl, credential=self.credential)
        base = where.base if where.base.endswith(("/v1", "/v1beta")) else f"{where.base}/v1beta"
        model = quote((self.customModelName or self.modelName).removeprefix("models/"), safe="")
        url = f"{base}/models/{model}:streamGenerateContent?alt=sse"
        endpoint = Endpoint(ctx.http, url, {"x-goog-api-key": where.key}, where.key)
        options = self._body()
        return cached(self.cache, GoogleChat(endpoint, options, _images(self.allowImageUploads)), endpoint.url, options)

    def _body(self) -> dict[str, Any]:
        generation = {
            "temperature": self.temperature,
            "maxOutputTokens": self.maxOutputTokens,
            "topP": self.topP,
            "topK": self.topK,
            "seed": self.seed,
        }
        thinking = set_values({"thinkingBudget": self.thinkingBudget, "thinkingLevel": self.thinkingLevel or None})
        body: dict[str, Any] = {"generationConfig": set_values(generation)}
        if thinking:
            body["generationConfig"]["thinkingConfig"] = {**thinking, "includeThoughts": True}
        if self.safetySettings:
            body["safetySettings"] = [
                {"category": setting.get("harmCategory", ""), "threshold": setting.get("harmBlockThreshold", "")}
                for setting in self.safetySettings
            ]
        return body


class ChatGoogleVertexAI(ChatGoogleGenerativeAI, frozen=True, kw_only=True, tag="chatGoogleVertexAI"):
    """Google's Gemini on Vertex AI, with a service account's key."""

    provider: ClassVar[Provider] = VERTEX

    modelName: str = "gemini-2.5-flash"
    region: str = ""

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a service account."""
        signer = service_account(ctx.http, await secrets(ctx, self.credential), ctx.environ)
        region = self.region or "us-central1"
        own = (
            "https://aiplatform.googleapis.com" if region == "global" else f"https://{region}-aiplatform.googleapis.com"
        )
        base = ctx.environ.get(VERTEX.base_environ) or own
        model = quote(self.customModelName or self.modelName, safe="")
        place = f"v1/projects/{signer.project}/locations/{region}/publishers/google/models/{model}"
        endpoint = Endpoint(ctx.http, f"{base}/{place}:streamGenerateContent?alt=sse")
        options = self._body()
        chat = GoogleChat(endpoint, options, _images(self.allowImageUploads), signer.token)
        return cached(self.cache, chat, endpoint.url, options)


class ChatOllama(Node, frozen=True, kw_only=True, tag="chatOllama"):
    """Models that Ollama serves."""

    provider: ClassVar[Provider] = OLLAMA

    credential: str = ""
    cache: Cache | None = None
    baseUrl: str = ""
    modelName: str = ""
    temperature: float | None = 0.9
    streaming: bool = True
    allowImageUploads: bool = False
    think: bool = False
    jsonMode: bool = False
    keepAlive: str = "5m"
    topP: float | None = None
    topK: int | None = None
    mirostat: int | None = None
    mirostatEta: float | None = None
    mirostatTau: float | None = None
    numCtx: int | None = None
    numGpu: int | None = None
    numThread: int | None = None
    repeatLastN: int | None = None
    repeatPenalty: float | None = None
    stop: str = ""
    seed: int | None = None
    tfsZ: float | None = None

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError when no model is named."""
        if not self.modelName:
            raise FlowError("the Ollama node has no model: name one that `ollama list` shows")
        where = await account(ctx, OLLAMA, base=self.baseUrl, credential=self.credential)
        headers = {"Authorization": f"Bearer {where.key}"} if where.key else {}
        endpoint = Endpoint(ctx.http, f"{where.base}/api/chat", headers, where.key)
        options = self._body()
        return cached(self.cache, OllamaChat(endpoint, options, _images(self.allowImageUploads)), endpoint.url, options)

    def _body(self) -> dict[str, Any]:
        sampling = {
            "temperature": self.temperature,
            "top_p": self.topP,
            "top_k": self.topK,
            "mirostat": self.mirostat,
            "mirostat_eta": self.mirostatEta,
            "mirostat_tau": self.mirostatTau,
            "num_ctx": self.numCtx,
            "num_gpu": self.numGpu,
            "num_thread": self.numThread,
            "repeat_last_n": self.repeatLastN,
            "repeat_penalty": self.repeatPenalty,
            "stop": words(self.stop),
            "seed": self.seed,
            "tfs_z": self.tfsZ,
        }
        body = {
            "model": self.modelName,
            "options": set_values(sampling),
            "keep_alive": self.keepAlive or None,
            "think": self.think or None,  # models that cannot think refuse the very word
            "format": "json" if self.jsonMode else None,
        }
        return set_values(body)


class ChatOllamaLlamaIndex(ChatOllama, frozen=True, kw_only=True, tag="chatOllama_LlamaIndex"):
    """Models that Ollama serves, as the node for engines."""


class ChatCohere(Node, frozen=True, kw_only=True, tag="chatCohere"):
    """Cohere's Command models."""

    provider: ClassVar[Provider] = COHERE

    credential: str = ""
    cache: Cache | None = None
    modelName: str = "command-r7b-12-2024"
    temperature: float | None = 0.7
    seed: int | None = None
    streaming: bool = True

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a key."""
        where = await account(ctx, COHERE, credential=self.credential)
        endpoint = Endpoint(ctx.http, f"{where.base}/v2/chat", {"Authorization": f"Bearer {where.key}"}, where.key)
        options = set_values({"model": self.modelName, "temperature": self.temperature, "seed": self.seed})
        return cached(self.cache, CohereChat(endpoint, options), endpoint.url, options)


class AwsChatBedrock(Node, frozen=True, kw_only=True, tag="awsChatBedrock"):
    """Models on AWS Bedrock, by its Converse API. Needs the extra `bedrock`."""

    provider: ClassVar[Provider] = BEDROCK

    credential: str = ""
    cache: Cache | None = None
    region: str = "us-east-1"
    model: str = "anthropic.claude-haiku-4-5-20251001-v1:0"
    customModel: str = ""
    endpointHost: str = ""
    streaming: bool = True
    allowImageUploads: bool = False
    temperature: float | None = 0.7
    max_tokens_to_sample: int | None = 200
    latencyOptimized: bool = False
    useGlobalEndpoint: bool = False

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a key or without botocore."""
        host = self.endpointHost and (
            self.endpointHost if "://" in self.endpointHost else f"https://{self.endpointHost}"
        )
        own = ctx.environ.get(BEDROCK.base_environ) or f"https://bedrock-runtime.{self.region}.amazonaws.com"
        model = self.customModel or (f"global.{self.model}" if self.useGlobalEndpoint else self.model)
        # The signature is over the path as it is sent, and colons are sent as they are.
        endpoint = Endpoint(ctx.http, f"{(host or own).rstrip('/')}/model/{quote(model, safe=':')}/converse-stream")
        options: dict[str, Any] = {
            "inferenceConfig": set_values({"maxTokens": self.max_tokens_to_sample, "temperature": self.temperature})
        }
        if self.latencyOptimized:
            options["performanceConfig"] = {"latency": "optimized"}
        key = await self._key(ctx, not host or is_loopback(host))
        chat = BedrockChat(endpoint, self.region, key, options, _images(self.allowImageUploads))
        return cached(self.cache, chat, endpoint.url, options)

    async def _key(self, ctx: Context, may_use_own: bool) -> AwsKey:
        fields = await secrets(ctx, self.credential)
        if fields.get("roleArn"):
            raise FlowError("the AWS Bedrock node cannot assume a role yet: give its credential an access key")
        key = AwsKey(fields.get("awsKey", ""), fields.get("awsSecret", ""), fields.get("awsSession", ""))
        if not self.credential and may_use_own:
            names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
            key = AwsKey(*(ctx.environ.get(name, "") for name in names))
        if not key.key or not key.secret:
            raise FlowError(
                "AWS Bedrock needs a key: connect a credential to the AWS Bedrock node, or set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY"
            )
        return key


class ChatExtractive(Node, frozen=True, kw_only=True, tag="chatExtractive"):
    """The built-in model: quotes its context, needs no key and no network."""

    sentences: int = 3

    async def build(self, ctx: Context) -> ExtractiveChat:
        """The model itself."""
        return ExtractiveChat(self.sentences)


class ChatArithmetic(Node, frozen=True, kw_only=True, tag="chatArithmetic"):
    """The built-in model for tools: knows arithmetic and questions about date and time by their words; needs no key."""

    async def build(self, ctx: Context) -> ArithmeticChat:
        """The model itself."""
        return ArithmeticChat()


class ChatFallback(Node, frozen=True, kw_only=True, tag="chatFallback"):
    """Asks the first of its models, and the next one when that fails before its first word."""

    models: list[ChatModel]

    async def build(self, ctx: Context) -> ChatModel:
        """The models as one."""
        return FallbackChat(self.models)


NODES = (
    ChatAnthropic,
    ChatAnthropicLlamaIndex,
    ChatGoogleGenerativeAI,
    ChatGoogleVertexAI,
    ChatOllama,
    ChatOllamaLlamaIndex,
    ChatCohere,
    AwsChatBedrock,
    ChatExtractive,
    ChatArithmetic,
    ChatFallback,
)
