"""Chatflows: create, read, change and delete them, in Flowise's shapes."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, delete, get, post, put
from msgspec import UNSET, UnsetType

from headrace.engine.agentflow.schedule import check_cron
from headrace.engine.catalog import Catalog
from headrace.engine.coverage import Coverage, coverage
from headrace.engine.findings import Inventory
from headrace.engine.flow_credentials import with_credential
from headrace.engine.flow_file import read_flow
from headrace.errors import FlowError, InvalidRequest
from headrace.runtime.flows import ApiConfig, ChatbotConfig, read_config
from headrace.runtime.inventory import inventory
from headrace.schema import FlowRow, is_id
from headrace.server.auth import check_above, local, needs
from headrace.server.pagination import Deleted, Page, paged
from headrace.server.predictions import FlowId

TYPES = ("CHATFLOW", "AGENTFLOW", "MULTIAGENT", "ASSISTANT")
_CONFIGS = ("chatbotConfig", "apiConfig", "analytic", "speechToText", "textToSpeech", "followUpPrompts")
_REQUIRED = ("name", "flowData", "type")
Text = str | None | UnsetType
Flag = bool | None | UnsetType
Config = str | dict[str, Any] | None | UnsetType


class FlowInput(msgspec.Struct):
    """A flow to store, or what to change of one: null clears. Configurations are JSON texts; objects are taken too."""

    id: Text = UNSET
    name: Text = UNSET
    flowData: Config = UNSET
    type: Text = UNSET
    deployed: Flag = UNSET
    isPublic: Flag = UNSET
    apikeyid: Text = UNSET
    chatbotConfig: Config = UNSET
    apiConfig: Config = UNSET
    analytic: Config = UNSET
    speechToText: Config = UNSET
    textToSpeech: Config = UNSET
    followUpPrompts: Config = UNSET
    category: Text = UNSET
    mcpServerConfig: Config = UNSET


def columns(data: FlowInput) -> dict[str, Any]:
    """The request's fields as columns. Raises InvalidRequest for what could not be read back."""
    given = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET and name != "id"}
    values: dict[str, Any] = {name: v for name, v in given.items() if v is not None or name not in _REQUIRED}
    values |= {name: bool(values[name]) for name in ("deployed", "isPublic") if name in values}
    if values.get("apikeyid") == "":  # as the builder says "no key"
        values["apikeyid"] = None
    for name, value in values.items():
        if isinstance(value, dict):
            values[name] = msgspec.json.encode(value).decode()
    if values.get("type", "CHATFLOW") not in TYPES:
        raise InvalidRequest(f"{values['type']!r} is not a type of flow: use one of {', '.join(TYPES)}")
    if "flowData" in values:
        check_cron(read_flow(values["flowData"]))
    for name in _CONFIGS:
        _check_config(name, values.get(name))
    return values


def _check_config(name: str, text: str | None) -> None:
    if not text:
        return
    kinds: dict[str, type[Any]] = {"chatbotConfig": ChatbotConfig, "apiConfig": ApiConfig, "followUpPrompts": dict}
    try:
        read_config(text, kinds.get(name, object), name)
    except FlowError as error:
        raise InvalidRequest(str(error)) from None


class ShownFlow(FlowRow, kw_only=True):
    """A flow, and what this server does not do of it."""

    webhookSecretConfigured: bool = False
    coverage: Coverage


def flow_json(row: FlowRow, catalog: Catalog, has: Inventory) -> ShownFlow:
    """A flow as the API shows it, with what a server that has this does not do of it."""
    found = coverage(read_flow(row.flowData), catalog, kind=row.type, flow_id=row.id, has=has)
    return ShownFlow(**msgspec.structs.asdict(row), coverage=found)


