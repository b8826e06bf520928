"""Every node of a chat model, and the way to each of them: one environment that points to a scripted provider."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from headrace.engine.catalog import tag
from headrace.nodes import completions, providers
from headrace.nodes.chat_models import anthropic, bedrock, cohere, google, local, ollama, openai_models
from headrace.nodes.providers import Provider

SECRET = "sk-of-the-tests"
LABELS = [value for value in vars(providers).values() if isinstance(value, Provider)]


class ModelNode(NamedTuple):
    """A node that gives a model: its protocol as in tests/protocols, and the inputs that it needs."""

    protocol: str
    inputs: dict[str, Any]


def _openai(row: openai_models.Row) -> ModelNode:
    return ModelNode("openai", {row.names.get("modelName", "modelName"): "m"})


MODEL_NODES: dict[str, ModelNode] = {
    **{row.node: _openai(row) for _, row in openai_models.ROWS},
    "chatAnthropic": ModelNode("anthropic", {}),
    "chatAnthropic_LlamaIndex": ModelNode("anthropic", {}),
    "chatGoogleGenerativeAI": ModelNode("google", {}),
    "chatGoogleVertexAI": ModelNode("google", {}),
    "chatOllama": ModelNode("ollama", {"modelName": "m"}),
    "chatOllama_LlamaIndex": ModelNode("ollama", {"modelName": "m"}),
    "ollama": ModelNode("ollama", {"modelName": "m"}),
    "chatCohere": ModelNode("cohere", {}),
    "awsChatBedrock": ModelNode("bedrock", {}),
    "openAI": ModelNode("completions", {}),
    "azureOpenAI": ModelNode("completions", {}),
    "huggingFaceInference_LLMs": ModelNode("openai", {"model": "m"}),
    "replicate": ModelNode("replicate", {"model": "owner/model"}),
}
WITHOUT_PROVIDER = {"chatExtractive", "chatArithmetic", "chatFallback"}
FAMILIES = (openai_models, anthropic, google, ollama, cohere, bedrock, local, completions)
ALL = {tag(kind) for family in FAMILIES for kind in family.NODES} - WITHOUT_PROVIDER

PATHS = {  # how the path of a protocol's calls ends
    "/chat/completions": "openai",
    "/completions": "completions",
    "/v1/messages": "anthropic",
    ":streamGenerateContent": "google",
    "/api/chat": "ollama",
    "/v2/chat": "cohere",
    "/converse-stream": "bedrock",
    "/predictions": "replicate",
    "/generate": "generation",
}


def protocol_of(path: str) -> str:
    """The protocol that a path belongs to; "" for none."""
    place = path.partition("?")[0]
    return next((protocol for end, protocol in PATHS.items() if place.endswith(end)), "")


def private_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def account_file(folder: Path, token_uri: str, key: RSAPrivateKey | None = None) -> Path:
    """A service account's key file, as Google makes it."""
    pem = (key or private_key()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {
        "type": "service_account",
        "project_id": "project-1",
        "private_key_id": "1",
        "private_key": pem,
        "client_email": "robot@project-1.example",
        "token_uri": token_uri,
    }
    place = folder / "account.json"
    place.write_bytes(msgspec.json.encode(account))
    return place


def environ_to(url: str, account: Path) -> Mapping[str, str]:
    """The environment in which every provider is at this address, with the same key."""
    return {
        **{provider.base_environ: url for provider in LABELS},
        **{provider.environ: SECRET for provider in LABELS},
        "AWS_ACCESS_KEY_ID": "AKIATESTS",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "GOOGLE_APPLICATION_CREDENTIALS": str(account),
    }
