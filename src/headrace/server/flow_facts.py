"""Facts about a flow for programs: its key's flows, its changes, its inputs, its numbers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, get
from litestar.params import Parameter

from headrace.errors import FlowNotFound, InvalidRequest, NotFound, Unauthorized
from headrace.runtime.inventory import inventory
from headrace.schema import ExecutionRow
from headrace.server.auth import OF_A_FLOW, check_caller, local, needs
from headrace.server.flows import ShownFlow, flow_json
from headrace.server.predictions import FlowId, flow_at
from headrace.server.public import PublicFlow, shown_in_public
from headrace.storage.rows import MessageFilter
from headrace.storage.storage import ADMIN

_PRIVATE: Final = ("credential", "credentialId", "FLOWISE_CREDENTIAL_ID", "headers", "authorization", "baseOptions")
_HIDDEN: Final = ("password", "file", "folder", "credential")


@get(
    "/api/v1/chatflows/apikey/{api_key:str}",
    opt={"asks": "the key in its path", "refuses": (401,)},
    summary="The flows that are bound to a key",
    tags=["flows"],
)
async def flows_of_key(request: Request[Any, Any, Any], api_key: str) -> list[ShownFlow] | list[PublicFlow]:
    """The key in the path opens it. Keys without `chatflows:view` see the flows without what is secret in them."""
    here = local(request)
    await here.storage.refresh()
    key = await here.storage.key(api_key)
    if key is None:
        raise Unauthorized("this is no API key of this server")
    rows = [row for row in await here.storage.flows() if row.apikeyid == key.id]
    if not rows:
        raise FlowNotFound("no flow is bound to this API key")
    if {ADMIN, "chatflows:view"} & set(key.permissions):
        has = await inventory(here.storage)
        return [flow_json(row, here.catalog, has) for row in rows]
    return [shown_in_public(row) for row in rows]


@get(
    "/api/v1/chatflows/has-changed/{flow_id:str}/{since:str}",
    guards=[needs("chatflows:view")],
    summary="Has a flow changed?",
    tags=["flows"],
)
async def has_changed(
    request: Request[Any, Any, Any],
    flow_id: FlowId,
    since: Annotated[str, Parameter(description="The `updatedDate` that the caller knows.")],
) -> dict[str, bool]:
    """Says whether the flow's `updatedDate` is another one."""
    row = await local(request).storage.flow(flow_id)
    try:
        return {"hasChanged": datetime.fromisoformat(since) != datetime.fromisoformat(row.updatedDate)}
    except (ValueError, TypeError):
        raise InvalidRequest(f"{since!r} is not a date such as 2025-03-01T10:00:00.000Z") from None


class NodeInput(msgspec.Struct):
    """An input of a flow's node, as the builder describes it."""

    node: str
    nodeId: str
    label: str | None
    name: str | None
    type: str | None


@get("/api/v1/flow-config/{flow_id:str}", opt=OF_A_FLOW, summary="The inputs of a flow's nodes", tags=["flows"])
async def flow_config(request: Request[Any, Any, Any], flow_id: FlowId) -> list[NodeInput]:
    """The nodes' inputs for callers who may use the flow, without those that hold secrets or files."""
    flow = await flow_at(flow_id, local(request))
    await check_caller(request, flow)
    return [
        NodeInput(
            node.data.label or node.data.name, node.id, *(_text(item.get(key)) for key in ("label", "name", "type"))
        )
        for node in flow.file.nodes
        for item in node.data.inputParams
        if item.get("type") not in _HIDDEN
    ]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


@get("/api/v1/stats/{flow_id:str}", guards=[needs("chatflows:view")], summary="A flow in numbers", tags=["messages"])
async def stats(request: Request[Any, Any, Any], flow_id: FlowId) -> dict[str, int]:
    """The numbers of a flow's messages, sessions and ratings."""
    here = local(request)
    await here.storage.flow(flow_id)
    rows = await here.storage.messages(flow_id, MessageFilter())
    ratings = await here.ratings.of_flow(flow_id)
    return {
        "totalMessages": len(rows),
        "totalSessions": len({row.sessionId for row in rows}),
        "totalFeedback": len(ratings),
        "positiveFeedback": sum(found.rating == "THUMBS_UP" for found in ratings),
    }


@get("/api/v1/public-executions/{execution_id:str}", summary="An execution that is public", tags=["executions"])
async def public_execution(request: Request[Any, Any, Any], execution_id: str) -> ExecutionRow:
    """The public part of an execution with `isPublic`. Raises NotFound for all others."""
    row = await local(request).executions.one(execution_id)
    if not row.isPublic:
        raise NotFound(f"there is no public execution {execution_id!r}")
    told = _without_secrets(msgspec.json.decode(row.executionData))
    return msgspec.structs.replace(row, executionData=msgspec.json.encode(told).decode())


def _without_secrets(value: Any) -> Any:
    """A JSON value without what names credentials, and without headers, at any depth."""
    if isinstance(value, dict):
        return {key: _without_secrets(item) for key, item in value.items() if key not in _PRIVATE}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value


ROUTES = (flows_of_key, has_changed, flow_config, stats, public_execution)
