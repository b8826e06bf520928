"""Tools that people write in the builder, in Flowise's shapes."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, delete, get, post, put

from headrace.schema import CustomTool
from headrace.server.auth import local, needs
from headrace.server.pagination import Deleted, Page, paged


class ToolChange(msgspec.Struct, omit_defaults=True):
    """Changes to a tool; absent columns stay."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    color: str | msgspec.UnsetType = msgspec.UNSET
    iconSrc: str | msgspec.UnsetType | None = msgspec.UNSET
    schema: str | msgspec.UnsetType | None = msgspec.UNSET
    func: str | msgspec.UnsetType | None = msgspec.UNSET


@get("/api/v1/tools", guards=[needs("tools:view")], summary="List tools", tags=["tools"])
async def list_tools(
    request: Request[Any, Any, Any], page: int = 0, limit: int = 0
) -> list[CustomTool] | Page[CustomTool]:
    """All tools, or one page of them as `{data, total}`."""
    return paged(await local(request).storage.tools(), page, limit)


@post("/api/v1/tools", guards=[needs("tools:create")], status_code=200, summary="Create a tool", tags=["tools"])
async def create_tool(request: Request[Any, Any, Any], data: CustomTool) -> CustomTool:
    """Stores a tool; nothing of it is run by that."""
    return await local(request).storage.add_tool(data)


@get("/api/v1/tools/{tool_id:str}", guards=[needs("tools:view")], summary="Read a tool", tags=["tools"])
async def read_tool(request: Request[Any, Any, Any], tool_id: str) -> CustomTool:
    """One tool."""
    return await local(request).storage.tool(tool_id)


@put("/api/v1/tools/{tool_id:str}", guards=[needs("tools:update")], summary="Change a tool", tags=["tools"])
async def change_tool(request: Request[Any, Any, Any], tool_id: str, data: ToolChange) -> CustomTool:
    """Stores what is given."""
    return await local(request).storage.change_tool(tool_id, msgspec.to_builtins(data))


@delete(
    "/api/v1/tools/{tool_id:str}",
    guards=[needs("tools:delete")],
    status_code=200,
    summary="Delete a tool",
    tags=["tools"],
)
async def remove_tool(request: Request[Any, Any, Any], tool_id: str) -> Deleted:
    """Deletes a tool; flows that use it fail until they get another one."""
    await local(request).storage.delete_tool(tool_id)
    return Deleted()


ROUTES = (list_tools, create_tool, read_tool, change_tool, remove_tool)
