"""Multi-agent flows that stop before a tool, and what their sessions remember."""

import json
from pathlib import Path
from typing import Any

import pytest
from provider import Provider
from servers import Reply, Server, node, serving
from teams import TEAM, Cast, Flow, agent, begin, flow, llm, reasoning, spoke, state, step, table
from test_agent_templates import Turn

CALL = Turn("", "calculator", {"input": "6*7"})
ASKED = ("user", "How many?")


def careful(base: str, **inputs: Any) -> Flow:
    """An agent that asks before it counts, and one that says what it has counted."""
    counter = agent(
        "Counter", tools=["{{calculator_0.data.instance}}"], interrupt=True, approvalPrompt="May I use {tools}?",
        approveButtonText="Go on", rejectButtonText="Stop", **inputs,
    )  # fmt: skip
    return flow(
        base, begin(agentMemory="{{agentMemory_0.data.instance}}"), node("agentMemory", "Memory", label="Agent Memory"),
        node("calculator", "Tools"), counter, llm("Teller"), step("seqEnd"),
        arrows="seqStart_0 seqAgent_0, seqAgent_0 seqLLMNode_0, seqLLMNode_0 seqEnd_0",
    )  # fmt: skip


def at_a_tool_node(base: str) -> Flow:
    uses = step(
        "seqToolNode", toolNodeName="Use", tools=["{{calculator_0.data.instance}}"], interrupt=True,
        approvalPrompt="May I use {tools}?", approveButtonText="Go on", rejectButtonText="Stop",
    )  # fmt: skip
    return flow(
        base, begin(), node("calculator", "Tools"), llm("Counter"), uses, llm("Teller", 1), step("seqEnd"),
        arrows="seqStart_0 seqLLMNode_0, seqLLMNode_0 seqToolNode_0, seqToolNode_0 seqLLMNode_1, seqLLMNode_1 seqEnd_0",
    )  # fmt: skip


def pressed(server: Server, key: str, asked: Reply, label: str, **fields: Any) -> Reply:
    """The answer after a click on one of the buttons."""
    action = asked.json["action"]
    return server.ask(key, label, action=action, chatId=asked.json["chatId"], **fields)


def test_an_agent_stops_before_a_tool_and_goes_on_when_it_may(server: Server, provider: Provider) -> None:
    cast = Cast(provider, nobody="May I?", Counter=[CALL, Turn("It is 42.")], Teller="42, then.")
    key = server.create_flow(careful(provider.url), **TEAM)
    stopped = server.ask(key, "How many?")
    assert stopped.json["text"] == "May I?"
    assert stopped.json["action"]["mapping"] == {
        "approve": "Go on", "reject": "Stop",
        "toolCalls": [{"name": "calculator", "args": {"input": "6*7"}, "id": "c1", "type": "tool_call"}],
    }  # fmt: skip
    assert [button["label"] for button in stopped.json["action"]["elements"]] == ["Go on", "Stop"]
    assert cast.told("nobody") == [
        [("user", 'May I use [{"tool":"calculator","toolInput":{"input":"6*7"},"toolOutput":""}]?')]
    ]
    done = pressed(server, key, stopped, "Go on", streaming=True)
    assert spoke(done) == [("Counter", ["It is 42."]), ("Teller", ["42, then."])]
    assert reasoning(done)[0]["usedTools"] == [
        {"tool": "calculator", "toolInput": {"input": "6*7"}, "toolOutput": "42"}
    ]
    assert cast.told("Teller") == [[ASKED, ("assistant", ""), ("tool", "42"), ("user", "It is 42.")]]


def test_a_no_is_told_to_the_agent_and_the_tool_is_not_used(server: Server, provider: Provider) -> None:
    cast = Cast(provider, nobody="May I?", Counter=[CALL, Turn("Then not.")], Teller="As you wish.")
    key = server.create_flow(careful(provider.url), **TEAM)
    done = pressed(server, key, server.ask(key, "How many?"), "Stop")
    assert spoke(done) == [("Counter", ["Then not."]), ("Teller", ["As you wish."])]
    assert reasoning(done)[0]["usedTools"] == []
    *_, (role, told) = cast.told("Counter")[-1]
    assert (role, "not allowed calculator" in told) == ("tool", True)


@pytest.mark.parametrize(("label", "given"), [("Go on", "42"), ("Stop", "not allowed")])
def test_a_tool_node_asks_before_it_uses_its_tools(server: Server, provider: Provider, label: str, given: str) -> None:
    cast = Cast(provider, nobody="May I?", Counter=[CALL], Teller="Told.")
    key = server.create_flow(at_a_tool_node(provider.url), **TEAM)
    stopped = server.ask(key, "How many?")
    assert (stopped.json["text"], spoke(stopped)) == ("May I?", [("Counter", [""])])
    done = pressed(server, key, stopped, label)
    assert [who for who, _ in spoke(done)] == ["Use", "Teller"]
    assert given in cast.told("Teller")[0][-1][1]


