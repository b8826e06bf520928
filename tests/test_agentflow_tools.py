"""Tools in agent flows, on a real server: those of agent nodes, and nodes that are one tool."""

from typing import Any

import pytest
from agentflows import Flow, executed, flow, node, reply, said, start, steps
from servers import Server
from upstream import Upstream

AGENT = {"type": "AGENTFLOW"}
CALCULATOR = {"agentSelectedTool": "calculator", "agentSelectedToolConfig": {"agentSelectedTool": "calculator"}}
SUM = '/tool calculator {"input": "17 * 23"} | /say It is 391.'


def agent(base: str, *tools: Flow, **rest: Any) -> Flow:
    settings = {"modelName": "gpt-4o-mini", "basepath": base, "streaming": True}
    return node("agent", agentModel="chatOpenAI", agentModelConfig=settings, agentTools=list(tools), **rest)


def answering(server: Server, *nodes: Flow) -> str:
    first = nodes[0]["id"].replace("Agentflow", "")
    return server.create_flow(flow(start(), *nodes, arrows=f"start_0 {first}"), **AGENT)


def custom(server: Server, name: str, code: str, **columns: Any) -> str:
    """A stored tool in JavaScript."""
    record = {"name": name, "description": "For tests.", "schema": "[]", "func": code, **columns}
    return server.send("POST", "/api/v1/tools", record, admin=True).json["id"]


def chosen(tool: str, **inputs: Any) -> Flow:
    return {"agentSelectedTool": tool, "agentSelectedToolConfig": inputs}


def used(server: Server, tool: str, arguments: Flow, **config: Any) -> Any:
    """The answer of a flow that is one tool."""
    given = [{"inputArgName": name, "inputArgValue": value} for name, value in arguments.items()]
    inputs: Flow = {
        "toolAgentflowSelectedTool": tool,
        "toolAgentflowSelectedToolConfig": config,
        "toolInputArgs": given,
    }
    return server.ask(answering(server, node("tool", **inputs)), "Z-9", streaming=True)


def test_an_agent_uses_its_tools_and_tells_of_them(server: Server, upstream: Upstream):
    key = answering(server, agent(upstream.url, CALCULATOR, chosen("currentDateTime"), agentEnableMemory=True))
    answer = server.ask(key, SUM, streaming=True, chatId="counts")
    assert said(answer) == "It is 391."
    told = {event["event"]: event["data"] for event in answer.events}
    assert told["usedTools"] == [{"tool": "calculator", "toolInput": {"input": "17 * 23"}, "toolOutput": "391"}]
    assert "sourceDocuments" not in told
    output = executed(answer)[1]["data"]["output"]
    assert [tool["toolNode"]["label"] for tool in output["availableTools"]] == ["Calculator", "CurrentDateTime"]
    server.ask(key, "And now?", chatId="counts")
    assert [one["role"] for one in upstream.requests[-1].body["messages"]] == ["user", "assistant", "user"]


def test_what_a_tool_is_set_to_may_refer_to_the_flow(server: Server, upstream: Upstream):
    began = start(startState=[{"key": "host", "value": "127.0.0.77"}])
    looks = chosen("requestsGet", requestsGetUrl="http://{{ $flow.state.host }}/")
    drawn = flow(began, agent(upstream.url, looks), arrows="start_0 agent_0")
    (use,) = server.ask(server.create_flow(drawn, **AGENT), "/tool requests_get {}").json["usedTools"]
    assert use["error"].startswith("'127.0.0.77' leads to a loopback address")


def test_a_tool_that_fails_is_what_the_model_reads(server: Server, upstream: Upstream):
    tool = custom(server, "breaks", "throw new Error('out of order')")
    answer = server.ask(
        answering(server, agent(upstream.url, chosen("customTool", selectedTool=tool))), "/tool breaks {}"
    )
    (use,) = answer.json["usedTools"]
    assert "out of order" in use["error"]
    assert "out of order" in upstream.requests[-1].body["messages"][-1]["content"]


def test_a_tool_that_returns_directly_has_the_last_word(server: Server, upstream: Upstream):
    tool = custom(server, "decides", "return 'It is so.'")
    key = answering(server, agent(upstream.url, chosen("customTool", selectedTool=tool, returnDirect=True)))
    answer = server.ask(key, "/tool decides {} | /say Not asked.", streaming=True)
    assert said(answer) == "It is so."
    assert executed(answer)[1]["data"]["output"]["content"] == "It is so."
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"agentToolsBuiltInOpenAI": '["web_search_preview"]'}, "tools of its model's provider"),
        ({"agentTools": [chosen("customTool")]}, "the custom tool has no function"),
        ({"agentTools": [chosen("bufferMemory")]}, "it is no tool"),
    ],
)
def test_what_cannot_be_used_yet_is_said(server: Server, upstream: Upstream, inputs: Flow, said: str):
    drawn = agent(upstream.url)
    drawn["data"]["inputs"].update(inputs)
    answer = server.ask(answering(server, drawn), "Hi")
    assert (answer.status, said in answer.text) == (422, True), answer.text


def test_unknown_tools_are_named_before_anything_runs(server: Server, upstream: Upstream):
    answer = server.ask(answering(server, agent(upstream.url, chosen("pigeonPost"))), "Hi")
    assert answer.status == 422
    assert "pigeonPost" in answer.text
    assert not upstream.requests


def test_a_tool_node_gives_what_its_tool_gives(server: Server):
    fields = '[{"property": "count", "type": "number", "description": "How many", "required": true}]'
    tool = custom(server, "ship", "return `${$count * 2} of ${$flow.input}`", schema=fields)
    answer = used(server, "customTool", {"count": "21"}, selectedTool=tool)
    assert said(answer) == "42 of Z-9"
    data = executed(answer)[1]["data"]
    assert data["input"]["toolInputArgs"] == [{"inputArgName": "count", "inputArgValue": "21"}]
    assert data["output"] == {"content": "42 of Z-9"}


def test_a_tool_node_passes_its_result_on(server: Server):
    counts = node(
        "tool",
        toolAgentflowSelectedTool="calculator",
        toolInputArgs=[{"inputArgName": "input", "inputArgValue": "<p>{{ question }} + 1</p>"}],
        toolUpdateState=[{"key": "sum", "value": "{{ output }}"}],
    )
    drawn = flow(
        start(startState=[{"key": "sum", "value": ""}]),
        counts,
        reply("{{ toolAgentflow_0 }} = {{ $flow.state.sum }}"),
        arrows="start_0 tool_0, tool_0 directReply_0",
    )
    assert said(server.ask(server.create_flow(drawn, **AGENT), "41", streaming=True)) == "42 = 42"


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        ({"count": "many"}, "return 1", "does not take its arguments"),
        ({}, "return 1", "does not take its arguments"),
        ({"count": "1"}, "throw new Error('out of order')", "out of order"),
    ],
)
def test_a_tool_node_that_fails_ends_the_run(server: Server, arguments: Flow, code: str, error: str):
    fields = '[{"property": "count", "type": "number", "description": "How many", "required": true}]'
    answer = used(server, "customTool", arguments, selectedTool=custom(server, "ship", code, schema=fields))
    assert steps(answer) == ["start_0", "tool_0 ERROR"]
    assert error in next(event["data"] for event in answer.events if event["event"] == "error")
