"""Embeddings. Each record builds its provider's dialect; the calls are in `headrace.providers.embeddings`.

A credential's key goes where the flow says. The server's own key, from its environment, goes only to the provider's
own address, to the address that its operator set, or stays on the machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.credentials import KINDS, CredentialKind
from headrace.engine.node import Context, Node
from headrace.engine.ports import Embeddings
from headrace.errors import FlowError
from headrace.nodes.accounts import account, is_loopback
from headrace.nodes.providers import AZURE, COHERE, GOOGLE, JINA, MISTRAL, OLLAMA, OPENAI, TOGETHER
from headrace.providers.embeddings import Dialect, HttpEmbeddings, cohere, google, ollama, openai
from headrace.providers.hashed import HashedEmbeddings
from headrace.retrieval.library import library

_VOYAGE_KIND = KINDS["voyageAIApi"]
_VOYAGE = _VOYAGE_KIND.field("endpoint").default
_AZURE_EMBEDDINGS = "AZURE_OPENAI_API_EMBEDDINGS_DEPLOYMENT_NAME"
"""The variable that only embeddings read, before the one of all deployments."""
_MOST_DIMENSIONS = 4096
_INSTANCE = re.compile(r"[A-Za-z0-9-]+")


class _Model(Node, frozen=True, kw_only=True):
    """The shared part of all embeddings."""

    info = NodeInfo(category="Embeddings")

    credential: str = ""

    async def _secrets(self, ctx: Context) -> Mapping[str, str]:
        return await ctx.secrets(self.credential) if self.credential else {}

    async def _key(self, ctx: Context, kind: CredentialKind, base: str, own: str) -> str:
        if self.credential:
            return (await self._secrets(ctx)).get(kind.key.name, "").strip()  # pasted with its line break
        if base.rstrip("/") != own.rstrip("/") and not is_loopback(base):
            return ""
        return kind.key.own(ctx.environ)


def _kept(ctx: Context, provider: str, model: str, dialect: Dialect, **options: Any) -> Embeddings:
    """The embeddings with their vectors kept. Their name holds all that decides what a vector is."""
    try:
        host = urlsplit(dialect.url).netloc.rpartition("@")[2]
    except ValueError:
        host = ""
    lines = "on one line" if options.get("strip_lines") else ""
    name = " ".join(filter(None, (provider, model, str(options.pop("settings", "")), lines, f"at {host}")))
    return library(ctx).cached(HttpEmbeddings(ctx.http, name, dialect, **options))


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _must_have(key: str, model: str, node: str, kind: CredentialKind) -> None:
    if not key:
        variable = kind.key.variables[0]
        raise FlowError(f"{model!r} needs a key: connect a credential to the {node} node, or set {variable}")


class OpenAIEmbeddings(_Model, frozen=True, kw_only=True, tag="openAIEmbeddings"):
    """OpenAI's embeddings, and any server that speaks their protocol (`basepath`)."""

    info = NodeInfo(label="OpenAI Embedding", version=4, credentials=("openAIApi",))

    modelName: Annotated[str, Input(loadMethod="listModels")] = "text-embedding-ada-002"
    stripNewLines: Additional[bool] = False
    batchSize: Additional[int] = 512
    timeout: Additional[float | None] = None
    """Milliseconds for one call."""
    basepath: Additional[str] = ""
    baseOptions: Additional[dict[str, Any]] = {}
    """Headers to send with every request."""
    dimensions: Additional[int | None] = None
    encodingFormat: Additional[Literal["float", "base64"]] = "base64"

    async def build(self, ctx: Context) -> Embeddings:
        """The embeddings. Raises FlowError when OpenAI itself is asked for without a key."""
        own = ctx.environ.get(OPENAI.base_environ) or OPENAI.base
        base = self.basepath or own
        key = await self._key(ctx, OPENAI.kind, base, own)
        if base == OPENAI.base:
            _must_have(key, self.modelName, "OpenAI Embeddings", OPENAI.kind)
        options = {"model": self.modelName, "dimensions": self.dimensions, "encoding_format": self.encodingFormat}
        dialect = openai(
            f"{base.rstrip('/')}/embeddings",
            {name: str(value) for name, value in self.baseOptions.items()} | _bearer(key),
            {name: value for name, value in options.items() if value is not None},
        )
        return _kept(
            ctx,
            "openai",
            self.modelName,
            dialect,
            settings=self.dimensions or "",
            secret=key,
            batch=self.batchSize,
            strip_lines=self.stripNewLines,
            timeout=self.timeout / 1000 if self.timeout else None,
        )


