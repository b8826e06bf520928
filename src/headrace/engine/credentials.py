"""The kinds of credentials that nodes name: their fields, and the environment variables that step in for them.

This table is the one place for names of fields and variables. A package brings kinds of its own as an entry point of
the group `headrace.credentials`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final, Literal

import msgspec

from headrace.engine.catalog import Catalog
from headrace.engine.description import node_info
from headrace.errors import InvalidRequest

FieldType = Literal["password", "string", "number", "boolean", "url"]


class CredentialField(msgspec.Struct, frozen=True):
    """A field of a credential. `variables` are read in its place where a flow names no credential, the first first."""

    name: str
    label: str
    type: FieldType = "string"
    optional: bool = False
    default: str = ""
    variables: tuple[str, ...] = ()

    def own(self, environ: Mapping[str, str]) -> str:
        """The server's own value; "" where no variable is set."""
        return next((environ[name] for name in self.variables if environ.get(name)), "")


class CredentialKind(msgspec.Struct, frozen=True):
    """A kind of credential. `fields` is None for a kind without a description: it then takes any field."""

    name: str
    label: str
    fields: tuple[CredentialField, ...] | None = None

    def field(self, name: str) -> CredentialField:
        """The field of this name, which must exist."""
        return next(field for field in self.fields or () if field.name == name)

    @property
    def key(self) -> CredentialField:
        """The field that holds the key, which the server's own key can step in for."""
        fields = self.fields or ()
        secret = [field for field in fields if field.type == "password" and field.variables]
        return (secret or [field for field in fields if field.variables] or list(fields))[0]

    def steps_in(self, environ: Mapping[str, str]) -> bool:
        """True when the server has a key of its own in place of such a credential."""
        return bool(self.fields and self.key.own(environ))


def _key(kind: str, label: str, field: str, *variables: str) -> CredentialKind:
    """A kind that is nothing but a key."""
    return CredentialKind(kind, label, (_secret(field, f"{label} key", *variables),))


def _secret(name: str, label: str, *variables: str, optional: bool = False) -> CredentialField:
    return CredentialField(name, label, "password", optional=optional, variables=variables)


def _text(name: str, label: str, *variables: str, optional: bool = False, default: str = "") -> CredentialField:
    return CredentialField(name, label, optional=optional, default=default, variables=variables)