@get("/api/v1/chatflows", guards=[needs("chatflows:view")], summary="List flows", tags=["flows"])
async def list_flows(
    request: Request[Any, Any, Any],
    type: str | None = None,  # noqa: A002 Flowise's name
    page: int = 0,
    limit: int = 0,
) -> list[ShownFlow] | Page[ShownFlow]:
    """All flows, or one page of them as `{data, total}`."""
    here = local(request)
    has = await inventory(here.storage)
    rows = [flow_json(row, here.catalog, has) for row in await here.storage.flows(type)]
    return paged(rows, page, limit)


@post("/api/v1/chatflows", guards=[needs("chatflows:create")], status_code=200, summary="Create a flow", tags=["flows"])
async def create_flow(request: Request[Any, Any, Any], data: FlowInput) -> ShownFlow:
    """Stores the flow whether or not this server has all its nodes; `coverage` says what keeps it from answering."""
    if not data.name or not data.flowData:
        missing = "name" if not data.name else "flowData"
        raise InvalidRequest(f"a flow needs `{missing}` at $.{missing}")
    if data.id and not is_id(data.id):
        raise InvalidRequest(f"{data.id!r} is not a UUID at $.id: leave it out to get one")
    here = local(request)
    if data.apikeyid:
        await check_above(request, data.apikeyid)
    row = await here.storage.add_flow(
        msgspec.convert({"id": data.id or "", "type": "CHATFLOW", **columns(data)}, FlowRow)
    )
    return flow_json(row, here.catalog, await inventory(here.storage))


@get("/api/v1/chatflows/{flow_id:str}", guards=[needs("chatflows:view")], summary="Read a flow", tags=["flows"])
async def read(request: Request[Any, Any, Any], flow_id: FlowId) -> ShownFlow:
    """One flow."""
    here = local(request)
    return flow_json(await here.storage.flow(flow_id), here.catalog, await inventory(here.storage))


@put("/api/v1/chatflows/{flow_id:str}", guards=[needs("chatflows:update")], summary="Change a flow", tags=["flows"])
async def change(request: Request[Any, Any, Any], flow_id: FlowId, data: FlowInput) -> ShownFlow:
    """Changes what the body names; runs that have begun go on with the flow as it was."""
    here = local(request)
    if data.apikeyid is not UNSET and data.apikeyid != (bound := (await here.storage.flow(flow_id)).apikeyid):
        await check_above(request, data.apikeyid, bound)
    row = await here.storage.change_flow(flow_id, columns(data))
    return flow_json(row, here.catalog, await inventory(here.storage))


class AttachedCredential(msgspec.Struct):
    """Which credential a node gets: `node` is its id or label."""

    node: str
    credentialId: str


@post(
    "/api/v1/chatflows/{flow_id:str}/credentials",
    guards=[needs("chatflows:update")],
    status_code=200,
    summary="Give a node of a flow a credential",
    tags=["flows"],
)
async def attach_credential(request: Request[Any, Any, Any], flow_id: FlowId, data: AttachedCredential) -> ShownFlow:
    """Changes nothing but the node's credential, which must be of a type that the node takes.

    In agent flows the model and the tools inside of the node get it, as far as they take its type.
    """
    here = local(request)
    row = await here.storage.flow(flow_id)
    given = await here.storage.credential(data.credentialId)
    changed = with_credential(row.flowData, data.node, given.id, given.credentialName, here.catalog)
    row = await here.storage.change_flow(flow_id, {"flowData": changed})
    return flow_json(row, here.catalog, await inventory(here.storage))


@delete(
    "/api/v1/chatflows/{flow_id:str}",
    guards=[needs("chatflows:delete")],
    status_code=200,
    summary="Delete a flow",
    tags=["flows"],
)
async def remove(request: Request[Any, Any, Any], flow_id: FlowId) -> Deleted:
    """Deletes the flow with its messages and files."""
    here = local(request)
    await here.storage.delete_flow(flow_id)
    await here.uploads.forget(flow_id)
    await here.library.sweep()
    return Deleted()


ROUTES = (list_flows, create_flow, read, change, remove, attach_credential)
