"""Tools: what the built-in ones give, and an agent with them over HTTP."""

import json
from typing import Any

import msgspec
import pytest
import upstream_script
from agentflows import flow as agentflow
from agentflows import llm, reply, start
from hypothesis import given
from hypothesis import strategies as st
from servers import Server, chat_model, flow, llm_chain, node
from upstream import Upstream
from upstream_script import ChatRequest, deltas, question_of

from headrace.events import decode, fold
from headrace.nodes.tools.arithmetic import calculated

SUMS = {
    "2+2*10": "22",
    "8/2": "4",
    "1/3": "0.3333333333333333",
    "2^10": "1024",
    "2 ** 0.5": "1.4142135623730951",
    "-(3 - 5)": "2",
    "17 % 5": "2",
    "sqrt(16) + max(1, 2, 3)": "7",
    "PI": "3.141592653589793",
    "1/3e8": "3.3333333333333334e-9",
    "10^300 * 10^300": "Infinity",
}


@pytest.mark.parametrize(("expression", "value"), SUMS.items())
def test_a_sum_is_calculated(expression: str, value: str) -> None:
    assert calculated(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "", "2+", "1/0", "sqrt(-1)", "(-8)^(1/3)", "9^9^9", "a", "a.b", "__import__('os')", "open('x')", "lambda: 1",
        "[1][0]", "1 if 1 else 2", "'a'*9", "True", "1j", "2 << 9", "max()", "sqrt(x=4)", "(" * 500, "1+" * 600 + "1",
        "1,2", "x := 5", "f'{1}'", "{1: 2}", "not 1", "1 < 2",
    ],
)  # fmt: skip
def test_what_is_no_sum_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        calculated(expression)


@given(st.text(alphabet="0123456789+-*/^%(). episqrtmax,", max_size=60))
def test_any_text_is_calculated_or_refused(text: str) -> None:
    try:
        value = calculated(text)
    except ValueError:
        return
    assert value in ("Infinity", "-Infinity", "NaN") or float(value) is not None


