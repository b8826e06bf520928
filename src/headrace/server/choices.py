"""The lists of choices that the server makes for inputs with a `loadMethod`: models, stores, tools, flows and the like.

Models are those of the account where there is a key for it, else those whose names this version knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.documents.context import upsert_context
from headrace.engine.description import described, node_info
from headrace.engine.inputs import fields_of, parsed, read
from headrace.engine.node import Context, Node
from headrace.engine.ports import HttpCall
from headrace.engine.prices import known_models
from headrace.errors import FlowError, InvalidRequest, NotFound, ProviderTimeout, ProviderUnavailable
from headrace.nodes import providers
from headrace.nodes.accounts import Account, account
from headrace.nodes.providers import Provider
from headrace.nodes.tools.mcp import McpServerNode
from headrace.nodes.tools.openapi import OpenAPIToolkit
from headrace.providers.json_answers import json_answer
from headrace.runtime.local import Local

_PATIENCE: Final = 20.0  # seconds for an account's list
_PROVIDERS: Final = {one.credential: one for one in vars(providers).values() if isinstance(one, Provider)}
_ADDRESSES: Final = ("basepath", "basePath", "baseUrl", "baseURL")
_ANTHROPIC_VERSION: Final = "2023-06-01"
# The beginnings of the known models' names, by the kind of the account's credential.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "openAIApi": ("gpt-", "o1", "o3", "o4", "chat-latest"),
    "azureOpenAIApi": ("gpt-", "o1", "o3", "o4"),
    "anthropicApi": ("claude-",),
    "googleGenerativeAI": ("gemini-",),
    "googleVertexAuth": ("gemini-",),
    "cohereApi": ("command", "c4ai-"),
    "mistralAIApi": ("mistral-", "magistral-", "ministral-", "codestral-"),
    "deepseekApi": ("deepseek-",),
    "xaiApi": ("grok-",),
    "perplexityApi": ("sonar",),
}
_REGIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "awsApi": (
        "us-east-1", "us-east-2", "us-west-2", "ca-central-1", "sa-east-1", "eu-central-1", "eu-west-1", "eu-west-2",
        "eu-west-3", "eu-north-1", "ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2",
    ),
    "googleVertexAuth": (
        "global", "us-central1", "us-east1", "us-east4", "us-west1", "northamerica-northeast1", "southamerica-east1",
        "europe-west1", "europe-west2", "europe-west3", "europe-west4", "europe-west9", "asia-northeast1",
        "asia-northeast3", "asia-southeast1", "australia-southeast1",
    ),
}  # fmt: skip


class Choice(msgspec.Struct, frozen=True, omit_defaults=True):
    """One choice: the value that the flow holds, and its label."""

    name: str
    label: str
    description: str = ""


class Asked(msgspec.Struct):
    """The node whose input is chosen, as a builder sends it, and the nodes before it."""

    loadMethod: str
    inputs: dict[str, Any] = {}
    credential: str = ""
    previousNodes: list[dict[str, Any]] = []


class Request(msgspec.Struct):
    """A list that is asked for."""

    here: Local
    ctx: Context
    kind: type[Node]
    asked: Asked

    @property
    def account_kind(self) -> str:
        """The kind of the node's account; "" for a node that has none."""
        return next(iter(node_info(self.kind).credentials), "")


async def choices(here: Local, kind: type[Node], asked: Asked) -> list[Choice]:
    """The choices. Raises InvalidRequest for an unknown list, and what the server that is asked says."""
    if asked.loadMethod not in _LISTS:
        known = ", ".join(sorted(_LISTS))
        raise InvalidRequest(f"{asked.loadMethod!r} at $.loadMethod is no list of this server: use {known}")
    ctx = await upsert_context(here.storage, here.outside, "")
    async with ctx.closing:
        return list(await _LISTS[asked.loadMethod](Request(here, ctx, kind, asked)))


# Models


