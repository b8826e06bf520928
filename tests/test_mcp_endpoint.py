"""Flows as tools of an MCP server: the official client in both eras, over HTTP and standard input; hostile requests."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from agentflows import flow as agent_flow
from agentflows import llm, start
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import TextContent
from servers import KEY, Reply, Server, conversation
from upstream import Upstream
from waiting import eventually

T = TypeVar("T")
ERAS = ["2026-07-28", "legacy"]


def with_client(transport: Any, era: str, work: Callable[[Client], Awaitable[T]]) -> T:
    async def worked() -> T:
        async with asyncio.timeout(30), Client(transport(), mode=era) as client:
            return await work(client)

    return asyncio.run(worked())


def over_http(server: Server, path: str, key: str) -> Callable[[], Any]:
    def transport() -> Any:
        http = create_mcp_http_client(headers={"Authorization": f"Bearer {key}"})
        return streamable_http_client(server.url + path, http_client=http)

    return transport


def over_stdio(server: Server, *flags: str) -> Callable[[], Any]:
    environ = {**os.environ, "HEADRACE_URL": server.url, "HEADRACE_API_KEY": KEY}
    command = StdioServerParameters(command=sys.executable, args=["-m", "headrace", "mcp", *flags], env=environ)
    return lambda: stdio_client(command)


def text_of(result: Any) -> str:
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


@pytest.mark.parametrize("era", ERAS)
def test_a_client_lists_and_calls_the_flows_of_its_key(server: Server, upstream: Upstream, chat: str, era: str) -> None:
    key = server.send("POST", "/api/v1/apikey", {"keyName": f"mcp {era}", "permissions": []}, admin=True).json
    config = json.dumps({"enabled": True, "toolName": f"mine_{era[:4]}", "description": "Answers everything"})
    flow = server.create_flow(conversation(upstream.url), apikeyid=key["id"], mcpServerConfig=config)
    other = server.send("POST", "/api/v1/apikey", {"keyName": f"other {era}", "permissions": []}, admin=True).json
    server.create_flow(conversation(upstream.url), name="not for this key", apikeyid=other["id"])

    async def work(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools[f"mine_{era[:4]}"].description == "Answers everything"
        assert "not_for_this_key" not in tools
        heard: list[tuple[float, str | None]] = []

        async def told(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, message))

        question = {"question": "/say One two three"}
        result = await client.call_tool(f"mine_{era[:4]}", question, progress_callback=told)
        assert (result.is_error, text_of(result)) == (False, "One two three")
        assert "".join(message or "" for _, message in heard).endswith("One two three")
        failed = await client.call_tool(f"mine_{era[:4]}", {"question": "/status 400"})
        assert failed.is_error

    with_client(over_http(server, "/mcp", key["apiKey"]), era, work)
    stored = server.send("GET", f"/api/v1/chatmessage/{flow}?chatType=MCP", admin=True).json
    assert "One two three" in [message["content"] for message in stored]


@pytest.mark.parametrize("era", ERAS)
def test_desktop_programs_start_it_over_standard_input(server: Server, chat: str, era: str) -> None:
    async def work(client: Client) -> str:
        [tool] = (await client.list_tools()).tools
        first, second = await asyncio.gather(
            client.call_tool(tool.name, {"question": "/say One"}), client.call_tool(tool.name, {"question": "/say Two"})
        )
        return f"{text_of(first)} {text_of(second)}"

    assert with_client(over_stdio(server, "--flow", chat), era, work) == "One Two"


def test_leaving_a_call_of_standard_input_closes_the_models_socket(
    server: Server, chat: str, upstream: Upstream
) -> None:
    async def work(client: Client) -> None:
        [tool] = (await client.list_tools()).tools
        call = asyncio.create_task(client.call_tool(tool.name, {"question": "/count 5000 | /pace 5"}))
        await asyncio.to_thread(upstream.wait_until, bool)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.to_thread(upstream.wait_until, lambda seen: seen[-1].closed_by_peer_at_token is not None)  # pyright: ignore[reportUnknownLambdaType]
        assert call.cancelled()

    with_client(over_stdio(server, "--flow", chat), "legacy", work)


def test_a_server_that_is_not_there_is_told_in_the_protocol(server: Server) -> None:
    environ = {**os.environ, "HEADRACE_URL": "http://127.0.0.1:9", "HEADRACE_API_KEY": KEY}
    command = StdioServerParameters(command=sys.executable, args=["-m", "headrace", "mcp"], env=environ)

    async def work(_: Client) -> None:
        raise AssertionError("there is nothing to work with")

    with pytest.raises(BaseExceptionGroup) as failed:
        with_client(lambda: stdio_client(command), "legacy", work)
    assert "cannot be reached" in repr(failed.value)


def rpc(server: Server, flow: str, method: str, key: str = KEY, **params: Any) -> Reply:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return server.send("POST", f"/api/v1/mcp/{flow}", body, {"Authorization": f"Bearer {key}"})


def test_a_flow_is_switched_on_by_its_settings_and_opened_by_its_token(server: Server, chat: str) -> None:
    path = f"/api/v1/mcp-server/{chat}"
    made = server.send("POST", path, {"toolName": "ask_flow", "description": "Ask the flow"}, admin=True)
    assert made.status == 201
    token = made.json["token"]
    assert len(token) == 32
    [tool] = rpc(server, chat, "tools/list", token).json["result"]["tools"]
    assert (tool["name"], tool["description"]) == ("ask_flow", "Ask the flow")
    assert tool["inputSchema"]["required"] == ["question"]
    called = rpc(server, chat, "tools/call", token, name="ask_flow", arguments={"question": "/say Hello"})
    assert called.json["result"] == {"content": [{"type": "text", "text": "Hello"}]}
    renewed = server.send("POST", f"{path}/refresh", {}, admin=True).json["token"]
    assert rpc(server, chat, "ping", token).status == 401
    assert rpc(server, chat, "ping", renewed).json["result"] == {}
    assert server.send("PUT", path, {"toolName": "no such name!"}, admin=True).status == 400
    server.send("DELETE", path, admin=True)
    assert rpc(server, chat, "ping", renewed).status == 401
    assert rpc(server, chat, "ping").status == 404
    assert server.send("GET", path, admin=True).json["enabled"] is False


def test_a_form_is_the_schema_of_the_tool(server: Server, upstream: Upstream) -> None:
    fields = [
        {"type": "string", "label": "Your name", "name": "name"},
        {"type": "number", "label": "Age", "name": "age"},
        {"type": "options", "label": "Colour", "name": "colour", "addOptions": [{"option": "red"}, {"option": "blue"}]},
    ]
    begin = start(startInputType="formInput", formInputTypes=fields)
    model = llm(upstream.url, message="/say Hello {{ $form.name }}")
    flow = server.create_flow(agent_flow(begin, model, arrows="start_0 llm_0"), type="AGENTFLOW")
    [tool] = rpc(server, flow, "tools/list").json["result"]["tools"]
    form = tool["inputSchema"]["properties"]["form"]["properties"]
    assert [form[name]["type"] for name in ("name", "age", "colour")] == ["string", "number", "string"]
    assert form["colour"]["enum"] == ["red", "blue"]
    asked = {"form": {"name": "Ada", "age": 36, "colour": "red"}}
    called = rpc(server, flow, "tools/call", name=tool["name"], arguments=asked)
    assert called.json["result"]["content"][0]["text"] == "Hello Ada"
    wrong = rpc(server, flow, "tools/call", name=tool["name"], arguments={"question": "Hi"})
    assert wrong.json["error"]["code"] == -32602


BAD: dict[str, tuple[bytes, dict[str, str], int, int]] = {
    "no JSON": (b"{", {}, 400, -32700),
    "no UTF-8": (b'{"method": "\xff"}', {}, 400, -32700),
    "several requests": (b"[]", {}, 400, -32600),
    "another protocol": (b'{"id": 1, "method": "ping"}', {}, 400, -32600),
    "an id that is none": (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', {}, 400, -32600),
    "an unknown method": (b'{"jsonrpc": "2.0", "id": 1, "method": "x"}', {}, 200, -32601),
    "an unknown method in 2026": (
        b'{"jsonrpc": "2.0", "id": 1, "method": "x"}',
        {"MCP-Protocol-Version": "2026-07-28"},
        404,
        -32601,
    ),
    "an unknown version": (
        b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}',
        {"MCP-Protocol-Version": "1999-01-01"},
        400,
        -32022,
    ),
    "a header that says another method": (
        b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}',
        {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"},
        400,
        -32020,
    ),
    "a wrong key": (b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}', {"Authorization": "Bearer x"}, 401, -32001),
    "an unknown tool": (
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}}',
        {},
        200,
        -32602,
    ),
}


@pytest.mark.parametrize(("body", "headers", "status", "code"), BAD.values(), ids=BAD)
def test_requests_of_another_shape_are_answered_in_the_protocol(
    server: Server, chat: str, body: bytes, headers: dict[str, str], status: int, code: int
) -> None:
    reply = server.send("POST", f"/api/v1/mcp/{chat}", body, {"Authorization": f"Bearer {KEY}", **headers})
    assert (reply.status, reply.json["error"]["code"]) == (status, code)


def test_notifications_are_taken_and_sessions_are_not_there(server: Server, chat: str) -> None:
    told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert server.send("POST", f"/mcp/{chat}", told, {"Authorization": f"Bearer {KEY}"}).status == 202
    for method in ("GET", "DELETE"):
        gone = server.send(method, f"/api/v1/mcp/{chat}", None, {"Authorization": f"Bearer {KEY}"})
        assert (gone.status, gone.json["error"]["code"]) == (405, -32000)


def test_a_call_that_breaks_off_goes_on_byte_for_byte(server: Server, chat: str) -> None:
    params = {"name": "test", "arguments": {"question": "/count 9 | /pace 2"}, "_meta": {"progressToken": 7}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"Authorization": f"Bearer {KEY}", "Accept": "application/json, text/event-stream"}
    whole = server.send("POST", f"/mcp/{chat}", body, headers).body
    frames = [frame + b"\n\n" for frame in whole.split(b"\n\n") if frame]
    assert len(frames) > 9
    for cut, frame in enumerate(frames):
        last = frame.split(b"\n")[0].removeprefix(b"id: ").decode()
        rest = server.send("POST", f"/mcp/{chat}", body, {**headers, "Last-Event-ID": last}).body
        assert rest == b"".join(frames[cut + 1 :])


def test_a_client_of_2026_that_leaves_stops_the_model(server: Server, chat: str, upstream: Upstream) -> None:
    async def work(client: Client) -> None:
        call = asyncio.create_task(client.call_tool("test", {"question": "/count 5000 | /pace 5"}))
        await asyncio.to_thread(upstream.wait_until, bool)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    with_client(over_http(server, f"/mcp/{chat}", KEY), "2026-07-28", work)
    assert eventually(lambda: upstream.requests[-1].closed_by_peer_at_token is not None)