class OpenAIEmbeddingsCustom(OpenAIEmbeddings, frozen=True, kw_only=True, tag="openAIEmbeddingsCustom"):
    """The same with a model that no list names."""

    info = NodeInfo(label="OpenAI Custom Embedding", version=3, credentials=("openAIApi",))

    modelName: str = "text-embedding-ada-002"


class OpenAIEmbeddingForEngines(OpenAIEmbeddings, frozen=True, kw_only=True, tag="openAIEmbedding_LlamaIndex"):
    """OpenAI's embeddings, as the node for engines."""

    info = NodeInfo(
        label="OpenAI Embedding",
        version=2,
        type="OpenAIEmbedding",
        credentials=("openAIApi",),
        bases=("BaseEmbedding_LlamaIndex", "BaseEmbedding"),
    )


class AzureOpenAIEmbeddings(_Model, frozen=True, kw_only=True, tag="azureOpenAIEmbeddings"):
    """OpenAI's embeddings on Azure. Instance, deployment and version are in the credential, or in the environment."""

    info = NodeInfo(label="Azure OpenAI Embedding", version=2, credentials=("azureOpenAIApi",))

    batchSize: Additional[int] = 100
    timeout: Additional[float | None] = None
    """Milliseconds for one call."""
    basepath: Additional[str] = ""
    """Address of the deployments, in place of the instance's own: `https://host/openai/deployments`."""
    baseOptions: Additional[dict[str, Any]] = {}
    """Headers to send with every request."""

    async def build(self, ctx: Context) -> Embeddings:
        """The embeddings. Raises FlowError for what is missing."""
        secrets = await self._secrets(ctx)

        def found(field: str, first: str = "") -> str:
            own = first or AZURE.kind.field(field).own(ctx.environ)
            return (secrets.get(field, "") or (own if not self.credential else "")).strip()

        deployment = found("azureOpenAIApiDeploymentName", ctx.environ.get(_AZURE_EMBEDDINGS, ""))
        version = found("azureOpenAIApiVersion")
        instance = found("azureOpenAIApiInstanceName")
        own = f"https://{instance}.openai.azure.com/openai/deployments" if _INSTANCE.fullmatch(instance) else ""
        base = self.basepath or own
        if not (deployment and version and base):
            raise FlowError(
                "Azure's embeddings need an instance, a deployment and a version: connect a credential, or set "
                "AZURE_OPENAI_API_INSTANCE_NAME, AZURE_OPENAI_API_DEPLOYMENT_NAME and AZURE_OPENAI_API_VERSION"
            )
        key = await self._key(ctx, AZURE.kind, base, own)
        _must_have(key, deployment, "Azure OpenAI Embeddings", AZURE.kind)
        url = f"{base.rstrip('/')}/{quote(deployment, safe='')}/embeddings?api-version={quote(version, safe='')}"
        headers = {name: str(value) for name, value in self.baseOptions.items()} | {"api-key": key}
        dialect = openai(url, headers, {"encoding_format": "base64"})
        timeout = self.timeout / 1000 if self.timeout else None
        return _kept(ctx, "azure", deployment, dialect, secret=key, batch=self.batchSize, timeout=timeout)


class AzureOpenAIEmbeddingsForEngines(
    AzureOpenAIEmbeddings, frozen=True, kw_only=True, tag="azureOpenAIEmbeddingsLlamaIndex"
):
    """OpenAI's embeddings on Azure, as the node for engines."""

    info = NodeInfo(
        label="Azure OpenAI Embeddings",
        type="AzureOpenAIEmbeddings",
        credentials=("azureOpenAIApi",),
        bases=("BaseEmbedding_LlamaIndex", "BaseEmbedding"),
    )