_KINDS: Final = (
    _key("AlibabaApi", "Alibaba Tongyi", "alibabaApiKey", "DASHSCOPE_API_KEY"),
    _key("agentflowApi", "Agent flow", "agentflowApiKey"),
    _key("anthropicApi", "Anthropic", "anthropicApiKey", "ANTHROPIC_API_KEY"),
    CredentialKind(
        "awsApi",
        "AWS",
        (
            _secret("awsKey", "Access key id", "AWS_ACCESS_KEY_ID", optional=True),
            _secret("awsSecret", "Secret access key", "AWS_SECRET_ACCESS_KEY", optional=True),
            _secret("awsSession", "Session token", "AWS_SESSION_TOKEN", optional=True),
            _text("roleArn", "Role to assume", optional=True),
            _text("externalId", "External id of the role", optional=True),
        ),
    ),
    CredentialKind(
        "azureOpenAIApi",
        "Azure OpenAI",
        (
            _secret("azureOpenAIApiKey", "Azure OpenAI key", "AZURE_OPENAI_API_KEY"),
            _text("azureOpenAIApiInstanceName", "Instance", "AZURE_OPENAI_API_INSTANCE_NAME", optional=True),
            _text("azureOpenAIApiDeploymentName", "Deployment", "AZURE_OPENAI_API_DEPLOYMENT_NAME", optional=True),
            _text("azureOpenAIApiVersion", "API version", "AZURE_OPENAI_API_VERSION", optional=True),
        ),
    ),
    CredentialKind(
        "baiduQianfanApi",
        "Baidu Qianfan",
        (
            _secret("qianfanAccessKey", "Access key", "QIANFAN_API_KEY"),
            _secret("qianfanSecretKey", "Secret key", optional=True),
        ),
    ),
    _key("braveSearchApi", "Brave Search", "braveApiKey", "BRAVE_SEARCH_API_KEY"),
    _key("cerebrasAIApi", "Cerebras", "cerebrasApiKey", "CEREBRAS_API_KEY"),
    _key("chatflowApi", "Chatflow", "chatflowApiKey"),
    CredentialKind(
        "chromaApi",
        "Chroma",
        (
            _secret("chromaApiKey", "Chroma key", optional=True),
            _text("chromaTenant", "Tenant", optional=True),
            _text("chromaDatabase", "Database", optional=True),
        ),
    ),
    CredentialKind(
        "cloudflareApi",
        "Cloudflare",
        (
            _text("cloudflareAccountId", "Account id", "CLOUDFLARE_ACCOUNT_ID", optional=True),
            _secret("cloudflareApiToken", "API token", "CLOUDFLARE_API_KEY"),
        ),
    ),
    _key("cohereApi", "Cohere", "cohereApiKey", "COHERE_API_KEY", "CO_API_KEY"),
    _key("cometApi", "CometAPI", "cometApiKey", "COMETAPI_KEY"),
    _key("deepseekApi", "DeepSeek", "deepseekApiKey", "DEEPSEEK_API_KEY"),
    CredentialKind(
        "elasticSearchUserPassword",
        "Elasticsearch user",
        (_text("cloudId", "Address or cloud id"), _text("username", "User"), _secret("password", "Password")),
    ),
    CredentialKind(
        "elasticsearchApi",
        "Elasticsearch",
        (_text("endpoint", "Address"), _secret("apiKey", "Elasticsearch key", optional=True)),
    ),
    _key("exaSearchApi", "Exa", "exaSearchApiKey", "EXASEARCH_API_KEY"),
    _key("fireworksApi", "Fireworks AI", "fireworksApiKey", "FIREWORKS_API_KEY"),
    _key("githubApi", "GitHub", "accessToken"),
    CredentialKind(
        "googleCustomSearchApi",
        "Google Custom Search",
        (
            _secret("googleCustomSearchApiKey", "Google key", "GOOGLE_API_KEY"),
            _text("googleCustomSearchApiId", "Id of the search engine", "GOOGLE_CSE_ID", optional=True),
        ),
    ),
    _key("googleGenerativeAI", "Google Gemini", "googleGenerativeAPIKey", "GOOGLE_API_KEY", "GEMINI_API_KEY"),
    CredentialKind(
        "googleVertexAuth",
        "Google Vertex AI",
        (
            _text(
                "googleApplicationCredentialFilePath",
                "Path of the key file",
                "GOOGLE_APPLICATION_CREDENTIALS",
                optional=True,
            ),
            _secret("googleApplicationCredential", "Content of the key file", optional=True),
            _text("projectID", "Project", optional=True),
        ),
    ),
    _key("groqApi", "Groq", "groqApiKey", "GROQ_API_KEY"),
    CredentialKind("httpApiKey", "HTTP header", (_text("key", "Header"), _secret("value", "Value"))),
    CredentialKind(
        "httpBasicAuth",
        "HTTP basic authentication",
        (_text("basicAuthUsername", "User"), _secret("basicAuthPassword", "Password")),
    ),
    _key("httpBearerToken", "HTTP bearer token", "token"),
    _key("huggingFaceApi", "Hugging Face", "huggingFaceApiKey", "HUGGINGFACE_API_KEY"),
    _key("jinaAIApi", "Jina AI", "jinaAIAPIKey", "JINA_API_KEY"),
    _key("litellmApi", "LiteLLM", "litellmApiKey", "LITELLM_API_KEY"),
    _key("localAIApi", "LocalAI", "localAIApiKey", "LOCALAI_API_KEY"),
    CredentialKind("milvusAuth", "Milvus", (_text("milvusUser", "User"), _secret("milvusPassword", "Password"))),
    _key("mistralAIApi", "Mistral AI", "mistralAIAPIKey", "MISTRAL_API_KEY"),
    CredentialKind("MySQLApi", "MySQL", (_text("user", "User"), _secret("password", "Password"))),
    _key("nvidiaNIMApi", "NVIDIA NIM", "nvidiaNIMApiKey", "NVIDIA_API_KEY"),
    _key("ollamaApi", "Ollama", "ollamaApiKey", "OLLAMA_API_KEY"),
    _key("openAIApi", "OpenAI", "openAIApiKey", "OPENAI_API_KEY"),
    _key("openRouterApi", "OpenRouter", "openRouterApiKey", "OPENROUTER_API_KEY"),
    _key("perplexityApi", "Perplexity", "perplexityApiKey", "PERPLEXITY_API_KEY"),
    _key("pineconeApi", "Pinecone", "pineconeApiKey", "PINECONE_API_KEY"),
    CredentialKind(
        "PostgresApi",
        "PostgreSQL",
        (
            _text("user", "User", "POSTGRES_VECTORSTORE_USER", "POSTGRES_RECORDMANAGER_USER"),
            _secret(
                "password",
                "Password",
                "POSTGRES_VECTORSTORE_PASSWORD",
                "POSTGRES_RECORDMANAGER_PASSWORD",
                optional=True,
            ),
        ),
    ),
    _key("qdrantApi", "Qdrant", "qdrantApiKey"),
    CredentialKind(
        "redisCacheApi",
        "Redis",
        (
            _text("redisCacheHost", "Host", default="127.0.0.1"),
            CredentialField("redisCachePort", "Port", "number", default="6379"),
            _text("redisCacheUser", "User", optional=True),
            _secret("redisCachePwd", "Password", optional=True),
            CredentialField("redisCacheSslEnabled", "Use TLS", "boolean", optional=True),
        ),
    ),
    CredentialKind(
        "redisCacheUrlApi",
        "Redis address",
        (CredentialField("redisUrl", "Address", "url", default="redis://localhost:6379"),),
    ),
    _key("replicateApi", "Replicate", "replicateApiKey", "REPLICATE_API_KEY"),
    _key("sambanovaApi", "SambaNova", "sambanovaApiKey", "SAMBANOVA_API_KEY"),
    _key("searchApi", "SearchApi", "searchApiKey", "SEARCHAPI_API_KEY"),
    _key("serpApi", "SerpAPI", "serpApiKey", "SERPAPI_API_KEY"),
    _key("serperApi", "Serper", "serperApiKey", "SERPER_API_KEY"),
    CredentialKind("slackApi", "Slack", (_secret("botToken", "Bot token"), _text("teamId", "Team id"))),
    CredentialKind(
        "slackOAuth2",
        "Slack (OAuth2)",
        (
            _text("authorizationUrl", "Authorization URL", default="https://slack.com/oauth/v2_user/authorize"),
            _text("accessTokenUrl", "Access token URL", default="https://slack.com/api/oauth.v2.user.access"),
            _text("clientId", "Client id"),
            _secret("clientSecret", "Client secret"),
            _text("additionalParameters", "Additional parameters", optional=True),
            _text("scope", "Scope", optional=True),
        ),
    ),
    _key("tavilyApi", "Tavily", "tavilyApiKey", "TAVILY_API_KEY"),
    _key("togetherAIApi", "Together AI", "togetherAIApiKey", "TOGETHER_API_KEY"),
    CredentialKind(
        "voyageAIApi",
        "Voyage AI",
        (
            _text("endpoint", "Address of the embeddings", default="https://api.voyageai.com/v1/embeddings"),
            _secret("apiKey", "Voyage AI key", "VOYAGEAI_API_KEY", "VOYAGE_API_KEY"),
        ),
    ),
    _key("weaviateApi", "Weaviate", "weaviateApiKey"),
    _key("wolframAlphaAppId", "Wolfram|Alpha", "wolframAlphaAppId", "WOLFRAM_ALPHA_APP_ID"),
    _key("xaiApi", "xAI", "xaiApiKey", "XAI_API_KEY"),
)
KINDS: Final[Mapping[str, CredentialKind]] = {kind.name: kind for kind in _KINDS}
"""The built-in kinds by name."""


