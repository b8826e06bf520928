"""What visitors are told of agent flows: which nodes ran, and nothing of what these are told, give and keep."""

import json
from typing import Any

import pytest
from agentflows import SHOWN, Flow, executed, flow, llm, node, reply, start
from servers import Reply, Server
from test_tools import agent
from test_tools import node as chat_node
from upstream import Upstream

HIDES: Flow = {"type": "AGENTFLOW", "apiConfig": json.dumps({"showInternals": False})}


def secretive(base: str) -> Flow:
    """Each of its nodes holds a word in capitals that visitors are not told."""
    began = start(startState=[{"key": "plan", "value": "STATE"}])
    first = llm(base, message="/say A draft.", llmMessages=[{"role": "system", "content": "PROMPT"}])
    asks = node("humanInput", humanInputDescription="Publish it?", humanInputEnableFeedback=True)
    last = llm(base, 1, message="/say Hello", llmMessages=[{"role": "system", "content": "ASKED"}])
    arrows = "start_0 llm_0, llm_0 humanInput_0, humanInput_0:0 llm_1"
    return flow(began, first, asks, last, arrows=arrows)


def told(text: str) -> list[str]:
    return [word for word in ("STATE", "PROMPT", "ASKED") if word in text]


def answered(server: Server, key: str, *, admin: bool = False, path: str = "", **fields: Any) -> tuple[Reply, Reply]:
    """The answers up to the question to a person, and after it."""
    body = {"chatId": f"c{admin}{fields}", **fields}
    yes = {"type": "proceed", "startNodeId": "humanInputAgentflow_0"}
    where = f"/api/v1/prediction/{key}{path}"
    first = server.send("POST", where, {"question": "Hi", **body}, admin=admin)
    return first, server.send("POST", where, {"humanInput": yes, **body}, admin=admin)


@pytest.mark.parametrize(
    ("path", "fields"),
    [("", {}), ("", {"streaming": True}), ("?format=named", {"streaming": True})],
    ids=["JSON", "a stream", "a stream of named events"],
)
def test_visitors_see_that_nodes_ran_and_not_what_they_hold(
    server: Server, upstream: Upstream, path: str, fields: Flow
) -> None:
    key = server.create_flow(secretive(upstream.url), **HIDES)
    stopped, done = answered(server, key, path=path, **fields)
    assert [(answer.status, told(answer.text)) for answer in (stopped, done)] == [(200, [])] * 2
    assert "humanInputAgentflow_0" in stopped.text, "whoever answers the question needs its node"
    assert "Hello" in done.text
    owned = "".join(answer.text for answer in answered(server, key, path=path, admin=True, **fields))
    assert told(owned) == ["STATE", "PROMPT", "ASKED"]


def test_executed_nodes_keep_the_shape_that_clients_read(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(secretive(upstream.url), **HIDES)
    seen, whole = (executed(answered(server, key, admin=admin)[0]) for admin in (False, True))
    names = ("nodeId", "nodeLabel", "previousNodeIds", "status")
    assert [[one[name] for name in names] for one in seen] == [[one[name] for name in names] for one in whole]
    assert seen[1]["data"] == {"id": "llmAgentflow_0", "name": "llmAgentflow", "input": {}, "output": {}, "state": {}}


def test_a_reader_who_comes_back_gets_the_same_bytes_and_another_one_what_is_theirs(
    server: Server, upstream: Upstream
) -> None:
    key = server.create_flow(secretive(upstream.url), **HIDES)
    first, _ = answered(server, key, streaming=True)
    events = f"/api/v1/runs/{first.headers['X-Run-Id']}/events"
    assert server.send("GET", events).body == first.body
    assert told(server.send("GET", f"{events}?times=true").text) == []
    assert told(server.send("GET", events, admin=True).text) == ["STATE", "PROMPT"]
    own, _ = answered(server, key, admin=True, streaming=True)
    again = f"/api/v1/runs/{own.headers['X-Run-Id']}/events"
    assert server.send("GET", again, admin=True).body == own.body
    assert told(server.send("GET", again).text) == []


@pytest.mark.parametrize(("permission", "seen"), [("chatflows:view", True), ("executions:view", False)])
def test_a_key_that_may_read_the_flow_sees_all_of_it(
    server: Server, upstream: Upstream, permission: str, seen: bool
) -> None:
    made = server.send("POST", "/api/v1/apikey", {"keyName": permission, "permissions": [permission]}, admin=True).json
    key = server.create_flow(secretive(upstream.url), apikeyid=made["id"], **HIDES)
    headers = {"Authorization": f"Bearer {made['apiKey']}"}
    answer = server.send("POST", f"/api/v1/prediction/{key}", {"question": "Hi"}, headers)
    assert (answer.status, bool(told(answer.text))) == (200, seen)


def test_a_flow_may_show_everybody_all_of_it(server: Server, upstream: Upstream) -> None:
    answer, _ = answered(server, server.create_flow(secretive(upstream.url), **SHOWN))
    assert told(answer.text) == ["STATE", "PROMPT"]


def test_an_agent_flow_that_is_a_tool_is_told_to_visitors_in_the_same_way(server: Server, upstream: Upstream) -> None:
    drawn = flow(start(startState=[{"key": "x", "value": "STATE"}]), reply("Done."), arrows="start_0 directReply_0")
    child = server.create_flow(drawn, type="AGENTFLOW")
    tool = chat_node("agentAsTool", "Tools", selectedAgentflow=child, name="ask agent", description="Asks.")
    parent = server.create_flow(
        agent(upstream.url, tool, enableDetailedStreaming=True), apiConfig=json.dumps({"showInternals": False})
    )
    body = {"question": '/tool ask_agent {"input": "x"}', "streaming": True}
    seen, whole = (server.send("POST", f"/api/v1/prediction/{parent}", body, admin=admin) for admin in (False, True))
    assert (told(seen.text), told(whole.text)) == ([], ["STATE"])
    assert seen.kinds == whole.kinds


def test_keys_are_shown_to_nobody(server: Server, upstream: Upstream) -> None:
    config = {"requestsGetUrl": f"{upstream.url}/x?api_key=SECRET", "requestsGetHeaders": '{"Authorization":"SECRET"}'}
    tools = [{"agentSelectedTool": "requestsGet", "agentSelectedToolConfig": config}]
    settings = {"modelName": "gpt-4o-mini", "basepath": upstream.url}
    drawn = node("agent", agentModel="chatOpenAI", agentModelConfig=settings, agentTools=tools)
    key = server.create_flow(flow(start(), drawn, arrows="start_0 agent_0"), **SHOWN)
    answer = server.send("POST", f"/api/v1/prediction/{key}", {"question": "/say Hi"}, admin=True)
    assert answer.json["text"] == "Hi"
    assert "SECRET" not in answer.text