class MistralAIEmbeddings(_Model, frozen=True, kw_only=True, tag="mistralAIEmbeddings"):
    """Mistral's embeddings."""

    info = NodeInfo(label="MistralAI Embedding", version=2, credentials=("mistralAIApi",))

    modelName: Annotated[str, Input(loadMethod="listModels")] = "mistral-embed"
    batchSize: Additional[int] = 512
    stripNewLines: Additional[bool] = True
    overrideEndpoint: Additional[str] = ""

    async def build(self, ctx: Context) -> Embeddings:
        """The embeddings. Raises FlowError without a key."""
        base = self.overrideEndpoint or MISTRAL.base
        base = base if base.rstrip("/").endswith("/v1") else f"{base.rstrip('/')}/v1"
        key = await self._key(ctx, MISTRAL.kind, base, MISTRAL.base)
        if base == MISTRAL.base:
            _must_have(key, self.modelName, "MistralAI Embeddings", MISTRAL.kind)
        dialect = openai(f"{base.rstrip('/')}/embeddings", _bearer(key), {"model": self.modelName})
        return _kept(
            ctx,
            "mistral",
            self.modelName,
            dialect,
            secret=key,
            batch=self.batchSize,
            strip_lines=self.stripNewLines,
        )


class LocalAIEmbeddings(_Model, frozen=True, kw_only=True, tag="localAIEmbeddings"):
    """Embeddings of a LocalAI server."""

    info = NodeInfo(label="LocalAI Embedding", type="LocalAI Embeddings", credentials=("localAIApi",))

    basePath: str
    modelName: str

    async def build(self, ctx: Context) -> Embeddings:
        """The embeddings."""
        key = (await self._secrets(ctx)).get("localAIApiKey", "").strip()
        dialect = openai(f"{self.basePath.rstrip('/')}/embeddings", _bearer(key), {"model": self.modelName})
        return _kept(ctx, "localai", self.modelName, dialect, secret=key)


class OllamaEmbedding(_Model, frozen=True, kw_only=True, tag="ollamaEmbedding"):
    """Embeddings of an Ollama server."""

    info = NodeInfo(version=2, type="OllamaEmbeddings")

    baseUrl: str = OLLAMA.base
    modelName: str
    numGpu: Additional[int | None] = None
    numThread: Additional[int | None] = None
    useMMap: Additional[bool] = True

    async def build(self, ctx: Context) -> Embeddings:
        """The embeddings."""
        key = (await self._secrets(ctx)).get("ollamaApiKey", "").strip()
        options = {"num_gpu": self.numGpu, "num_thread": self.numThread, "use_mmap": self.useMMap}
        given = {name: value for name, value in options.items() if value is not None}
        dialect = ollama(self.baseUrl, _bearer(key), self.modelName, given)
        return _kept(ctx, "ollama", self.modelName, dialect, secret=key, batch=64)


class GoogleGenerativeAiEmbeddings(_Model, frozen=True, kw_only=True, tag="googleGenerativeAiEmbeddings"):
    """Google's embeddings. `GOOGLE_BASE_URL` names another address for all flows."""

    info = NodeInfo(label="Google Gemini Embedding", version=2, credentials=("googleGenerativeAI",))

    modelName: Annotated[str, Input(loadMethod="listModels")] = "gemini-embedding-001"
    tasktype: Literal[
        "TASK_TYPE_UNSPECIFIED",
        "RETRIEVAL_QUERY",
        "RETRIEVAL_DOCUMENT",
        "SEMANTIC_SIMILARITY",
        "CLASSIFICATION",
        "CLUSTERING",
    ] = "TASK_TYPE_UNSPECIFIED"
    stripNewLines: Additional[bool] = False

    async def build(self, ctx: Context) -> Embeddings:
        """The embeddings. Raises FlowError without a key."""
        base = ctx.environ.get(GOOGLE.base_environ) or GOOGLE.base
        key = await self._key(ctx, GOOGLE.kind, base, base)
        _must_have(key, self.modelName, "Google Generative AI Embeddings", GOOGLE.kind)
        task = "" if self.tasktype == "TASK_TYPE_UNSPECIFIED" else self.tasktype
        dialect = google(base, {"x-goog-api-key": key}, quote(self.modelName, safe="/"), task)
        return _kept(
            ctx,
            "google",
            self.modelName,
            dialect,
            settings=task,
            secret=key,
            batch=100,
            strip_lines=self.stripNewLines,
        )