@cache
def installed() -> Mapping[str, CredentialKind]:
    """The built-in kinds and those of installed packages, which may not replace a built-in one."""
    kinds = dict(KINDS)
    for point in entry_points(group="headrace.credentials"):
        for kind in point.load():
            if kinds.setdefault(kind.name, kind) is not kind:
                raise ValueError(f"{point.value!r} brings a kind of credential {kind.name!r}, which exists already")
    return kinds


def kinds_of(catalog: Catalog) -> Mapping[str, CredentialKind]:
    """The kinds that this server takes: those that are described, and those that its nodes merely name."""
    named = {name for kind in catalog.values() for name in node_info(kind).credentials}
    return {**{name: CredentialKind(name, name) for name in sorted(named)}, **installed()}


def check_fields(kind: CredentialKind, names: Iterable[str]) -> None:
    """Raises InvalidRequest for a field that the kind does not have."""
    if kind.fields is None:
        return
    known = [field.name for field in kind.fields]
    if unknown := [name for name in names if name not in known]:
        takes = ", ".join(map(repr, known))
        raise InvalidRequest(f"a credential of the kind {kind.name!r} has no field {unknown[0]!r}: it takes {takes}")


def check_complete(kind: CredentialKind, fields: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for a field that the kind must have and that is missing or blank."""
    for field in kind.fields or ():
        if not (field.optional or field.default or str(fields.get(field.name) or "").strip()):
            raise InvalidRequest(f"a credential of the kind {kind.name!r} needs the field {field.name!r}: give it")
