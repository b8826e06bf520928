"""The older models without a chat ("LLMs" in the builder): they take one text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.node import Context, Node
from headrace.engine.ports import Cache, ChatModel
from headrace.errors import FlowError
from headrace.nodes.accounts import account
from headrace.nodes.caches import cached
from headrace.nodes.chat_models.ollama import ChatOllama
from headrace.nodes.chat_models.openai import Place, azure_place
from headrace.nodes.providers import AZURE, HUGGING_FACE, OPENAI, REPLICATE, Provider
from headrace.providers.completions import CompletionChat, CompletionParser, GenerationParser
from headrace.providers.endpoint import Endpoint, set_values
from headrace.providers.openai import OpenAIChat, Quirks
from headrace.providers.replicate import ReplicateChat


class OpenAI(Node, frozen=True, kw_only=True, tag="openAI"):
    """OpenAI's completions, and any server that has them."""

    info = NodeInfo(version=4, category="LLMs", credentials=("openAIApi",))

    provider: ClassVar[Provider] = OPENAI

    credential: str = ""
    cache: Cache | None = None
    modelName: Annotated[str, Input(loadMethod="listModels")] = "gpt-3.5-turbo-instruct"
    temperature: float | None = 0.7
    maxTokens: Additional[int | None] = None
    topP: Additional[float | None] = None
    bestOf: Additional[int | None] = None
    frequencyPenalty: Additional[float | None] = None
    presencePenalty: Additional[float | None] = None
    timeout: Additional[float | None] = None
    """Milliseconds for the whole answer."""
    basepath: Additional[str] = ""
    baseOptions: Additional[dict[str, Any]] = {}
    """Headers to send with every request."""

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a key."""
        place = await self._place(ctx)
        headers = {**place.headers, **{name: str(value) for name, value in self.baseOptions.items()}}
        endpoint = Endpoint(ctx.http, place.url, headers, place.key, self.timeout / 1000 if self.timeout else None)
        options = self._options()

        def body_of(prompt: str, stop: Sequence[str]) -> dict[str, Any]:
            ends = {"stop": list(stop)} if stop else {}
            return {**options, **ends, "prompt": prompt, "stream": True, "stream_options": {"include_usage": True}}

        return cached(self.cache, CompletionChat(endpoint, body_of, CompletionParser), endpoint.url, options)

    async def _place(self, ctx: Context) -> Place:
        where = await account(ctx, OPENAI, base=self.basepath, credential=self.credential)
        return Place(f"{where.base}/completions", where.key)

    def _options(self) -> dict[str, Any]:
        options = {
            "model": self.modelName,
            "temperature": self.temperature,
            "max_tokens": self.maxTokens,
            "top_p": self.topP,
            "best_of": self.bestOf,
            "frequency_penalty": self.frequencyPenalty,
            "presence_penalty": self.presencePenalty,
        }
        return set_values(options)


class AzureOpenAI(OpenAI, frozen=True, kw_only=True, tag="azureOpenAI"):
    """OpenAI's completions on Azure."""

    info = NodeInfo(version=4, category="LLMs", credentials=("azureOpenAIApi",))

    provider: ClassVar[Provider] = AZURE

    async def _place(self, ctx: Context) -> Place:
        return await azure_place(ctx, AZURE, self.basepath, self.credential, self.modelName, "completions")


class Ollama(ChatOllama, frozen=True, kw_only=True, tag="ollama"):
    """Models that Ollama serves. The text goes in as a single message, which Ollama puts into the model's template."""

    info = NodeInfo(version=2.1, category="LLMs")


class HuggingFaceInference(Node, frozen=True, kw_only=True, tag="huggingFaceInference_LLMs"):
    """Models of Hugging Face: by its router, or on an inference endpoint of one's own."""

    info = NodeInfo(
        streams=False,
        label="HuggingFace Inference",
        version=2,
        category="LLMs",
        type="HuggingFaceInference",
        credentials=("huggingFaceApi",),
    )

    provider: ClassVar[Provider] = HUGGING_FACE

    credential: str = ""
    cache: Cache | None = None
    model: str = ""
    endpoint: str = ""
    """The address of an inference endpoint; without it the router is asked for `model`."""
    temperature: Additional[float | None] = None
    maxTokens: Additional[int | None] = None
    topP: Additional[float | None] = None
    hfTopK: Additional[int | None] = None
    frequencyPenalty: Additional[float | None] = None

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a model or a key."""
        if not self.model and not self.endpoint:
            raise FlowError("the Hugging Face node has no model: name one, or the address of an inference endpoint")
        where = await account(ctx, HUGGING_FACE, base=self.endpoint, credential=self.credential)
        headers = {"Authorization": f"Bearer {where.key}"} if where.key else {}
        if self.endpoint:
            return self._generation(Endpoint(ctx.http, where.base, headers, where.key))
        endpoint = Endpoint(ctx.http, f"{where.base}/chat/completions", headers, where.key)
        options = set_values(
            {
                "model": self.model,
                "temperature": self.temperature,
                "max_tokens": self.maxTokens,
                "top_p": self.topP,
                "frequency_penalty": self.frequencyPenalty,
            }
        )
        return cached(self.cache, OpenAIChat(endpoint, options, Quirks()), endpoint.url, options)

    def _generation(self, endpoint: Endpoint) -> ChatModel:
        parameters = set_values(
            {
                "temperature": self.temperature,
                "max_new_tokens": self.maxTokens,
                "top_p": self.topP,
                "top_k": self.hfTopK,
                "frequency_penalty": self.frequencyPenalty,
                "return_full_text": False,
            }
        )

        def body_of(prompt: str, stop: Sequence[str]) -> dict[str, Any]:
            ends = {"stop": list(stop)} if stop else {}
            return {"inputs": prompt, "parameters": {**parameters, **ends}, "stream": True}

        return cached(self.cache, CompletionChat(endpoint, body_of, GenerationParser), endpoint.url, parameters)


class Replicate(Node, frozen=True, kw_only=True, tag="replicate"):
    """Models of Replicate, named `owner/model` or `owner/model:version`."""

    info = NodeInfo(
        streams=False,
        version=2,
        category="LLMs",
        credentials=("replicateApi",),
        bases=("BaseChatModel", "LLM", "BaseLLM", "BaseLanguageModel", "Runnable"),
    )

    provider: ClassVar[Provider] = REPLICATE

    credential: str = ""
    cache: Cache | None = None
    model: str = ""
    temperature: float | None = 0.7
    maxTokens: Additional[int | None] = None
    topP: Additional[float | None] = None
    repetitionPenalty: Additional[float | None] = None
    additionalInputs: Additional[dict[str, Any]] = {}

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a model or a key."""
        name, _, version = self.model.partition(":")
        if name.count("/") != 1:
            raise FlowError(f"the Replicate node's model must be `owner/model` or `owner/model:version`, not {name!r}")
        where = await account(ctx, REPLICATE, credential=self.credential)
        place = "predictions" if version else f"models/{name}/predictions"
        headers = {"Authorization": f"Bearer {where.key}"}
        endpoint = Endpoint(ctx.http, f"{where.base}/v1/{place}", headers, where.key)
        values = {
            "temperature": self.temperature,
            "max_length": self.maxTokens,
            "top_p": self.topP,
            "repetition_penalty": self.repetitionPenalty,
            **self.additionalInputs,
        }
        options = set_values(values)
        return cached(self.cache, ReplicateChat(endpoint, version, options), endpoint.url + version, options)


NODES = (OpenAI, AzureOpenAI, Ollama, HuggingFaceInference, Replicate)