def agent(base: str, *tools: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    """A tool agent with memory and these tools."""
    wires = [f"{{{{{tool['id']}.data.instance}}}}" for tool in tools]
    memory = node("bufferMemory", "Memory", label="Memory", memoryKey="chat_history")
    wired = {"model": "{{chatOpenAI_0.data.instance}}", "memory": "{{bufferMemory_0.data.instance}}", "tools": wires}
    return flow(
        chat_model(base), memory, *tools, node("toolAgent", "Agents", label="Tool Agent", **{**wired, **inputs})
    )


def test_an_agent_streams_around_its_tools_and_all_three_answers_agree(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(agent(upstream.url, node("calculator", "Tools")))
    question = '/tool calculator {"input": "6*7"} && calculator {"input": "2+"} | /tool calculator {"input": "1+1"}'
    stream = server.ask(flow_id, question, streaming=True, chatId="c-1")
    assert stream.kinds == ["start", "token", "usedTools", "metadata", "end"]
    used = next(event["data"] for event in stream.events if event["event"] == "usedTools")
    assert [tool["toolOutput"] for tool in used] == ["42", "I don't know how to do that.", "2"]
    answer = server.ask(flow_id, question, chatId="c-2").json
    folded = fold([decode(json.dumps(event)) for event in stream.events])
    assert folded.text == answer["text"] == "Tool said: 42 | I don't know how to do that. | 2"
    assert answer["usedTools"] == used
    stored = server.send("GET", f"/api/v1/chatmessage/{flow_id}?chatId=c-1", admin=True).json[-1]
    assert (stored["content"], stored["usedTools"]) == (answer["text"], used)


@pytest.mark.parametrize(
    ("name", "streams"), [("openAIFunctionAgent", False), ("conversationalRetrievalToolAgent", True)]
)
def test_agents_of_older_flows_work_alike(server: Server, upstream: Upstream, name: str, streams: bool) -> None:
    drawn = agent(upstream.url, node("calculator", "Tools"))
    drawn["nodes"][-1]["data"]["name"] = name
    flow_id = server.create_flow(drawn)
    assert server.send("GET", f"/api/v1/chatflows-streaming/{flow_id}").json == {"isStreaming": streams}
    answer = server.ask(flow_id, '/tool calculator {"input": "6*7"} | /say It is 42.', chatId="c").json
    assert (answer["text"], answer["usedTools"][0]["toolOutput"]) == ("It is 42.", "42")
    server.ask(flow_id, "/say Hello", chatId="c")
    roles = [message["role"] for message in upstream.requests[-1].body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


def test_the_clock_tells_the_time_in_its_parts(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(agent(upstream.url, node("currentDateTime", "Tools")))
    answer = server.ask(flow_id, "/tool current_date_time {}").json
    told = json.loads(answer["usedTools"][0]["toolOutput"])
    assert set(told) == {"date", "time", "day", "timezone", "utcOffset"}


def test_a_chain_is_a_tool_for_an_agent(server: Server, upstream: Upstream) -> None:
    prompt = node("promptTemplate", "Prompts", template="Shout: {text}")
    chain = node(
        "llmChain", "Chains", output="llmChain",
        model="{{chatOpenAI_0.data.instance}}", prompt="{{promptTemplate_0.data.instance}}",
    )  # fmt: skip
    tool = node("chainTool", "Tools", name="shout it", description="Shouts.", baseChain="{{llmChain_0.data.instance}}")
    parts = agent(upstream.url, tool)
    parts["nodes"][2:2] = [prompt, chain]
    again = flow(*parts["nodes"])
    answer = server.ask(server.create_flow(again), '/tool shout_it {"input": "/say HELLO"}').json
    assert answer["usedTools"] == [{"tool": "shout_it", "toolInput": {"input": "/say HELLO"}, "toolOutput": "HELLO"}]
    assert answer["text"] == "Tool said: HELLO"


def test_an_agents_iterations_are_bounded_by_the_flow(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(agent(upstream.url, node("calculator", "Tools"), maxIterations="2"))
    question = " | ".join(['/tool calculator {"input": "1+1"}'] * 5)
    answer = server.ask(flow_id, question).json
    assert answer["text"] == "Agent stopped due to max iterations."
    assert len(answer["usedTools"]) == 2


def asking(server: Server, base: str, other: str, **inputs: Any) -> str:
    """A flow whose agent may ask another flow."""
    tool = node("ChatflowTool", "Tools", selectedChatflow=other, name="ask child", description="Asks.", **inputs)
    return server.create_flow(agent(base, tool))


def test_a_flow_asks_another_one_inside_its_own_run(server: Server, upstream: Upstream) -> None:
    child = server.create_flow(llm_chain(upstream.url, "Child says: {text}"))
    parent = asking(server, upstream.url, child)
    answer = server.ask(parent, '/tool ask_child {"input": "/say hello"}', chatId="nested").json
    assert answer["usedTools"] == [{"tool": "ask_child", "toolInput": {"input": "/say hello"}, "toolOutput": "hello"}]
    assert answer["text"] == "Tool said: hello"
    assert answer["usage"]["total_tokens"] == sum(usage_of(request) for request in upstream.requests)
    stored = server.send("GET", f"/api/v1/chatmessage/{child}?chatId=nested", admin=True).json
    assert [message["content"] for message in stored] == ["/say hello", "hello"]


def test_a_detailed_stream_shows_the_events_of_the_flow_that_is_asked(server: Server, upstream: Upstream) -> None:
    child = server.create_flow(llm_chain(upstream.url, "{text}"))
    tool = node("ChatflowTool", "Tools", selectedChatflow=child, name="ask child")
    parent = server.create_flow(agent(upstream.url, tool, enableDetailedStreaming=True))
    stream = server.ask(parent, '/tool ask_child {"input": "/say hello from inside"}', streaming=True)
    steps = [event["data"] for event in stream.events if event["event"] == "agent_trace"]
    assert [step["step"] for step in steps if step["step"] != "tool_event"] == [
        "agent_action",
        "tool_start",
        "tool_end",
    ]
    nested = [decode(json.dumps(step)) for step in steps if step["step"] == "tool_event"]
    assert fold(nested).text == "hello from inside"
    answer = fold([decode(json.dumps(event)) for event in stream.events])
    assert answer.text == "Tool said: hello from inside"


def test_an_agent_flow_is_a_tool_and_a_detailed_stream_shows_its_nodes(server: Server, upstream: Upstream) -> None:
    drawn = agentflow(start(), reply("Out of {{ question }}."), arrows="start_0 directReply_0")
    child = server.create_flow(drawn, type="AGENTFLOW")
    tool = node("agentAsTool", "Tools", selectedAgentflow=child, name="ask agent", description="Asks.")
    parent = server.create_flow(agent(upstream.url, tool, enableDetailedStreaming=True))
    stream = server.ask(parent, '/tool ask_agent {"input": "stock"}', streaming=True, chatId="agent")
    used = next(event["data"] for event in stream.events if event["event"] == "usedTools")
    assert used == [{"tool": "ask_agent", "toolInput": {"input": "stock"}, "toolOutput": "Out of stock."}]
    nested = [event["data"] for event in stream.events if event["event"] == "agent_trace"]
    told = [step["event"] for step in nested if step["step"] == "tool_event"]
    assert {"agentFlowEvent", "nextAgentFlow", "token"} <= set(told)
    assert not {"agentFlowEvent", "nextAgentFlow"} & set(stream.kinds), "they are the other flow's"
    stored = server.send("GET", f"/api/v1/chatmessage/{child}?chatId=agent", admin=True).json
    assert [message["content"] for message in stored] == ["stock", "Out of stock."]


def usage_of(request: Any) -> int:
    """What the scripted model counts for a request: it names its own words and those that it read."""
    question = question_of(msgspec.convert(request.body, ChatRequest))
    return upstream_script.usage_of(question, sum(size for _, size in deltas(question)))["total_tokens"]


def test_flows_that_ask_each_other_in_a_circle_are_stopped(server: Server, upstream: Upstream) -> None:
    child = server.create_flow(llm_chain(upstream.url, "{text}"))
    parent = asking(server, upstream.url, child)
    tool = node("ChatflowTool", "Tools", selectedChatflow=parent, name="ask child", useQuestionFromChat=True)
    flow_data = json.dumps(agent(upstream.url, tool))
    server.send("PUT", f"/api/v1/chatflows/{child}", {"flowData": flow_data}, admin=True)
    changed = json.dumps(agent(upstream.url, {**tool, "data": {**tool["data"], "inputs": {
        **tool["data"]["inputs"], "selectedChatflow": child}}}))  # fmt: skip
    server.send("PUT", f"/api/v1/chatflows/{parent}", {"flowData": changed}, admin=True)
    answer = server.ask(parent, '/tool ask_child {"input": "x"}').json
    assert "more than 8 deep" in json.dumps(answer["usedTools"])
    many = " && ".join('ask_child {"input": "x"}' for _ in range(4))  # 4 ** 8, were they not counted
    assert "more than 200 times" in server.ask(parent, f"/tool {many}").text


def test_a_flow_that_is_bound_to_a_key_is_asked_with_it(server: Server, upstream: Upstream) -> None:
    key = server.send("POST", "/api/v1/apikey", {"keyName": "child"}, admin=True).json
    child = server.create_flow(llm_chain(upstream.url, "{text}"), apikeyid=key["id"])
    question = '/tool ask_child {"input": "/say in"}'
    answer = server.ask(asking(server, upstream.url, child), question).json
    assert "needs its API key" in answer["usedTools"][0]["error"]
    secret = {"name": "c", "credentialName": "chatflowApi", "plainDataObj": {"chatflowApiKey": key["apiKey"]}}
    credential = server.send("POST", "/api/v1/credentials", secret, admin=True).json["id"]
    answer = server.ask(asking(server, upstream.url, child, credential=credential), question).json
    assert answer["usedTools"][0]["toolOutput"] == "in"


def test_cancelling_a_run_cancels_the_flow_that_it_asks(server: Server, upstream: Upstream) -> None:
    child = server.create_flow(llm_chain(upstream.url, "{text} | /pace 20"))
    parent = asking(server, upstream.url, child)
    body = {"question": '/tool ask_child {"input": "/count 500"}', "background": True}
    run = server.send("POST", f"/api/v1/prediction/{parent}", body).json["id"]
    upstream.wait_until(lambda requests: len(requests) == 2)
    assert server.send("POST", f"/api/v1/runs/{run}/cancel").status == 200
    upstream.wait_until(lambda requests: requests[1].closed_by_peer_at_token is not None)
    assert upstream.requests[1].finished is False


def test_cancelling_a_run_terminates_the_agent_flow_that_it_asks(server: Server, upstream: Upstream) -> None:
    drawn = agentflow(start(), llm(upstream.url, message="/count 500 | /pace 20"), arrows="start_0 llm_0")
    child = server.create_flow(drawn, type="AGENTFLOW")
    tool = node("agentAsTool", "Tools", selectedAgentflow=child, name="ask agent")
    parent = server.create_flow(agent(upstream.url, tool, enableDetailedStreaming=True))
    run = server.ask(parent, '/tool ask_agent {"input": "go"}', background=True).json["id"]
    upstream.wait_until(lambda requests: len(requests) == 2)
    assert server.send("POST", f"/api/v1/runs/{run}/cancel").status == 200
    upstream.wait_until(lambda requests: requests[1].closed_by_peer_at_token is not None)
    (found,) = server.send("GET", f"/api/v1/executions?agentflowId={child}", admin=True).json["data"]
    assert found["state"] == "TERMINATED"