async def _models(request: Request) -> Sequence[Choice]:
    """Chat models by node for agent flows; else the account's models, or those that are known."""
    if node_info(request.kind).category == "Agent Flows":
        return _nodes(request, "Chat Models")
    provider, embeds = _PROVIDERS.get(request.account_kind), node_info(request.kind).category == "Embeddings"
    names = await _account_models(request, provider) if provider else []
    if embeds:
        names = [name for name in names if "embed" in name]
    return [Choice(name, name) for name in sorted(set(names)) or _known(request, embeds=embeds)]


def _known(request: Request, *, embeds: bool) -> list[str]:
    own = [one.default for one in described(request.kind).inputs if one.loadMethod == "listModels" and one.default]
    begins = () if embeds else _NAMES.get(request.account_kind, ())
    return sorted({*own, *(name for name in known_models() if begins and name.startswith(begins))})


async def _account_models(request: Request, provider: Provider) -> list[str]:
    """The names at the account's endpoint; none without a key, and for providers without such a list."""
    if not (way := _WAYS.get(provider.protocol)) or provider in (
        providers.AZURE,
        providers.CLOUDFLARE,
        providers.VERTEX,
    ):
        return []
    inputs = request.asked.inputs
    base = next((str(inputs[name]) for name in _ADDRESSES if inputs.get(name)), "")
    credential = await request.ctx.credential(request.asked.credential)
    try:
        at = await account(request.ctx, provider, base=base, credential=credential)
    except FlowError:  # without a key
        return []
    if not (at.key or provider.keyless):
        return []
    path, headers = way(at)
    call = HttpCall(at.base + path, headers, secret=at.key, timeout=_PATIENCE, method="GET")
    try:
        return _names(await json_answer(request.ctx.http, call, dict[str, Any]))
    except (ProviderUnavailable, ProviderTimeout):  # a refused key is told
        return []


def _names(answer: Mapping[str, Any]) -> list[str]:
    """The names in an answer of any of the protocols."""
    rows = next((answer[key] for key in ("data", "models") if isinstance(answer.get(key), list)), [])
    found = [row.get("id") or row.get("model") or row.get("name") for row in rows if isinstance(row, dict)]
    return [name.removeprefix("models/") for name in found if isinstance(name, str) and name]


def _openai(at: Account) -> tuple[str, dict[str, str]]:
    return "/models", {"Authorization": f"Bearer {at.key}"} if at.key else {}


def _anthropic(at: Account) -> tuple[str, dict[str, str]]:
    return "/v1/models?limit=1000", {"x-api-key": at.key, "anthropic-version": _ANTHROPIC_VERSION}


def _gemini(at: Account) -> tuple[str, dict[str, str]]:
    return "/v1beta/models?pageSize=1000", {"x-goog-api-key": at.key}


def _ollama(at: Account) -> tuple[str, dict[str, str]]:
    return "/api/tags", {"Authorization": f"Bearer {at.key}"} if at.key else {}


def _cohere(at: Account) -> tuple[str, dict[str, str]]:
    return "/v1/models?page_size=1000", {"Authorization": f"Bearer {at.key}"}


_WAYS: Final[Mapping[str, Callable[[Account], tuple[str, dict[str, str]]]]] = {
    "OpenAI": _openai,
    "Anthropic": _anthropic,
    "Gemini": _gemini,
    "Ollama": _ollama,
    "Cohere": _cohere,
}


async def _regions(request: Request) -> Sequence[Choice]:
    return [Choice(name, name) for name in _REGIONS.get(request.account_kind, ())]


# What is here


def _nodes(request: Request, *categories: str) -> list[Choice]:
    every = [described(kind) for kind in request.here.catalog.values()]
    found = [one for one in every if one.category in categories]
    return [Choice(one.name, one.label, one.description) for one in sorted(found, key=lambda one: one.label)]


async def _embeddings(request: Request) -> Sequence[Choice]:
    return _nodes(request, "Embeddings")


async def _vector_stores(request: Request) -> Sequence[Choice]:
    return _nodes(request, "Vector Stores")


