"""Chat models that speak OpenAI's protocol: one row of a table each. A new one is a new row."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from headrace.engine.annotations import Input, NodeInfo
from headrace.nodes import providers
from headrace.nodes.chat_models.openai import (
    Azure,
    Baidu,
    Cloudflare,
    Deepseek,
    OpenAIModel,
    OpenAIsOwn,
    Row,
    Sambanova,
)
from headrace.providers.openai import Quirks

# OpenAI's node shows no reasoning, as in the builder.
_SILENT = Quirks(thinking=False)
_SCHEMA = Quirks(schemas="schema")
_XAI = Quirks(schemas="schema", stop=False)  # its reasoning models refuse a request that has stop words
_JSON = Quirks(schemas="json")
_MODEL = {"modelName": "model"}
_BASE = {"basepath": "basePath"}

ROWS: Final[tuple[tuple[type[OpenAIModel], Row], ...]] = (
    (
        OpenAIsOwn,
        Row(
            "chatOpenAI",
            providers.OPENAI,
            "gpt-4o-mini",
            quirks=_SILENT,
            info=NodeInfo(label="OpenAI", version=8.3, credentials=("openAIApi",)),
            lists_models=True,
        ),
    ),
    (
        OpenAIsOwn,
        Row(
            "chatOpenAICustom",
            providers.OPENAI,
            info=NodeInfo(label="OpenAI Custom Model", version=4, type="ChatOpenAI-Custom", credentials=("openAIApi",)),
        ),
    ),
    (
        OpenAIsOwn,
        Row(
            "chatOpenAI_LlamaIndex",
            providers.OPENAI,
            "gpt-3.5-turbo",
            quirks=_SILENT,
            info=NodeInfo(
                label="ChatOpenAI",
                version=2,
                type="ChatOpenAI",
                credentials=("openAIApi",),
                bases=("BaseChatModel_LlamaIndex", "BaseLLM"),
            ),
            lists_models=True,
        ),
    ),
    (
        Azure,
        Row(
            "azureChatOpenAI",
            providers.AZURE,
            "gpt-4o-mini",
            quirks=_SILENT,
            info=NodeInfo(label="Azure OpenAI", version=7.1, credentials=("azureOpenAIApi",)),
            lists_models=True,
        ),
    ),
    (
        Azure,
        Row(
            "azureChatOpenAI_LlamaIndex",
            providers.AZURE,
            "gpt-3.5-turbo-16k",
            quirks=_SILENT,
            info=NodeInfo(
                streams=False,
                label="AzureChatOpenAI",
                version=2,
                type="AzureChatOpenAI",
                credentials=("azureOpenAIApi",),
                bases=("BaseChatModel_LlamaIndex", "BaseLLM"),
            ),
            lists_models=True,
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatAlibabaTongyi",
            providers.ALIBABA,
            quirks=_JSON,
            info=NodeInfo(label="Alibaba Tongyi", version=2, credentials=("AlibabaApi",)),
        ),
    ),
    (
        Baidu,
        Row(
            "chatBaiduWenxin",
            providers.BAIDU,
            "ernie-4.5-8k-preview",
            extras={"penaltyScore": ("penalty_score", float), "userId": ("user", str)},
            info=NodeInfo(label="Baidu Wenxin", version=3, credentials=("baiduQianfanApi",)),
            lists_models=True,
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatCerebras",
            providers.CEREBRAS,
            "llama3.1-8b",
            quirks=_SCHEMA,
            info=NodeInfo(streams=False, label="Cerebras", version=3, credentials=("cerebrasAIApi",)),
            lists_models=True,
        ),
    ),
    (
        Cloudflare,
        Row(
            "chatCloudflareWorkersAI",
            providers.CLOUDFLARE,
            "@cf/meta/llama-3.1-8b-instruct-fast",
            None,
            Quirks(usage=False),
            _MODEL | {"basepath": "baseUrl"},
            info=NodeInfo(streams=False, label="Cloudflare Workers AI", credentials=("cloudflareApi",)),
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatCometAPI", providers.COMET, "gpt-5-mini", 0.7, info=NodeInfo(label="Comet", credentials=("cometApi",))
        ),
    ),
    (
        Deepseek,
        Row(
            "chatDeepseek",
            providers.DEEPSEEK,
            "deepseek-chat",
            0.7,
            _JSON,
            info=NodeInfo(streams=False, label="Deepseek", type="chatDeepseek", credentials=("deepseekApi",)),
            lists_models=True,
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatFireworks",
            providers.FIREWORKS,
            "accounts/fireworks/models/llama-v3p1-8b-instruct",
            quirks=_SCHEMA,
            info=NodeInfo(label="Fireworks AI", version=2, credentials=("fireworksApi",)),
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatHuggingFace",
            providers.HUGGING_FACE,
            temperature=None,
            names=_MODEL | {"basepath": "endpoint", "stopSequence": "stop"},
            extras={"hfTopK": ("top_k", int)},
            info=NodeInfo(streams=False, label="HuggingFace", version=3, credentials=("huggingFaceApi",)),
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatLitellm",
            providers.LITELLM,
            names=_BASE,
            info=NodeInfo(streams=False, label="LiteLLM", version=2, credentials=("litellmApi",)),
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatLocalAI",
            providers.LOCALAI,
            names=_BASE,
            info=NodeInfo(streams=False, label="LocalAI", version=3, credentials=("localAIApi",)),
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatMistralAI",
            providers.MISTRAL,
            "mistral-tiny",
            quirks=Quirks(usage=False, schemas="schema"),
            names={"maxTokens": "maxOutputTokens", "basepath": "overrideEndpoint"},
            extras={"randomSeed": ("random_seed", int), "safeMode": ("safe_prompt", bool)},
            info=NodeInfo(label="MistralAI", version=4, credentials=("mistralAIApi",)),
            lists_models=True,
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatMistral_LlamaIndex",
            providers.MISTRAL,
            "mistral-tiny",
            quirks=Quirks(usage=False),
            names={"maxTokens": "maxTokensToSample"},
            info=NodeInfo(
                label="ChatMistral",
                type="ChatMistral",
                credentials=("mistralAIApi",),
                bases=("BaseChatModel_LlamaIndex", "BaseLLM"),
            ),
            lists_models=True,
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatNvidiaNIM",
            providers.NVIDIA,
            names=_BASE,
            info=NodeInfo(streams=False, label="Nvidia NIM", version=1.1, credentials=("nvidiaNIMApi",)),
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatOpenRouter",
            providers.OPENROUTER,
            info=NodeInfo(streams=False, label="OpenRouter", credentials=("openRouterApi",)),
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatPerplexity",
            providers.PERPLEXITY,
            "sonar",
            1.0,
            Quirks(usage=False, schemas="schema"),
            _MODEL | {"basepath": "proxyUrl"},
            {"topK": ("top_k", int)},
            info=NodeInfo(streams=False, label="Perplexity", version=0.1, credentials=("perplexityApi",)),
            lists_models=True,
        ),
    ),
    (
        Sambanova,
        Row(
            "chatSambanova",
            providers.SAMBANOVA,
            "Meta-Llama-3.3-70B-Instruct",
            info=NodeInfo(streams=False, label="SambaNova", credentials=("sambanovaApi",)),
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatTogetherAI",
            providers.TOGETHER,
            info=NodeInfo(label="TogetherAI", version=2, credentials=("togetherAIApi",)),
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatTogetherAI_LlamaIndex",
            providers.TOGETHER,
            info=NodeInfo(
                label="ChatTogetherAI",
                type="ChatTogetherAI",
                credentials=("togetherAIApi",),
                bases=("BaseChatModel_LlamaIndex", "BaseLLM"),
            ),
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatXAI",
            providers.XAI,
            quirks=_XAI,
            info=NodeInfo(streams=False, label="xAI Grok", version=2, credentials=("xaiApi",)),
        ),
    ),
    (
        OpenAIModel,
        Row(
            "groqChat",
            providers.GROQ,
            info=NodeInfo(label="Groq", version=4, credentials=("groqApi",)),
            lists_models=True,
        ),
    ),
    (
        OpenAIModel,
        Row(
            "chatGroq_LlamaIndex",
            providers.GROQ,
            info=NodeInfo(
                label="ChatGroq",
                type="ChatGroq",
                credentials=("groqApi",),
                bases=("BaseChatModel_LlamaIndex", "BaseLLM"),
            ),
            lists_models=True,
        ),
    ),
)


def _node(base: type[OpenAIModel], row: Row) -> type[OpenAIModel]:
    """The node type of a row."""
    fields: list[tuple[str, Any, Any]] = [
        ("temperature", float | None, row.temperature),
        *((name, kind | None, None) for name, (_, kind) in row.extras.items()),
        # Only a type's own fields can be renamed, so these are declared once more.
        *((f.name, f.type, f.default) for f in msgspec.structs.fields(base) if f.name in row.names),
        ("modelName", Annotated[str, Input(loadMethod="listModels")] if row.lists_models else str, row.model),
    ]
    about = f"{row.provider.label}'s chat models, over the OpenAI protocol."
    kind: Any = msgspec.defstruct(
        row.node,
        fields,
        bases=(base,),
        module=__name__,
        namespace={"provider": row.provider, "row": row, "info": row.info, "__doc__": about},
        tag=row.node,
        rename=dict(row.names),
        frozen=True,
        kw_only=True,
    )
    return kind


NODES: Final = tuple(_node(base, row) for base, row in ROWS)
