"""Flows as tools of an MCP server: which ones a caller has, and how each describes itself."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import Request

from headrace.errors import FlowError, FlowNotFound, Unauthorized
from headrace.runtime.flows import Flow, FlowInPython, read_config
from headrace.server.auth import caller_key, check_origin, local
from headrace.server.predictions import flow_at

_NAME_LENGTH: Final = 64
_TYPES: Final = {"number": "number", "boolean": "boolean"}  # of form fields; all others are texts


class McpConfig(msgspec.Struct, frozen=True):
    """`mcpServerConfig` of a flow. One that says nothing is a tool for those who have its key."""

    enabled: bool | None = None
    token: str = ""
    """Opens this one tool, besides keys of the server."""
    description: str = ""
    toolName: str = ""


class FlowTool(msgspec.Struct, frozen=True):
    """A flow that a caller may use as a tool."""

    name: str
    flow: Flow
    description: str

    @property
    def form(self) -> Sequence[Any]:
        """The fields of the flow's form, where it is asked by one."""
        starts = [node.data for node in self.flow.file.nodes if node.data.name == "startAgentflow"]
        fields = starts[0].inputs.get("formInputTypes") if starts else None
        return fields if starts and starts[0].inputs.get("startInputType") == "formInput" and fields else ()

    @property
    def described(self) -> dict[str, Any]:
        """The tool as lists of tools have it."""
        properties: dict[str, Any] = {"question": {"type": "string", "description": "The question to the flow"}}
        if fields := [field for field in self.form if isinstance(field, dict) and field.get("name")]:
            form = {field["name"]: _property(field) for field in fields}
            required = [field["name"] for field in fields if field.get("required")]
            properties = {"form": {"type": "object", "properties": form, "required": required}}
        required = list(properties)
        if isinstance(self.flow, FlowInPython):
            properties |= self.flow.schema["properties"]
            required += self.flow.schema["required"]
        schema = {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
        return {"name": self.name, "description": self.description, "inputSchema": schema}


def config_of(flow: Flow) -> McpConfig:
    """The flow's configuration as a tool. Raises FlowError."""
    return read_config(flow.row.mcpServerConfig, McpConfig, "mcpServerConfig")


async def tools_of(request: Request[Any, Any, Any], flow_id: str | None) -> list[FlowTool]:
    """The tools that a caller may use: one flow, or all that its key opens.

    Raises Unauthorized without a key or a wrong one, FlowNotFound for a flow that is no tool.
    """
    if flow_id is not None:
        return [await _one(request, flow_id)]
    here = local(request)
    await here.storage.refresh()
    key = await caller_key(request)
    if key is None:
        raise Unauthorized("send an API key of this server as `Authorization: Bearer <key>`")
    found: list[FlowTool] = []
    names: set[str] = set()
    for row in await here.storage.flows():
        flow = await here.flows.get(row.id)
        if row.apikeyid in (None, "", key.id) and (tool := _offered(flow, names)):
            names.add(tool.name)
            found.append(tool)
    return found


async def _one(request: Request[Any, Any, Any], flow_id: str) -> FlowTool:
    flow = await flow_at(flow_id, local(request))
    config = config_of(flow)
    token = request.headers.get("authorization", "").rpartition("Bearer ")[2].strip()
    opened = bool(config.enabled and config.token) and hmac.compare_digest(token.encode(), config.token.encode())
    if not opened:
        key = await caller_key(request)
        if key is None or flow.row.apikeyid not in (None, "", key.id):
            raise Unauthorized("send this tool's token, or the flow's API key, as `Authorization: Bearer <key>`")
    check_origin(request.headers.get("origin"), flow.chatbot)
    tool = _tool(flow, config, ())
    if tool is None:
        raise FlowNotFound(f"the flow {flow_id!r} is no tool: switch it on in its MCP settings")
    return tool


def _offered(flow: Flow, names: set[str]) -> FlowTool | None:
    try:
        return _tool(flow, config_of(flow), names)
    except FlowError:  # one flow that cannot be read hides none of the others
        return None


def _tool(flow: Flow, config: McpConfig, names: Sequence[str] | set[str]) -> FlowTool | None:
    if config.enabled is False:
        return None
    name = config.toolName or re.sub(r"[^a-z0-9]+", "_", flow.row.name.lower()).strip("_") or "flow"
    name = name[:_NAME_LENGTH]
    if name in names:
        name = f"{name[: _NAME_LENGTH - 9]}_{flow.row.id[:8]}"
    return FlowTool(name, flow, config.description or _purpose(flow))


def _purpose(flow: Flow) -> str:
    described = flow.description if isinstance(flow, FlowInPython) else ""
    return described or f"Ask the flow {flow.row.name}"


def _property(field: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": _TYPES.get(str(field.get("type")), "string"),
        "description": str(field.get("label") or ""),
    }
    options = field.get("addOptions")
    if field.get("type") == "options" and isinstance(options, list):
        described["enum"] = [str(one.get("option")) for one in options if isinstance(one, dict)]
    return described
