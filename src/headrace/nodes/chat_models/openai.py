"""The way chat models speak OpenAI's protocol, and the providers whose way differs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, NamedTuple
from urllib.parse import quote

import msgspec

from headrace.engine.annotations import Additional, Input, Legacy, NodeInfo, options
from headrace.engine.node import Context, Node
from headrace.engine.ports import Cache, ChatModel
from headrace.errors import FlowError
from headrace.nodes.accounts import account, secrets, words
from headrace.nodes.caches import cached
from headrace.nodes.providers import Provider
from headrace.providers.endpoint import Endpoint, set_values
from headrace.providers.openai import OpenAIChat, Quirks

# These models take no temperature and stop words, count reasoning into max_completion_tokens, and call the system
# role "developer": https://platform.openai.com/docs/guides/reasoning
_REASONING: Final = re.compile(r"o\d|gpt-5(?!-chat)")

_AZURE_VERSION: Final = "2024-10-21"


class Row(msgspec.Struct, frozen=True):
    """A node type that speaks OpenAI's protocol, as far as it differs from the others."""

    node: str
    provider: Provider
    model: str = ""
    """The model when the flow names none."""
    temperature: float | None = 0.9
    quirks: Quirks = Quirks()
    names: Mapping[str, str] = {}
    """This node's names for inputs of `OpenAIModel`."""
    extras: Mapping[str, tuple[str, Any]] = {}
    """Inputs of its own: the name in the request's body, and the type."""
    info: NodeInfo = NodeInfo()
    lists_models: bool = False
    """Builders offer the account's models."""


class Place(NamedTuple):
    """The target of a model's calls: the whole address, the key, and headers; without any the key is a bearer's."""

    url: str
    key: str
    own_headers: Mapping[str, str] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers with the key."""
        if self.own_headers is not None:
            return self.own_headers
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


class OpenAIModel(Node, frozen=True, kw_only=True):
    """The shared part of this protocol's nodes."""

    info = NodeInfo(category="Chat Models")

    provider: ClassVar[Provider]
    row: ClassVar[Row]

    credential: str = ""
    cache: Cache | None = None
    modelName: str = ""
    temperature: float | None = None
    streaming: Additional[bool] = True
    allowImageUploads: bool = False
    maxTokens: Additional[int | None] = None
    topP: Additional[float | None] = None
    frequencyPenalty: Additional[float | None] = None
    presencePenalty: Additional[float | None] = None
    stopSequence: Additional[str] = ""
    seed: Additional[int | None] = None
    timeout: Additional[float | None] = None
    """Milliseconds for the whole answer."""
    basepath: Additional[str] = ""
    baseOptions: Additional[dict[str, Any]] = {}
    """Headers to send with every request."""

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError for a model or a key that is missing."""
        if not self.modelName:
            raise FlowError(f"the {self.provider.label} node has no model: choose one")
        place = await self._place(ctx)
        headers = {**place.headers, **{name: str(value) for name, value in self.baseOptions.items()}}
        endpoint = Endpoint(ctx.http, place.url, headers, place.key, self.timeout / 1000 if self.timeout else None)
        options = set_values(self._options())
        images = "after the question" if self.allowImageUploads else "refused"
        return cached(self.cache, OpenAIChat(endpoint, options, self._quirks, images), endpoint.url, options)

    async def _place(self, ctx: Context) -> Place:
        where = await account(ctx, self.provider, base=self.basepath, credential=self.credential)
        return Place(f"{where.base}/chat/completions", where.key)

    @property
    def _quirks(self) -> Quirks:
        return self.row.quirks

    def _options(self) -> dict[str, Any]:
        return {
            "model": self.modelName,
            "temperature": self.temperature,
            "max_tokens": self.maxTokens,
            "top_p": self.topP,
            "frequency_penalty": self.frequencyPenalty,
            "presence_penalty": self.presencePenalty,
            "stop": words(self.stopSequence),
            "seed": self.seed,
            **{body: getattr(self, name) for name, (body, _) in self.row.extras.items()},
        }


class OpenAIsOwn(OpenAIModel, frozen=True, kw_only=True):
    """OpenAI's own models, wherever they are served."""

    openAIApiKey: Legacy[str] = ""
    reasoningEffort: Annotated[str, Input(additionalParams=True, options=options("low", "medium", "high", "xhigh"))] = (
        ""
    )
    strictToolCalling: Additional[bool] = False
    imageResolution: Legacy[str] = ""

    async def _place(self, ctx: Context) -> Place:
        provider = self.provider
        where = await account(ctx, provider, base=self.basepath, key=self.openAIApiKey, credential=self.credential)
        return Place(f"{where.base}/chat/completions", where.key)

    @property
    def _reasons(self) -> bool:
        return bool(_REASONING.match(self.modelName))

    @property
    def _quirks(self) -> Quirks:
        return msgspec.structs.replace(
            self.row.quirks,
            system_role="developer" if self._reasons else "system",
            strict_tools=self.strictToolCalling,
            stop=not self._reasons,
            names=True,
            image_detail=self.imageResolution,
        )

    def _options(self) -> dict[str, Any]:
        options = super()._options()
        if self._reasons:
            options["max_completion_tokens"] = options.pop("max_tokens")
            options |= {"temperature": None, "stop": None, "reasoning_effort": self.reasoningEffort or None}
        return options