async def _tools(request: Request) -> Sequence[Choice]:
    """Tools by node for agent flows; the stored ones for the node of custom tools."""
    if node_info(request.kind).category == "Agent Flows":
        return _nodes(request, "Tools", "Tools (MCP)")
    return [Choice(row.id, row.name, row.description) for row in await request.here.storage.tools()]


async def _stores(request: Request) -> Sequence[Choice]:
    """Document stores; agent flows hold the name beside the id."""
    rows = await request.here.stores.all()
    if node_info(request.kind).category == "Agent Flows":
        return [Choice(f"{row.id}:{row.name}", row.name, row.description or "") for row in rows]
    return [Choice(row.id, row.name, row.description or "") for row in rows]


async def _flows(request: Request) -> Sequence[Choice]:
    return [Choice(row.id, row.name) for row in await request.here.storage.flows() if row.type == "CHATFLOW"]


async def _agent_flows(request: Request) -> Sequence[Choice]:
    return [Choice(row.id, row.name) for row in await request.here.storage.flows() if row.type != "CHATFLOW"]


async def _state_keys(request: Request) -> Sequence[Choice]:
    """The keys of the state that the flow begins with."""
    states = [node["inputs"].get("startState") for node in request.asked.previousNodes if node.get("inputs")]
    keys = [entry.get("key") for state in states if isinstance(state, list) for entry in state]
    return [Choice(key, key) for key in dict.fromkeys(keys) if isinstance(key, str) and key]


async def _previous_nodes(request: Request) -> Sequence[Choice]:
    """The nodes before this one, by id and label as the Loop node names them."""
    nodes = [node for node in request.asked.previousNodes if node.get("id")]
    labels = [str(node.get("label") or node["id"]) for node in nodes]
    return [Choice(f"{node['id']}-{label}", label, node["id"]) for node, label in zip(nodes, labels, strict=True)]


# Other servers


async def _actions(request: Request) -> Sequence[Choice]:
    """The tools of the MCP server that the node's inputs name."""
    fields, inputs = fields_of(request.kind), request.asked.inputs
    values = {name: parsed(inputs.get(name), field) for name, field in fields.items()}
    if "mcpServerConfig" in fields and not isinstance(values["mcpServerConfig"], dict):
        raise InvalidRequest("the MCP server is not set yet: fill in $.inputs.mcpServerConfig")
    values["credential"] = request.asked.credential
    node = read(request.kind, values, node_info(request.kind).label)
    if not isinstance(node, McpServerNode):
        raise NotFound(f"{node_info(request.kind).label} is no MCP server")
    connection = await node.connection(request.ctx)
    return [Choice(offer.name, offer.name, offer.description or "") for offer in await connection.offers()]


async def _toolkit(request: Request) -> OpenAPIToolkit:
    fields, inputs = fields_of(request.kind), {**request.asked.inputs, "selectedEndpoints": []}
    values = {name: parsed(inputs.get(name), field) for name, field in fields.items()}
    toolkit = read(request.kind, values, node_info(request.kind).label)
    if not isinstance(toolkit, OpenAPIToolkit):
        raise NotFound(f"{node_info(request.kind).label} has no OpenAPI document")
    return toolkit


async def _servers(request: Request) -> Sequence[Choice]:
    api = await (await _toolkit(request)).api(request.ctx)
    return [Choice(server, server) for server in api.servers]


async def _endpoints(request: Request) -> Sequence[Choice]:
    api = await (await _toolkit(request)).api(request.ctx)
    return [Choice(one.name, one.name, one.about) for one in api.operations]


_LISTS: Final[Mapping[str, Callable[[Request], Awaitable[Sequence[Choice]]]]] = {
    "listModels": _models,
    "listRegions": _regions,
    "listEmbeddings": _embeddings,
    "listVectorStores": _vector_stores,
    "listTools": _tools,
    "listStores": _stores,
    "listChatflows": _flows,
    "listAgentflows": _agent_flows,
    "listFlows": _flows,
    "listRuntimeStateKeys": _state_keys,
    "listPreviousNodes": _previous_nodes,
    "listActions": _actions,
    "listServers": _servers,
    "listEndpoints": _endpoints,
}
