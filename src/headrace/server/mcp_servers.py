"""The settings of flows as tools of an MCP server."""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import msgspec
from litestar import Request, delete, get, post, put
from msgspec import UNSET, UnsetType

from headrace.errors import InvalidRequest
from headrace.server.auth import local, needs
from headrace.server.predictions import FlowId, flow_at
from headrace.server.protocols.mcp_tools import McpConfig, config_of

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VIEW, _CHANGE = [needs("chatflows:view")], [needs("chatflows:update")]


class McpChange(msgspec.Struct):
    """Changes to a flow's MCP settings."""

    enabled: bool | UnsetType = UNSET
    description: str | UnsetType = UNSET
    toolName: str | UnsetType = UNSET


@get("/api/v1/mcp-server/{flow_id:str}", guards=_VIEW, summary="A flow's MCP settings", tags=["mcp"])
async def read_settings(request: Request[Any, Any, Any], flow_id: FlowId) -> McpConfig:
    """The flow's MCP settings: if it is a tool, and the token that opens it."""
    return config_of(await flow_at(flow_id, local(request)))


@post("/api/v1/mcp-server/{flow_id:str}", guards=_CHANGE, status_code=201, summary="Make a flow a tool", tags=["mcp"])
async def create_settings(request: Request[Any, Any, Any], flow_id: FlowId, data: McpChange) -> McpConfig:
    """Switches the tool on, with a new token unless it has one."""
    return await _changed(request, flow_id, data, enabled=True)


@put("/api/v1/mcp-server/{flow_id:str}", guards=_CHANGE, summary="Change a flow's MCP settings", tags=["mcp"])
async def change_settings(request: Request[Any, Any, Any], flow_id: FlowId, data: McpChange) -> McpConfig:
    """Changes what the body names."""
    return await _changed(request, flow_id, data)


@delete(
    "/api/v1/mcp-server/{flow_id:str}",
    guards=_CHANGE,
    status_code=200,
    summary="Switch a flow's tool off",
    tags=["mcp"],
)
async def remove_settings(request: Request[Any, Any, Any], flow_id: FlowId) -> McpConfig:
    """The flow is no tool any more, for no key; its token opens nothing."""
    return await _changed(request, flow_id, McpChange(enabled=False))


@post("/api/v1/mcp-server/{flow_id:str}/refresh", guards=_CHANGE, status_code=200, summary="New token", tags=["mcp"])
async def refresh_token(request: Request[Any, Any, Any], flow_id: FlowId) -> McpConfig:
    """Replaces the token; the old one opens nothing any more."""
    config = config_of(await flow_at(flow_id, local(request)))
    return await _stored(request, flow_id, msgspec.structs.replace(config, token=secrets.token_hex(16)))


async def _changed(request: Request[Any, Any, Any], flow_id: str, data: McpChange, **defaults: Any) -> McpConfig:
    if data.toolName and not _NAME.fullmatch(data.toolName):
        raise InvalidRequest("the name at $.toolName must be up to 64 letters, digits, `_` and `-`")
    config = config_of(await flow_at(flow_id, local(request)))
    changes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    config = msgspec.structs.replace(config, **{**defaults, **changes})
    if config.enabled and not config.token:
        config = msgspec.structs.replace(config, token=secrets.token_hex(16))
    return await _stored(request, flow_id, config)


async def _stored(request: Request[Any, Any, Any], flow_id: str, config: McpConfig) -> McpConfig:
    await local(request).storage.change_flow(flow_id, {"mcpServerConfig": msgspec.json.encode(config).decode()})
    return config


ROUTES = (read_settings, create_settings, change_settings, remove_settings, refresh_token)