class Azure(OpenAIsOwn, frozen=True, kw_only=True):
    """OpenAI's models on Azure, where every deployment has an address of its own."""

    async def _place(self, ctx: Context) -> Place:
        return await azure_place(ctx, self.provider, self.basepath, self.credential, self.modelName, "chat/completions")


async def azure_place(ctx: Context, provider: Provider, base: str, credential: str, model: str, path: str) -> Place:
    """The address of a deployment on Azure: instance, name and API version of the credential or the environment."""
    fields = await secrets(ctx, credential)

    def setting(name: str) -> str:
        field = provider.kind.field(f"azureOpenAIApi{name}")
        return fields.get(field.name) or field.own(ctx.environ)

    if instance := setting("InstanceName"):
        provider = msgspec.structs.replace(provider, base=f"https://{instance}.openai.azure.com/openai/deployments")
    where = await account(ctx, provider, base=base, credential=credential)
    deployment = quote(setting("DeploymentName") or model, safe="")
    url = f"{where.base}/{deployment}/{path}?api-version={setting('Version') or _AZURE_VERSION}"
    return Place(url, where.key, {"api-key": where.key})


class Cloudflare(OpenAIModel, frozen=True, kw_only=True):
    """Cloudflare's models, whose address holds the account's id."""

    async def _place(self, ctx: Context) -> Place:
        fields = await secrets(ctx, self.credential)
        provider = self.provider
        account_id = provider.kind.field("cloudflareAccountId")
        number = fields.get(account_id.name) or account_id.own(ctx.environ)
        if number:
            provider = msgspec.structs.replace(provider, base=f"{provider.base}/accounts/{number}/ai/v1")
        where = await account(ctx, provider, base=self.basepath, credential=self.credential)
        return Place(f"{where.base}/chat/completions", where.key)


class Baidu(OpenAIModel, frozen=True, kw_only=True):
    """Baidu's models; the builder has a second input for those that it does not list."""

    customModelName: Additional[str] = ""

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "model": self.customModelName or self.modelName}


class Deepseek(OpenAIModel, frozen=True, kw_only=True):
    """DeepSeek's models, which think when they are told to."""

    thinking: Additional[bool] = False

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "thinking": {"type": "enabled"} if self.thinking else None}


class Sambanova(OpenAIModel, frozen=True, kw_only=True):
    """SambaNova's models. The builder fills in an address with a slip in it."""

    async def _place(self, ctx: Context) -> Place:
        base = self.basepath.replace("htps://", "https://", 1)
        where = await account(ctx, self.provider, base=base, credential=self.credential)
        return Place(f"{where.base}/chat/completions", where.key)
