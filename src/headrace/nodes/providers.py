"""The providers of models: one row each. A provider that speaks a known protocol needs nothing more than its row.

`Lookup` stands for an API of its own that a tool asks, see `headrace.nodes.tools.lookups`.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

Protocol: TypeAlias = Literal["OpenAI", "Anthropic", "Gemini", "Ollama", "Cohere", "Converse", "Replicate", "Lookup"]


class Provider(msgspec.Struct, frozen=True):
    """Where a provider is, how it speaks and what its key is called."""

    label: str
    protocol: Protocol
    base: str
    """Its own address; "" where it depends on the account, or for software that people run themselves."""
    field: str
    """The credential's field that holds the key."""
    environ: str
    """The environment variable with the server's own key; the one with an address is named after it."""
    keyless: bool = False
    """It needs no key, or another kind of one."""
    prefix: str = ""
    """What the variable with an address begins with, where the key's own name does not say it."""

    @property
    def base_environ(self) -> str:
        """The environment variable that stands in for the provider's own address."""
        return (self.prefix or self.environ.removesuffix("_KEY").removesuffix("_API")) + "_BASE_URL"


OPENAI: Final = Provider("OpenAI", "OpenAI", "https://api.openai.com/v1", "openAIApiKey", "OPENAI_API_KEY")
AZURE: Final = Provider("Azure OpenAI", "OpenAI", "", "azureOpenAIApiKey", "AZURE_OPENAI_API_KEY")
ALIBABA: Final = Provider(
    "Alibaba Tongyi",
    "OpenAI",
    "https://dashscope.aliyuncs.com/compatible-mode/v1",
    "alibabaApiKey",
    "DASHSCOPE_API_KEY",
)
BAIDU: Final = Provider(
    "Baidu Wenxin", "OpenAI", "https://qianfan.baidubce.com/v2", "qianfanAccessKey", "QIANFAN_API_KEY"
)
CEREBRAS: Final = Provider("Cerebras", "OpenAI", "https://api.cerebras.ai/v1", "cerebrasApiKey", "CEREBRAS_API_KEY")
CLOUDFLARE: Final = Provider(
    "Cloudflare Workers AI",
    "OpenAI",
    "https://api.cloudflare.com/client/v4",
    "cloudflareApiToken",
    "CLOUDFLARE_API_KEY",
)
COMET: Final = Provider("CometAPI", "OpenAI", "https://api.cometapi.com/v1", "cometApiKey", "COMETAPI_KEY")
DEEPSEEK: Final = Provider("DeepSeek", "OpenAI", "https://api.deepseek.com/v1", "deepseekApiKey", "DEEPSEEK_API_KEY")
FIREWORKS: Final = Provider(
    "Fireworks AI", "OpenAI", "https://api.fireworks.ai/inference/v1", "fireworksApiKey", "FIREWORKS_API_KEY"
)
HUGGING_FACE: Final = Provider(
    "Hugging Face", "OpenAI", "https://router.huggingface.co/v1", "huggingFaceApiKey", "HUGGINGFACE_API_KEY"
)
LITELLM: Final = Provider("LiteLLM", "OpenAI", "", "litellmApiKey", "LITELLM_API_KEY", keyless=True)
LOCALAI: Final = Provider("LocalAI", "OpenAI", "", "localAIApiKey", "LOCALAI_API_KEY", keyless=True)
MISTRAL: Final = Provider("Mistral AI", "OpenAI", "https://api.mistral.ai/v1", "mistralAIAPIKey", "MISTRAL_API_KEY")
NVIDIA: Final = Provider(
    "NVIDIA NIM", "OpenAI", "https://integrate.api.nvidia.com/v1", "nvidiaNIMApiKey", "NVIDIA_API_KEY"
)
OPENROUTER: Final = Provider(
    "OpenRouter", "OpenAI", "https://openrouter.ai/api/v1", "openRouterApiKey", "OPENROUTER_API_KEY"
)
PERPLEXITY: Final = Provider(
    "Perplexity", "OpenAI", "https://api.perplexity.ai", "perplexityApiKey", "PERPLEXITY_API_KEY"
)
SAMBANOVA: Final = Provider(
    "SambaNova", "OpenAI", "https://api.sambanova.ai/v1", "sambanovaApiKey", "SAMBANOVA_API_KEY"
)
TOGETHER: Final = Provider(
    "Together AI", "OpenAI", "https://api.together.xyz/v1", "togetherAIApiKey", "TOGETHER_API_KEY"
)
XAI: Final = Provider("xAI", "OpenAI", "https://api.x.ai/v1", "xaiApiKey", "XAI_API_KEY")
GROQ: Final = Provider("Groq", "OpenAI", "https://api.groq.com/openai/v1", "groqApiKey", "GROQ_API_KEY")
ANTHROPIC: Final = Provider(
    "Anthropic", "Anthropic", "https://api.anthropic.com", "anthropicApiKey", "ANTHROPIC_API_KEY"
)
GOOGLE: Final = Provider(
    "Google Gemini",
    "Gemini",
    "https://generativelanguage.googleapis.com",
    "googleGenerativeAPIKey",
    "GOOGLE_API_KEY",
)
VERTEX: Final = Provider(
    "Google Vertex AI", "Gemini", "", "googleApplicationCredential", "GOOGLE_VERTEX_API_KEY", keyless=True
)
OLLAMA: Final = Provider("Ollama", "Ollama", "http://localhost:11434", "ollamaApiKey", "OLLAMA_API_KEY", keyless=True)
COHERE: Final = Provider("Cohere", "Cohere", "https://api.cohere.com", "cohereApiKey", "COHERE_API_KEY")
BEDROCK: Final = Provider("AWS Bedrock", "Converse", "", "awsSecret", "AWS_BEDROCK_API_KEY", keyless=True)
REPLICATE: Final = Provider(
    "Replicate", "Replicate", "https://api.replicate.com", "replicateApiKey", "REPLICATE_API_KEY"
)
