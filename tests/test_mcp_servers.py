"""Ready-made MCP servers: programs that the operator lists, started with a flow's key, by a real server of the SDK."""

import os
import shlex
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from servers import Server, node, serving
from test_mcp import PROGRAM
from test_tools import agent
from upstream import Upstream

from headrace.nodes.tools.mcp_servers import BraveSearchMCP, SlackMCP


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs of two packages, each of which is the tests' own MCP server."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("mcp-server-slack", "supergateway"):
        file = folder / name
        file.write_text(f"#!/bin/sh\nexec {shlex.join([sys.executable, str(PROGRAM), 'stdio'])}\n")
        file.chmod(0o700)
    return folder


@pytest.fixture(scope="module")
def listing(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    lines = [
        f"SLACK_BOT_TOKEN= SLACK_TEAM_ID= {programs}/mcp-server-slack",
        "npx -y @modelcontextprotocol/server-brave-search",  # without its variable: flows could not give their key
        f"{programs}/supergateway --sse https://mcp.example/sse",
    ]
    with serving(tmp_path_factory.mktemp("listing") / "data", HEADRACE_MCP_COMMANDS="; ".join(lines)) as server:
        yield server


def asked(server: Server, upstream: Upstream, name: str, question: str = "Hi", **inputs: Any) -> Any:
    one = node(name, "Tools (MCP)", **inputs)
    if credential := inputs.get("credential"):
        one["data"]["credential"] = credential
    return server.ask(server.create_flow(agent(upstream.url, one)), question).json


def test_the_listed_program_is_started_with_the_credentials_fields(listing: Server, upstream: Upstream) -> None:
    fields = {"botToken": "xoxb-1", "teamId": "T1"}
    stored = {"name": "slack", "credentialName": "slackApi", "plainDataObj": fields}
    key = listing.send("POST", "/api/v1/credentials", stored, admin=True).json["id"]
    answer = asked(listing, upstream, "slackMCP", "/tool environment {}", credential=key)
    names = answer["usedTools"][0]["toolOutput"].split()
    assert {"SLACK_BOT_TOKEN", "SLACK_TEAM_ID"} <= set(names)
    assert "HEADRACE_MCP_COMMANDS" not in names


def test_a_server_without_its_key_is_not_started(listing: Server, upstream: Upstream) -> None:
    answer = asked(listing, upstream, "slackMCP")
    assert "has no botToken and no teamId: set it" in answer["message"]


@pytest.mark.parametrize(
    ("name", "inputs", "told"),
    [
        ("githubMCP", {}, "install @modelcontextprotocol/server-github and put"),
        ("braveSearchMCP", {}, "'BRAVE_API_KEY= mcp-server-brave-search' into HEADRACE_MCP_COMMANDS"),
        ("sequentialThinkingMCP", {}, "install @modelcontextprotocol/server-sequential-thinking"),
        ("supergatewayMCP", {"arguments": "--stdio 'sh -c id'"}, "does not start"),
        ("supergatewayMCP", {"arguments": "--sse https://mcp.example/sse --more"}, "does not start"),
    ],
)
def test_nothing_that_is_not_listed_is_started(
    listing: Server, upstream: Upstream, name: str, inputs: dict[str, str], told: str
) -> None:
    assert told in asked(listing, upstream, name, **inputs)["message"]


def test_supergateway_is_started_with_the_arguments_that_are_listed(listing: Server, upstream: Upstream) -> None:
    listed = {"arguments": "--sse https://mcp.example/sse"}
    answer = asked(listing, upstream, "supergatewayMCP", '/tool add {"a": 2, "b": 3}', **listed)
    assert answer["usedTools"][0]["toolOutput"] == "5"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("BRAVE_API_KEY= npx -y @modelcontextprotocol/server-brave-search", True),
        ("BRAVE_API_KEY= OTHER= npx -y @modelcontextprotocol/server-brave-search@2025.1.0", True),
        ("BRAVE_API_KEY= node /opt/@modelcontextprotocol/server-brave-search", True),
        ("BRAVE_API_KEY= /usr/bin/mcp-server-brave-search", True),
        ("npx -y @modelcontextprotocol/server-brave-search", False),
        ("BRAVE_API_KEY= npx -y @somebody/server-brave-search", False),
        ("BRAVE_API_KEY= npx -y @modelcontextprotocol/server-brave-search-more", False),
    ],
)
def test_a_command_line_is_the_servers_when_it_names_its_package_or_program(line: str, found: bool) -> None:
    assert (BraveSearchMCP.found([line]) is not None) is found


def test_the_report_says_what_the_operator_has_to_do() -> None:
    ready = {"HEADRACE_MCP_COMMANDS": f"other; SLACK_BOT_TOKEN= SLACK_TEAM_ID= mcp-server-slack{os.extsep}cmd"}
    assert SlackMCP.lacks(ready) == ""
    assert "install @modelcontextprotocol/server-slack" in SlackMCP.lacks({})