class CohereEmbeddings(_Model, frozen=True, kw_only=True, tag="cohereEmbeddings"):
    """Cohere's embeddings. `COHERE_BASE_URL` names another address for all flows."""

    info = NodeInfo(label="Cohere Embedding", version=3, credentials=("cohereApi",))

    modelName: Annotated[str, Input(loadMethod="listModels")] = "embed-english-v2.0"
    inputType: Literal["search_document", "search_query", "classification", "clustering"] = "search_query"

    async def build(self, ctx: Context) -> Embeddings:
        """The embeddings. Raises FlowError without a key."""
        base = ctx.environ.get(COHERE.base_environ) or COHERE.base
        key = await self._key(ctx, COHERE.kind, base, base)
        _must_have(key, self.modelName, "Cohere Embeddings", COHERE.kind)
        dialect = cohere(base, _bearer(key), self.modelName, self.inputType)
        return _kept(ctx, "cohere", self.modelName, dialect, settings=self.inputType, secret=key, batch=96)


class VoyageAIEmbeddings(_Model, frozen=True, kw_only=True, tag="voyageAIEmbeddings"):
    """Voyage's embeddings."""

    info = NodeInfo(label="VoyageAI Embedding", version=2, credentials=("voyageAIApi",))

    modelName: Annotated[str, Input(loadMethod="listModels")] = "voyage-2"

    async def build(self, ctx: Context) -> Embeddings:
        """The embeddings. Raises FlowError without a key."""
        url = (await self._secrets(ctx)).get("endpoint", "").strip() or _VOYAGE
        key = await self._key(ctx, _VOYAGE_KIND, url, _VOYAGE)
        if url == _VOYAGE:
            _must_have(key, self.modelName, "VoyageAI Embeddings", _VOYAGE_KIND)
        dialect = openai(url, _bearer(key), {"model": self.modelName})
        return _kept(ctx, "voyage", self.modelName, dialect, secret=key, batch=128)


class TogetherAIEmbedding(_Model, frozen=True, kw_only=True, tag="togetherAIEmbedding"):
    """Together AI's embeddings."""

    info = NodeInfo(label="TogetherAI Embedding", type="TogetherAIEmbedding", credentials=("togetherAIApi",))

    modelName: str

    async def build(self, ctx: Context) -> Embeddings:
        """The embeddings. Raises FlowError without a key."""
        at = await account(ctx, TOGETHER, credential=self.credential)
        dialect = openai(f"{at.base}/embeddings", _bearer(at.key), {"model": self.modelName})
        return _kept(ctx, "together", self.modelName, dialect, secret=at.key, batch=96)


class JinaEmbeddings(_Model, frozen=True, kw_only=True, tag="jinaEmbeddings"):
    """Jina AI's embeddings."""

    info = NodeInfo(label="Jina Embedding", version=3, type="JinaEmbeddings", credentials=("jinaAIApi",))

    modelName: str = "jina-embeddings-v3"
    modelDimensions: Annotated[int, Input(label="Dimensions")] = 1024
    allowLateChunking: bool = False

    async def build(self, ctx: Context) -> Embeddings:
        """The embeddings. Raises FlowError without a key."""
        at = await account(ctx, JINA, credential=self.credential)
        options = {"model": self.modelName, "dimensions": self.modelDimensions}
        late = {"late_chunking": True} if self.allowLateChunking else {}
        dialect = openai(f"{at.base}/v1/embeddings", _bearer(at.key), {**options, **late})
        settings = f"{self.modelDimensions}{' late' if late else ''}"
        return _kept(ctx, "jina", self.modelName, dialect, settings=settings, secret=at.key, batch=96)


class Hashed(Node, frozen=True, kw_only=True, tag="hashedEmbeddings"):
    """The built-in embeddings: words and related words of English, hashed. They need no key and no network."""

    dimensions: int = 512

    async def build(self, ctx: Context) -> Embeddings:
        """The embeddings. Raises FlowError for dimensions that cannot be."""
        if not 1 <= self.dimensions <= _MOST_DIMENSIONS:
            raise FlowError(f"{self.dimensions} dimensions cannot be: give 1 to {_MOST_DIMENSIONS}")
        return HashedEmbeddings(self.dimensions)


NODES = (
    OpenAIEmbeddings,
    OpenAIEmbeddingsCustom,
    OpenAIEmbeddingForEngines,
    AzureOpenAIEmbeddings,
    AzureOpenAIEmbeddingsForEngines,
    OllamaEmbedding,
    MistralAIEmbeddings,
    GoogleGenerativeAiEmbeddings,
    LocalAIEmbeddings,
    CohereEmbeddings,
    VoyageAIEmbeddings,
    TogetherAIEmbedding,
    JinaEmbeddings,
    Hashed,
)
