"""MCP servers: real ones, made with the SDK, behind an agent on a real server."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from servers import Server, free_port, node, serving, until_connected
from sites import GARBAGE, HUGE, Answer, Script, Site, Visit, said
from test_tools import agent
from upstream import Upstream
from waiting import eventually, within

from headrace.errors import FetchRefused
from headrace.nodes.tools.mcp_connection import Pinned

PROGRAM = Path(__file__).with_name("mcp_server.py")
STDIO = [sys.executable, str(PROGRAM), "stdio"]
Transport = Literal["streamable-http", "sse"]
PATHS: dict[Transport, str] = {"streamable-http": "/mcp", "sse": "/sse"}


@contextmanager
def mcp_server(transport: Transport) -> Generator[str]:
    """The server's address, for the time of the block."""
    port = free_port()
    process = subprocess.Popen([sys.executable, str(PROGRAM), transport, str(port)], stderr=subprocess.DEVNULL)
    try:
        until_connected(port)
        yield f"http://127.0.0.1:{port}{PATHS[transport]}"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


@pytest.fixture(scope="module", params=PATHS)
def address(request: pytest.FixtureRequest) -> Generator[str]:
    with mcp_server(request.param) as url:
        yield url


@pytest.fixture(scope="module")
def connecting(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server whose flows may reach this machine, and start one program."""
    allowed = {
        "HEADRACE_ALLOWED_HOSTS": "127.0.0.1",
        "HEADRACE_MCP_COMMANDS": f"other --thing; COLOUR= {shlex.join(STDIO)}",
        "A_SECRET_OF_THE_SERVER": "s",
    }
    with serving(tmp_path_factory.mktemp("connecting") / "data", **allowed) as server:
        yield server


def mcp_flow(upstream: Upstream, config: Any, *actions: str) -> dict[str, Any]:
    text = config if isinstance(config, str) else json.dumps(config)
    return agent(
        upstream.url, node("customMCP", "Tools (MCP)", mcpServerConfig=text, mcpActions=json.dumps(list(actions)))
    )


def used(server: Server, upstream: Upstream, config: Any, question: str, *actions: str) -> list[Any]:
    reply = server.ask(server.create_flow(mcp_flow(upstream, config, *actions)), question)
    assert reply.status == 200, reply.text
    return reply.json["usedTools"]


def test_tools_of_a_server_are_used_over_http(connecting: Server, upstream: Upstream, address: str) -> None:
    question = '/tool add {"a": 2, "b": 3} && odd_name_ {} && fail {"why": "no luck"} | /tool add {"a": 1, "b": 1}'
    first, odd, failed, again = used(connecting, upstream, {"url": address}, question)
    assert first == {"tool": "add", "toolInput": {"a": 2, "b": 3}, "toolOutput": "5"}
    assert odd["toolOutput"] == "one\ntwo"
    assert "no luck" in failed["error"]
    assert again["toolOutput"] == "2"


def test_the_model_is_told_what_a_server_offers_without_what_nobody_sees(
    connecting: Server, upstream: Upstream, address: str
) -> None:
    used(connecting, upstream, {"mcpServers": {"one": {"url": address}}}, '/tool add {"a": 1, "b": 1}', "add", "fail")
    tools = {tool["function"]["name"]: tool["function"] for tool in upstream.requests[-1].body["tools"]}
    assert set(tools) == {"add", "fail"}
    assert tools["add"]["description"] == "Adds two numbers."
    assert tools["add"]["parameters"]["required"] == ["a", "b"]


def test_wrong_arguments_and_huge_results_are_told(connecting: Server, upstream: Upstream, address: str) -> None:
    wrong, huge, after = used(
        connecting, upstream, {"url": address}, '/tool add {"a": "x"} && huge {} | /tool add {"a": 1, "b": 2}'
    )
    assert "did not match expected schema" in wrong["error"]
    assert huge["toolOutput"] == ""
    assert "MCP server '127.0.0.1'" in huge["error"]
    assert after["toolOutput"] == "3" or "MCP server" in after["error"]


def test_a_cancelled_run_cancels_the_call(connecting: Server, upstream: Upstream, address: str, tmp_path: Path) -> None:
    flow = connecting.create_flow(mcp_flow(upstream, {"url": address}))
    left = tmp_path / "left"
    run = connecting.ask(flow, f"/tool wait {json.dumps({'path': str(left)})}", background=True).json["id"]
    eventually(lambda: left.exists() and left.read_text() == "begun")
    assert connecting.send("POST", f"/api/v1/runs/{run}/cancel", {}, admin=True).status == 200
    eventually(lambda: left.read_text() == "cancelled")


def test_an_allowed_program_is_started_without_the_servers_secrets(connecting: Server, upstream: Upstream) -> None:
    config = {"command": STDIO[0], "args": STDIO[1:], "env": {"COLOUR": "blue"}}
    added, names = used(connecting, upstream, config, '/tool add {"a": 2, "b": 3} && environment {}')
    assert added["toolOutput"] == "5"
    assert "COLOUR" in names["toolOutput"].split()
    assert not {"A_SECRET_OF_THE_SERVER", "HEADRACE_ADMIN_KEY", "OPENAI_API_KEY"} & set(names["toolOutput"].split())


def test_a_program_ends_with_its_run(connecting: Server, upstream: Upstream) -> None:
    config = {"command": STDIO[0], "args": STDIO[1:]}
    one, two = used(connecting, upstream, config, "/tool process {} | /tool process {}")
    assert one["toolOutput"] == two["toolOutput"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(one["toolOutput"]), 0)


def test_connections_go_to_the_checked_address_and_keep_the_name(web: Site) -> None:
    web.default = Answer(b"{}")
    asked: list[str] = []

    async def reach(url: str) -> list[str]:
        asked.append(url)
        if len(asked) > 1:
            raise FetchRefused("the name leads somewhere else now")
        return ["::1", "127.0.0.1"]  # nothing listens on the first

    async def twice() -> None:
        async with httpx2.AsyncClient(transport=Pinned(reach), trust_env=False) as client:
            url = f"http://mcp.example:{web.server_port}/mcp"
            assert (await client.get(url)).status_code == 200
            with pytest.raises(httpx2.ConnectError, match="somewhere else"):
                await client.get(url)

    within(twice())
    assert [visit.headers["host"] for visit in web.visits] == [f"mcp.example:{web.server_port}"]


@pytest.mark.parametrize(
    "config",
    [
        {"command": "sh", "args": ["-c", "id"]},
        {"command": STDIO[0], "args": [*STDIO[1:], "more"]},
        {"command": STDIO[0], "args": STDIO[1:-1]},
        {"command": STDIO[0], "args": ["-c", "1"]},
        {"command": STDIO[0], "args": STDIO[1:], "env": {"PYTHONSTARTUP": "/x"}},
        {"command": STDIO[0], "args": STDIO[1:], "env": {"COLOUR": "blue", "LD_PRELOAD": "/x"}},
        {"command": "COLOUR=", "args": STDIO},
        {"command": " ".join(STDIO)},
        {"command": "other"},
        {"mcpServers": {"one": {"command": "sh"}}},
    ],
)
def test_programs_that_are_not_allowed_word_by_word_are_not_started(
    connecting: Server, upstream: Upstream, config: Any
) -> None:
    reply = connecting.ask(connecting.create_flow(mcp_flow(upstream, config)), "Hi")
    assert reply.status == 422
    assert "HEADRACE_MCP_COMMANDS" in reply.json["message"]


def test_no_program_is_allowed_by_default(server: Server, upstream: Upstream) -> None:
    reply = server.ask(server.create_flow(mcp_flow(upstream, {"command": STDIO[0], "args": STDIO[1:]})), "Hi")
    assert (reply.status, "HEADRACE_MCP_COMMANDS" in reply.json["message"]) == (422, True)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("not json", "'mcpServerConfig' cannot be used"),
        ({"url": 5}, "'mcpServerConfig' cannot be used"),
        ({"transport": "sse"}, "url"),
        ({"url": "file:///etc/passwd"}, "not an http or https address"),
        ({"url": "http://user:secret@127.0.0.1/mcp"}, "holds a user or password"),
        ({"url": "http://10.0.0.1/mcp"}, "leads to a private address"),
        ({"url": "http://[::ffff:169.254.169.254]/mcp"}, "HEADRACE_ALLOWED_HOSTS"),
        ({"url": "http://127.0.0.1:9/mcp?key=secret"}, "MCP server '127.0.0.1'"),
    ],
)
def test_configurations_that_cannot_be_used_are_told(
    connecting: Server, upstream: Upstream, config: Any, expected: str
) -> None:
    reply = connecting.ask(connecting.create_flow(mcp_flow(upstream, config)), "Hi")
    assert reply.status in (422, 200), reply.text
    assert expected in reply.json["message"]
    assert "secret" not in reply.text


def test_a_loopback_server_is_refused_by_default(server: Server, upstream: Upstream, address: str) -> None:
    reply = server.ask(server.create_flow(mcp_flow(upstream, {"url": address})), "Hi")
    assert "HEADRACE_ALLOWED_HOSTS" in reply.json["message"]


def offering(*tools: dict[str, Any]) -> Script:
    """A server of MCP by hand, which answers to whatever it is asked and offers these tools."""

    def answer(visit: Visit) -> Answer:
        if visit.method != "POST" or "id" not in visit.json:
            return Answer(status=202 if visit.method == "POST" else 405)
        about = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "x", "version": "1"},
        }
        result = {"initialize": about, "tools/list": {"tools": tools}}.get(visit.json["method"], {})
        return said({"jsonrpc": "2.0", "id": visit.json["id"], "result": result})

    return answer


def test_references_in_a_schema_stay_inside_it(connecting: Server, upstream: Upstream, web: Site) -> None:
    inner = {"a": {"$ref": "#/$defs/a"}, "b": {"$ref": f"{web.url}/schema"}, "c": {"$ref": "#"}}
    schema = {"type": "object", "properties": inner, "$defs": {"a": {"type": "number"}}}
    web.paths["/mcp"] = offering({"name": "add", "inputSchema": schema})
    (wrong,) = used(connecting, upstream, {"url": f"{web.url}/mcp"}, '/tool add {"a": "x", "b": 1}')
    assert "'x' is not of type 'number'" in wrong["error"]
    told = upstream.requests[-1].body["tools"][0]["function"]["parameters"]["properties"]
    assert (told["a"], told["b"]) == ({"type": "number"}, {})
    assert "$ref" not in json.dumps(told)
    assert {visit.path for visit in web.visits} == {"/mcp"}


def test_a_list_of_tools_that_takes_seconds_to_read_is_not_read(
    connecting: Server, upstream: Upstream, web: Site
) -> None:
    web.paths["/mcp"] = offering(*({"name": f"t{n}", "inputSchema": {"type": "object"}} for n in range(20_000)))
    flow = connecting.create_flow(mcp_flow(upstream, {"url": f"{web.url}/mcp"}))
    reply = connecting.ask(flow, "Hi")
    assert (reply.status, reply.json["code"]) == (422, "fetch_failed")
    assert "MCP server '127.0.0.1'" in reply.json["message"]


def away(visit: Visit) -> Answer:
    return Answer(status=307, headers={"Location": "http://localhost:1/mcp"})


TROUBLE: dict[str, Script] = {
    "garbage": GARBAGE,
    "huge": HUGE,
    "away": away,
    "unauthorized": Answer(b"no", status=401),
    "packed": Answer(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
    "page": Answer(b"<html>", "text/html"),
}


@pytest.mark.parametrize("kind", TROUBLE)
def test_what_is_no_mcp_server_fails_the_run_with_its_name(
    connecting: Server, upstream: Upstream, web: Site, kind: str
) -> None:
    web.default = TROUBLE[kind]
    config = {"url": f"{web.url}/mcp?token=secret", "headers": {"X-Key": "of-the-flow"}}
    reply = connecting.ask(connecting.create_flow(mcp_flow(upstream, config)), "Hi")
    assert (reply.status, reply.json["code"]) == (422, "fetch_failed"), reply.text
    assert "MCP server '127.0.0.1'" in reply.json["message"]
    assert "secret" not in reply.text
    assert {visit.headers["x-key"] for visit in web.visits} == {"of-the-flow"}
