"""Tools of MCP servers, through the official SDK. Flows choose addresses, which are guarded; programs the operator."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec

from headrace.engine.annotations import Code, Input, NodeInfo, Package
from headrace.engine.complaints import complaint
from headrace.engine.node import Context, Node
from headrace.engine.ports import Tool, ToolResult
from headrace.engine.tool_names import free_name, tool_name
from headrace.errors import FetchFailed, FlowError
from headrace.formats.openapi import Reader
from headrace.nodes.tools.function import FunctionTool
from headrace.nodes.tools.mcp_connection import Connection, LocalServer, Remote, Server

if TYPE_CHECKING:
    from mcp_types import CallToolResult, ContentBlock
    from mcp_types import Tool as Offer

_MOST: Final = 128  # tools that a model is given; OpenAI takes no more
_ABOUT: Final = 1024  # characters of a description
_SCHEMA: Final = 50_000  # bytes of a tool's schema


class McpServerNode(Node, frozen=True, kw_only=True):
    """The shared part of nodes that give the tools of an MCP server."""

    info = NodeInfo(category="Tools (MCP)", packages=(Package("mcp", "mcp"),))

    mcpActions: Annotated[list[str], Input(label="Available Actions", loadMethod="listActions")] = []
    """Names of the tools that the agent gets; without any, all."""

    async def server(self, ctx: Context) -> Server:
        """The server, checked. Raises FlowError for one that may not be used."""
        raise FlowError(f"{type(self).__name__} names no MCP server")

    async def connection(self, ctx: Context) -> Connection:
        """A connection to it, kept for the run. Raises FlowError, FetchRefused and FetchFailed."""
        server = await self.server(ctx)
        if isinstance(server, Remote):
            await ctx.outside.reach(server.url)
        connection = Connection(server, ctx.outside.reach)
        ctx.closing.push_async_exit(connection.leave)
        return connection

    async def build(self, ctx: Context) -> list[Tool]:
        """The tools. Raises FlowError, FetchRefused and FetchFailed."""
        connection = await self.connection(ctx)
        offers = [offer for offer in await connection.offers() if not self.mcpActions or offer.name in self.mcpActions]
        if len(offers) > _MOST:
            raise FlowError(f"the MCP server has {len(offers)} tools: choose {_MOST} of them in 'mcpActions'")
        if not offers:
            raise FlowError("the MCP server has none of the tools in 'mcpActions': choose them again")
        return tools_of(connection, offers)


class CustomMCP(McpServerNode, frozen=True, kw_only=True, tag="customMCP"):
    """The tools of an MCP server, over streamable HTTP, SSE, or as a program that the operator allows."""

    info = NodeInfo(version=1.1, type="Custom MCP Tool")

    mcpServerConfig: Code[dict[str, Any]]
    """`{"url": …, "headers": {…}}`, or `{"command": …, "args": […], "env": {…}}`."""

    async def server(self, ctx: Context) -> Server:
        """The server of the configuration."""
        return server_of(self.mcpServerConfig, ctx.outside.programs)


def server_of(config: Mapping[str, Any], programs: Sequence[str]) -> Server:
    """The server that a configuration names. Raises FlowError for one that it may not name."""
    inner = config.get("mcpServers")  # as it is written in the settings of other programs
    if isinstance(inner, dict) and len(inner) == 1:
        config = next(iter(inner.values()))
    try:
        if "command" in config:
            return _allowed(msgspec.convert(config, LocalServer), programs)
        return msgspec.convert(config, Remote)
    except msgspec.ValidationError as error:
        raise FlowError(f"'mcpServerConfig' cannot be used: {complaint(error)}") from None


class Program(NamedTuple):
    """A command line that flows may start, and the variables that they may set for it."""

    line: list[str]
    variables: set[str]


def listed(programs: Sequence[str]) -> list[Program]:
    """The operator's list, read."""
    found: list[Program] = []
    for program in programs:
        words = shlex.split(program)
        count = next((n for n, word in enumerate(words) if not re.fullmatch(r"[A-Za-z_]\w*=", word)), len(words))
        found.append(Program(words[count:], {word[:-1] for word in words[:count]}))
    return found


def _allowed(start: LocalServer, programs: Sequence[str]) -> LocalServer:
    """Checks the whole command line: an argument more would be another program. Raises FlowError."""
    line = [start.command, *start.args]
    if any(program.line == line and start.env.keys() <= program.variables for program in listed(programs)):
        return start
    raise FlowError(
        f"this server does not start {shlex.join(line)[:200]!r}: its operator lists the command lines that flows may "
        "start, with the variables that they may set, in HEADRACE_MCP_COMMANDS"
    )


def tools_of(connection: Connection, offers: Sequence[Offer]) -> list[Tool]:
    """The server's tools, under names that models take, each name once."""
    tools: dict[str, Tool] = {}
    for offer in offers:
        name = free_name(tool_name(_printable(offer.name)), tools)
        tools[name] = _tool(connection, offer, name)
    return list(tools.values())


def _tool(connection: Connection, offer: Offer, name: str) -> Tool:
    async def call(arguments: Mapping[str, Any]) -> ToolResult:
        return ToolResult(_result_text(await connection.call(offer.name, arguments)))

    schema = Reader(offer.input_schema).schema(offer.input_schema)
    if len(msgspec.json.encode(schema)) > _SCHEMA or schema.get("type") != "object":
        schema = {"type": "object"}
    return FunctionTool(name, _printable(offer.description or offer.name)[:_ABOUT], schema, call)


def _printable(text: str) -> str:
    """A text without characters that a person would not see and a model would read."""
    kept = (c for c in text[: 4 * _ABOUT] if c in "\n\t" or not unicodedata.category(c).startswith("C"))
    return "".join(kept).strip()


def _result_text(result: CallToolResult) -> str:
    """A result as the model reads it. Raises FetchFailed when it is an error."""
    text = "\n".join(filter(None, map(_said, result.content)))
    if not text and result.structured_content is not None:
        text = msgspec.json.encode(result.structured_content).decode()
    if result.is_error:
        raise FetchFailed(text[:2000] or "the tool failed and did not say why")
    return text


def _said(block: ContentBlock) -> str:
    match block.type:
        case "text":
            return block.text
        case "resource_link":
            return f"[{block.name}: {block.uri}]"
        case "resource":
            text = getattr(block.resource, "text", None)
            return text if isinstance(text, str) else f"[{block.resource.uri}: no text]"
        case _:
            return f"[{block.mime_type}, {len(block.data) * 3 // 4} bytes]"


NODES = (CustomMCP,)