def test_a_question_that_is_no_button_begins_anew_and_the_first_one_still_waits(
    server: Server, provider: Provider
) -> None:
    Cast(provider, nobody="May I?", Counter=[CALL, Turn("Hello."), Turn("It is 42.")], Teller="Told.")
    key = server.create_flow(careful(provider.url), **TEAM)
    stopped = server.ask(key, "How many?")
    other = pressed(server, key, stopped, "Never mind")
    assert spoke(other)[0] == ("Counter", ["Hello."])
    assert spoke(pressed(server, key, stopped, "Go on"))[0] == ("Counter", ["It is 42."])
    assert pressed(server, key, stopped, "Go on").json["code"] == "conflict", "nothing waits any more"


def test_what_waits_goes_on_after_a_restart(tmp_path: Path, provider: Provider) -> None:
    Cast(provider, nobody="May I?", Counter=[CALL, Turn("It is 42.")], Teller="Told.")
    with serving(tmp_path / "data") as server:
        key = server.create_flow(careful(provider.url), **TEAM)
        stopped = server.ask(key, "How many?")
        server.stop()
    with serving(tmp_path / "data") as server:
        path = f"/api/v1/executions/{stopped.json['executionId']}/answer"
        done = server.send("POST", path, {"type": "proceed"}, admin=True)
        assert (done.status, done.json["text"]) == (200, "Told."), done.text


# What sessions remember


def test_a_session_goes_on_from_what_its_agents_said_and_from_their_state(server: Server, provider: Provider) -> None:
    cast = Cast(provider, Writer="A draft.", Critic="Hm.")
    drawn = flow(
        provider.url, begin(agentMemory="{{sqliteAgentMemory_0.data.instance}}", state="{{seqState_0.data.instance}}"),
        node("sqliteAgentMemory", "Memory"), state({"key": "drafts", "type": "Append"}),
        llm("Writer", updateStateMemoryUI=table(drafts="$flow.output.content")),
        agent("Critic", systemMessagePrompt="Critic {drafts}", promptValues='{"drafts": "$flow.state.drafts"}'),
        step("seqEnd"), arrows="seqStart_0 seqLLMNode_0, seqLLMNode_0 seqAgent_0, seqAgent_0 seqEnd_0",
    )  # fmt: skip
    key = server.create_flow(drawn, **TEAM)
    for question in ("One?", "Two?"):
        assert server.ask(key, question, chatId="mine").json["memoryType"] == "sqliteAgentMemory"
    said = [("user", "One?"), ("assistant", "A draft."), ("user", "Hm."), ("user", "Two?")]
    assert cast.told("Writer") == [said[:1], said]
    systems = [seen.body["messages"][0]["content"] for seen in provider.seen if cast.role(seen) == "Critic"]
    assert systems == ['Critic ["A draft."]', 'Critic ["A draft.","A draft."]']
    server.ask(key, "One?", chatId="yours")
    assert cast.told("Writer")[-1] == [("user", "One?")], "another session"
    server.send("DELETE", f"/api/v1/chatmessage/{key}?chatId=mine", admin=True)
    server.ask(key, "Three?", chatId="mine")
    assert cast.told("Writer")[-1] == [("user", "Three?")], "its messages were deleted"


def test_without_a_memory_a_run_knows_what_the_request_brings(server: Server, provider: Provider) -> None:
    cast = Cast(provider, Writer="A draft.")
    drawn = flow(
        provider.url, begin(), llm("Writer"), step("seqEnd"), arrows="seqStart_0 seqLLMNode_0, seqLLMNode_0 seqEnd_0"
    )
    key = server.create_flow(drawn, **TEAM)
    history = [{"role": "userMessage", "content": "Hi"}, {"role": "apiMessage", "content": "Hello"}]
    server.ask(key, "One?", chatId="c")
    server.ask(key, "Two?", chatId="c", history=history)
    assert cast.told("Writer") == [[("user", "One?")], [("user", "Hi"), ("assistant", "Hello"), ("user", "Two?")]]


def test_a_run_that_fails_leaves_the_memory_as_it_was(server: Server, provider: Provider) -> None:
    def broken(_: Any) -> Turn:
        raise ConnectionError

    cast = Cast(provider, nobody="May I?", Counter=[Turn("One."), Turn("Two."), Turn("Three.")], Teller="Told.")
    key = server.create_flow(careful(provider.url), **TEAM)
    server.ask(key, "First?", chatId="c")
    cast.parts["Teller"] = broken
    assert server.ask(key, "Second?", chatId="c").status >= 400
    cast.parts["Teller"] = "Told."
    server.ask(key, "Third?", chatId="c")
    assert [text for _, text in cast.told("Counter")[-1]] == ["First?", "One.", "Told.", "Third?"]


def test_the_import_report_says_that_a_named_database_is_not_opened(server: Server, provider: Provider) -> None:
    memory = node("postgresAgentMemory", "Memory", host="db.example", database="agents")
    drawn = flow(
        provider.url, begin(agentMemory="{{postgresAgentMemory_0.data.instance}}"), memory, llm("Writer"),
        step("seqEnd"), arrows="seqStart_0 seqLLMNode_0, seqLLMNode_0 seqEnd_0",
    )  # fmt: skip
    created = server.send(
        "POST", "/api/v1/chatflows", {"name": "t", "flowData": json.dumps(drawn), "type": "MULTIAGENT"}, admin=True
    )
    found = [one for one in created.json["coverage"]["findings"] if one["node"] == memory["id"]]
    assert {one["input"] for one in found} == {"host", "database"}
    assert not any(one["stops"] for one in found)
