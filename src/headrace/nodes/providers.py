"""The providers of models: one row each. A provider that speaks a known protocol needs nothing more than its row.

`Lookup` stands for an API of its own that a tool asks, see `headrace.nodes.tools.lookups`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from headrace.engine.credentials import KINDS, CredentialKind

Protocol: TypeAlias = Literal["OpenAI", "Anthropic", "Gemini", "Ollama", "Cohere", "Converse", "Replicate", "Lookup"]


class Provider(msgspec.Struct, frozen=True):
    """A provider: its address, its protocol and the name of its key."""

    label: str
    protocol: Protocol
    base: str
    """Its own address; "" where it depends on the account, or for software that people run themselves."""
    credential: str
    """The kind of its credentials, which says the names of the key's field and variables; "" where there is none."""
    keyless: bool = False
    """It needs no key, or another kind of one."""
    prefix: str = ""
    """The beginning of the variable with an address, where the name of the key's variable does not say it."""

    @property
    def kind(self) -> CredentialKind:
        """The kind of its credentials."""
        return KINDS[self.credential]

    @property
    def field(self) -> str:
        """The credential's field that holds the key; "" where there is none."""
        return self.kind.key.name if self.credential else ""

    @property
    def environ(self) -> str:
        """The environment variable with the server's own key; "" where there is none."""
        return next(iter(self.kind.key.variables), "") if self.credential else ""

    @property
    def base_environ(self) -> str:
        """The environment variable that stands in for the provider's own address."""
        return (self.prefix or self.environ.removesuffix("_KEY").removesuffix("_API")) + "_BASE_URL"

    def own_key(self, environ: Mapping[str, str]) -> str:
        """The server's own key; "" for none."""
        return self.kind.key.own(environ) if self.credential else ""


OPENAI: Final = Provider("OpenAI", "OpenAI", "https://api.openai.com/v1", "openAIApi")
AZURE: Final = Provider("Azure OpenAI", "OpenAI", "", "azureOpenAIApi")
ALIBABA: Final = Provider(
    "Alibaba Tongyi",
    "OpenAI",
    "https://dashscope.aliyuncs.com/compatible-mode/v1",
    "AlibabaApi",
)
BAIDU: Final = Provider("Baidu Wenxin", "OpenAI", "https://qianfan.baidubce.com/v2", "baiduQianfanApi")
CEREBRAS: Final = Provider("Cerebras", "OpenAI", "https://api.cerebras.ai/v1", "cerebrasAIApi")
CLOUDFLARE: Final = Provider(
    "Cloudflare Workers AI",
    "OpenAI",
    "https://api.cloudflare.com/client/v4",
    "cloudflareApi",
)
COMET: Final = Provider("CometAPI", "OpenAI", "https://api.cometapi.com/v1", "cometApi")
DEEPSEEK: Final = Provider("DeepSeek", "OpenAI", "https://api.deepseek.com/v1", "deepseekApi")
FIREWORKS: Final = Provider("Fireworks AI", "OpenAI", "https://api.fireworks.ai/inference/v1", "fireworksApi")
HUGGING_FACE: Final = Provider("Hugging Face", "OpenAI", "https://router.huggingface.co/v1", "huggingFaceApi")
LITELLM: Final = Provider("LiteLLM", "OpenAI", "", "litellmApi", keyless=True)
LOCALAI: Final = Provider("LocalAI", "OpenAI", "", "localAIApi", keyless=True)
MISTRAL: Final = Provider("Mistral AI", "OpenAI", "https://api.mistral.ai/v1", "mistralAIApi")
NVIDIA: Final = Provider("NVIDIA NIM", "OpenAI", "https://integrate.api.nvidia.com/v1", "nvidiaNIMApi")
OPENROUTER: Final = Provider("OpenRouter", "OpenAI", "https://openrouter.ai/api/v1", "openRouterApi")
PERPLEXITY: Final = Provider("Perplexity", "OpenAI", "https://api.perplexity.ai", "perplexityApi")
SAMBANOVA: Final = Provider("SambaNova", "OpenAI", "https://api.sambanova.ai/v1", "sambanovaApi")
TOGETHER: Final = Provider("Together AI", "OpenAI", "https://api.together.xyz/v1", "togetherAIApi")
JINA: Final = Provider("Jina AI", "Cohere", "https://api.jina.ai", "jinaAIApi")
XAI: Final = Provider("xAI", "OpenAI", "https://api.x.ai/v1", "xaiApi")
GROQ: Final = Provider("Groq", "OpenAI", "https://api.groq.com/openai/v1", "groqApi")
ANTHROPIC: Final = Provider("Anthropic", "Anthropic", "https://api.anthropic.com", "anthropicApi")
GOOGLE: Final = Provider(
    "Google Gemini",
    "Gemini",
    "https://generativelanguage.googleapis.com",
    "googleGenerativeAI",
)
VERTEX: Final = Provider("Google Vertex AI", "Gemini", "", "googleVertexAuth", prefix="GOOGLE_VERTEX", keyless=True)
OLLAMA: Final = Provider("Ollama", "Ollama", "http://localhost:11434", "ollamaApi", keyless=True)
COHERE: Final = Provider("Cohere", "Cohere", "https://api.cohere.com", "cohereApi")
BEDROCK: Final = Provider("AWS Bedrock", "Converse", "", "awsApi", prefix="AWS_BEDROCK", keyless=True)
REPLICATE: Final = Provider("Replicate", "Replicate", "https://api.replicate.com", "replicateApi")
