"""Ready-made MCP servers: each is a program that the operator has installed and listed, with the flow's key for it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final

from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.credentials import installed
from headrace.engine.description import node_info
from headrace.engine.node import Context
from headrace.errors import FlowError
from headrace.nodes.accounts import secrets
from headrace.nodes.tools.mcp import McpServerNode, Program, listed
from headrace.nodes.tools.mcp_connection import LocalServer, Server

_VERSION: Final = r"(?:@[\w.^~-]+)?"


class ReadyMade(McpServerNode, frozen=True, kw_only=True):
    """The shared part: the package that has the server, its program, and what it reads from its environment."""

    package: ClassVar[str]
    program: ClassVar[str]
    variables: ClassVar[Mapping[str, str]] = {}
    """Its variables, and the fields of the credential that they hold."""

    @classmethod
    def lacks(cls, environ: Mapping[str, str]) -> str:
        """The message when no listed command line starts the server with its variables."""
        programs = [line for line in environ.get("HEADRACE_MCP_COMMANDS", "").split(";") if line.strip()]
        return "" if cls.found(programs) else f"needs an MCP server that is not listed: {cls.remedy()}"

    @classmethod
    def found(cls, programs: Sequence[str]) -> Program | None:
        """The first listed command line that starts the server, and that lets flows set its variables."""
        named = re.compile(rf"(?:.*/)?(?:{re.escape(cls.package)}{_VERSION}|{re.escape(cls.program)}(?:\.cmd)?)")
        fit = (one for one in listed(programs) if any(named.fullmatch(word) for word in one.line))
        return next((one for one in fit if cls.variables.keys() <= one.variables), None)

    @classmethod
    def remedy(cls) -> str:
        """The way to it."""
        line = shlex.join([*(f"{name}=" for name in cls.variables), cls.program])
        return f"install {cls.package} and put {line!r} into HEADRACE_MCP_COMMANDS, or the way it is started there"

    async def server(self, ctx: Context) -> Server:
        """The listed program, with the credential's fields. Raises FlowError for what is missing."""
        if (program := self.found(ctx.outside.programs)) is None:
            raise FlowError(f"the node needs an MCP server that is not listed: {self.remedy()}")
        env = await self.values(ctx)
        if unset := [self.variables[name] for name, value in env.items() if not value]:
            raise FlowError(f"the credential of the node for {self.package} has no {' and no '.join(unset)}: set it")
        return LocalServer(program.line[0], program.line[1:], env)

    async def values(self, ctx: Context) -> dict[str, str]:
        """The values of its variables."""
        return {}


class WithKey(ReadyMade, frozen=True, kw_only=True):
    """One that a credential has the key for, or else the server's own variables."""

    credential: str = ""

    async def values(self, ctx: Context) -> dict[str, str]:
        """The credential's fields."""
        fields = await secrets(ctx, self.credential)
        kinds = [installed()[name] for name in node_info(type(self)).credentials if name in installed()]
        own = {} if fields else {one.name: one.own(ctx.environ) for kind in kinds for one in kind.fields or ()}
        return {name: (fields.get(field) or own.get(field, "")).strip() for name, field in self.variables.items()}


class BraveSearchMCP(WithKey, frozen=True, kw_only=True, tag="braveSearchMCP"):
    """Searches the web with Brave."""

    info = NodeInfo(label="Brave Search MCP", type="BraveSearch MCP Tool", credentials=("braveSearchApi",))
    package = "@modelcontextprotocol/server-brave-search"
    program = "mcp-server-brave-search"
    variables: ClassVar[Mapping[str, str]] = {"BRAVE_API_KEY": "braveApiKey"}


class GithubMCP(WithKey, frozen=True, kw_only=True, tag="githubMCP"):
    """Reads and changes repositories, issues and pull requests on GitHub."""

    info = NodeInfo(label="Github MCP", type="Github MCP Tool", credentials=("githubApi",))
    package = "@modelcontextprotocol/server-github"
    program = "mcp-server-github"
    variables: ClassVar[Mapping[str, str]] = {"GITHUB_PERSONAL_ACCESS_TOKEN": "accessToken"}

    githubEnterpriseUrl: Annotated[
        Additional[str], Input(label="GitHub Enterprise URL", unread="this server of GitHub's knows one address")
    ] = ""


class SlackMCP(WithKey, frozen=True, kw_only=True, tag="slackMCP"):
    """Reads and writes messages in Slack."""

    info = NodeInfo(label="Slack MCP", type="Slack MCP Tool", credentials=("slackApi", "slackOAuth2"))
    package = "@modelcontextprotocol/server-slack"
    program = "mcp-server-slack"
    variables: ClassVar[Mapping[str, str]] = {"SLACK_BOT_TOKEN": "botToken", "SLACK_TEAM_ID": "teamId"}


class SequentialThinkingMCP(ReadyMade, frozen=True, kw_only=True, tag="sequentialThinkingMCP"):
    """Lets a model think in steps that it may revise."""

    info = NodeInfo(label="Sequential Thinking MCP", type="Sequential Thinking MCP Tool", keyless=True)
    package = "@modelcontextprotocol/server-sequential-thinking"
    program = "mcp-server-sequential-thinking"


class SupergatewayMCP(ReadyMade, frozen=True, kw_only=True, tag="supergatewayMCP"):
    """Speaks to an MCP server through Supergateway; its whole command line must be listed."""

    info = NodeInfo(label="Supergateway MCP", type="Supergateway MCP Tool", keyless=True)
    package = "supergateway"
    program = "supergateway"

    arguments: str

    @classmethod
    def lacks(cls, environ: Mapping[str, str]) -> str:
        """Nothing that could be said without the flow's arguments."""
        return ""

    async def server(self, ctx: Context) -> Server:
        """The listed program that ends with the flow's arguments. Raises FlowError for others."""
        wanted = shlex.split(self.arguments)
        for one in listed(ctx.outside.programs):
            before, after = one.line[: len(one.line) - len(wanted)], one.line[len(one.line) - len(wanted) :]
            if before and after == wanted and re.fullmatch(rf"(?:.*/)?supergateway{_VERSION}", before[-1]):
                return LocalServer(one.line[0], one.line[1:])
        line = shlex.join(["supergateway", *wanted])
        raise FlowError(f"the server does not start {line[:200]!r}: its operator lists it in HEADRACE_MCP_COMMANDS")


NODES = (BraveSearchMCP, GithubMCP, SlackMCP, SequentialThinkingMCP, SupergatewayMCP)
