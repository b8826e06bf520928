"""Sequential agents: their order, the conversation and the state that they share, conditions, loops and tools."""

import json
from typing import Any

import pytest
from provider import Provider
from servers import Server, node
from teams import TEAM, Cast, Flow, agent, begin, condition, flow, llm, reasoning, spoke, state, step, table, when
from test_agent_templates import Turn

from headrace.events import decode, fold

ASKED = ("user", "Tea?")


def test_agents_speak_in_turn_and_each_reads_what_was_said(server: Server, provider: Provider) -> None:
    cast = Cast(provider, Writer="A draft.", Critic="Too long.")
    drawn = flow(
        provider.url, begin(), llm("Writer"), agent("Critic"), step("seqEnd"),
        arrows="seqStart_0 seqLLMNode_0, seqLLMNode_0 seqAgent_0, seqAgent_0 seqEnd_0",
    )  # fmt: skip
    key = server.create_flow(drawn, **TEAM)
    answer = server.ask(key, "Tea?", streaming=True)
    assert answer.kinds == [
        *("start", "agentReasoning", "agentReasoning", "token"),
        *("usedTools", "sourceDocuments", "artifacts", "metadata", "end"),
    ]
    assert spoke(answer) == [("Writer", ["A draft."]), ("Critic", ["Too long."])]
    assert answer.events[0]["data"] == answer.events[1]["data"], "the first event tells the first step too"
    assert cast.told("Critic") == [[ASKED, ("assistant", "A draft.")]]
    assert fold([decode(json.dumps(event)) for event in answer.events]).text == "Too long."
    assert server.ask(key, "Tea?").json["text"] == "Too long."
    assert server.send("GET", f"/api/v1/chatflows-streaming/{key}").json == {"isStreaming": True}


def test_chats_and_executions_keep_what_agents_did(server: Server, provider: Provider) -> None:
    Cast(provider, Writer="A draft.")
    arrows = "seqStart_0 seqLLMNode_0, seqLLMNode_0 seqEnd_0"
    key = server.create_flow(flow(provider.url, begin(), llm("Writer"), step("seqEnd"), arrows=arrows), **TEAM)
    answer = server.ask(key, "Tea?")
    stored = server.send("GET", f"/api/v1/chatmessage/{key}", admin=True).json
    assert [row["agentReasoning"] for row in stored] == [None, reasoning(answer)]
    execution = server.send("GET", f"/api/v1/executions/{answer.json['executionId']}", admin=True).json
    executed = {one["nodeId"]: one for one in json.loads(execution["executionData"])}
    assert executed["seqLLMNode_0"]["data"]["input"] == {"llmNodeName": "Writer", "systemMessagePrompt": "Writer"}
    assert executed["seqLLMNode_0"]["data"]["output"]["content"] == "A draft."


def test_steps_behind_the_same_one_see_the_same_and_the_step_that_joins_them_sees_all(
    server: Server, provider: Provider
) -> None:
    cast = Cast(provider, First="1", Left="2", Right="3", Last="4")
    drawn = flow(
        provider.url, begin(), agent("First"), agent("Left", 1), agent("Right", 2), agent("Last", 3), step("seqEnd"),
        arrows="seqStart_0 seqAgent_0, seqAgent_0 seqAgent_1, seqAgent_0 seqAgent_2, seqAgent_1 seqAgent_3, "
        "seqAgent_2 seqAgent_3, seqAgent_3 seqEnd_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **TEAM), "Tea?")
    assert [who for who, _ in spoke(answer)] == ["First", "Left", "Right", "Last"]
    assert cast.told("Left") == cast.told("Right") == [[ASKED, ("user", "1")]]
    assert cast.told("Last") == [[ASKED, ("user", "1"), ("user", "2"), ("user", "3")]]


def test_the_state_is_replaced_or_appended_to_and_read_by_prompts(server: Server, provider: Provider) -> None:
    cast = Cast(provider, Planner='{"steps": ["dig", "build"], "left": 2}', Worker="Dug.", Teller="All told.")
    keys = state({"key": "plan", "type": "Replace", "defaultValue": ""}, {"key": "done", "type": "Append"})
    fields = [{"key": "steps", "type": "String Array"}, {"key": "left", "type": "Number"}]
    script = "return { done: [$flow.state.plan[0] + ': ' + $flow.output.content], plan: $flow.state.plan.slice(1) };"
    drawn = flow(
        provider.url, begin(state="{{seqState_0.data.instance}}"), keys,
        llm("Planner", llmStructuredOutput=json.dumps(fields), updateStateMemoryUI=table(plan="$flow.output.steps")),
        agent(
            "Worker", selectedUpdateStateMemoryTab_seqAgent_0="updateStateMemoryCode", updateStateMemoryCode=script,
            humanMessagePrompt="Do this: {task}", promptValues='{"task": "$flow.state.plan[0]"}',
        ),
        llm(
            "Teller", 1, humanMessagePrompt="{q} {done} {plan} {count} {last}", conversationHistorySelection="empty",
            promptValues=json.dumps(
                {
                    "q": "{{question}}", "done": "$flow.state.done", "plan": "$flow.state.plan",
                    "count": "$flow.state.messages.length", "last": "$flow.state.messages[-1].content",
                }
            ),
        ),
        step("seqEnd"),
        arrows="seqStart_0 seqLLMNode_0, seqLLMNode_0 seqAgent_0, seqAgent_0 seqLLMNode_1, seqLLMNode_1 seqEnd_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **TEAM), "Tea?")
    assert answer.json["text"] == "All told.", answer.text
    assert [one["state"] for one in reasoning(answer)] == [
        {"plan": ["dig", "build"]}, {"done": ["dig: Dug."], "plan": ["build"]}, {},
    ]  # fmt: skip
    assert cast.told("Worker")[0][-1] == ("user", "Do this: dig")
    assert cast.told("Teller") == [[("user", 'Tea? ["dig: Dug."] ["build"] 3 Dug.')]]


def test_a_state_in_code_reduces_updates_by_its_own_functions(server: Server, provider: Provider) -> None:
    Cast(provider, Counter="One more.")
    code = "return { sum: { value: (x, y) => x + y, default: () => 40 } }"
    keys = step("seqState", selectedStateTab_seqState_0="stateMemoryCode", stateMemoryCode=code)
    script = "return { sum: 2 };"
    counter = agent(
        "Counter", selectedUpdateStateMemoryTab_seqAgent_0="updateStateMemoryCode", updateStateMemoryCode=script
    )
    last = step(
        "seqCustomFunction", functionName="Tell", javascriptFunction="return 'It is ' + $sum;",
        functionInputVariables='{"sum": "$flow.state.sum"}',
    )  # fmt: skip
    drawn = flow(
        provider.url, begin(state="{{seqState_0.data.instance}}"), keys, counter, last, step("seqEnd"),
        arrows="seqStart_0 seqAgent_0, seqAgent_0 seqCustomFunction_0, seqCustomFunction_0 seqEnd_0",
    )  # fmt: skip
    assert server.ask(server.create_flow(drawn, **TEAM), "Tea?").json["text"] == "It is 42"


@pytest.mark.parametrize(
    "how",
    [
        {"conditionUI": json.dumps([when("$flow.state.messages.length", "Less Than", "4", "Once More")])},
        {
            "selectedConditionFunctionTab_seqCondition_0": "conditionFunction",
            "conditionFunction": "return $flow.state.messages.length < 4 ? 'Once More' : 'End';",
        },
    ],
    ids=["a table", "a script"],
)
def test_a_condition_decides_whether_a_loop_goes_round_again(server: Server, provider: Provider, how: Flow) -> None:
    Cast(provider, Writer=[Turn("One"), Turn("Two"), Turn("Three")])
    drawn = flow(
        provider.url, begin(), llm("Writer"), step("seqCondition", conditionName="Enough?", **how), llm("Never", 1),
        step("seqLoop", loopToName="writer"), step("seqEnd"),
        arrows="seqStart_0 seqLLMNode_0, seqLLMNode_0 seqCondition_0, seqCondition_0:onceMore seqLoop_0, "
        "seqCondition_0:end seqEnd_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **TEAM), "Tea?", streaming=True)
    assert spoke(answer) == [("Writer", ["One"]), ("Writer", ["Two"]), ("Writer", ["Three"])]


def test_a_condition_is_told_with_the_step_that_it_leads_to(server: Server, provider: Provider) -> None:
    Cast(provider, Yes="Indeed.", No="Not at all.")
    drawn = flow(
        provider.url, begin(), condition(when("$flow.state.messages[0].content", "Contains", "ea", "Yes")),
        agent("Yes"), agent("No", 1), step("seqEnd"), step("seqEnd", 1),
        arrows="seqStart_0 seqCondition_0, seqCondition_0:yes seqAgent_0, seqCondition_0:end seqAgent_1, "
        "seqAgent_0 seqEnd_0, seqAgent_1 seqEnd_1",
    )  # fmt: skip
    key = server.create_flow(drawn, **TEAM)
    yes, no = server.ask(key, "Tea?"), server.ask(key, "Fish?")
    assert reasoning(yes)[0] == {
        "agentName": "seqCondition", "messages": ["Yes"], "nodeName": "seqCondition", "nodeId": "seqCondition_0",
    }  # fmt: skip
    assert [spoke(one)[-1] for one in (yes, no)] == [("Yes", ["Indeed."]), ("No", ["Not at all."])]


def test_a_condition_agent_decides_by_its_models_answer(server: Server, provider: Provider) -> None:
    cast = Cast(provider, Front="Billing it is.", Router='{"route": "BILLING"}', Billing="Refunded.")
    fields = [{"key": "route", "type": "Enum", "enumValues": "BILLING, OTHER"}]
    router = step(
        "seqConditionAgent", conditionAgentName="Router", systemMessagePrompt="Router", humanMessagePrompt="Which one?",
        conditionAgentStructuredOutput=json.dumps(fields),
        conditionUI=json.dumps([when("$flow.output.route", "Is", "BILLING", "Billing")]),
    )  # fmt: skip
    drawn = flow(
        provider.url, begin(), agent("Front"), router, agent("Billing", 1), step("seqEnd"), step("seqEnd", 1),
        arrows="seqStart_0 seqAgent_0, seqAgent_0 seqConditionAgent_0, seqConditionAgent_0:billing seqAgent_1, "
        "seqConditionAgent_0:end seqEnd_0, seqAgent_1 seqEnd_1",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **TEAM), "Tea?")
    assert spoke(answer) == [("Front", ["Billing it is."]), ("Router", ["Billing"]), ("Billing", ["Refunded."])]
    assert cast.told("Router") == [[ASKED, ("user", "Billing it is."), ("user", "Which one?")]]
    assert cast.told("Billing") == [[ASKED, ("user", "Billing it is.")]], "the decision is no part of the conversation"


def with_tools(base: str, **inputs: Any) -> Flow:
    """A model that may ask for a calculator, which is used behind it."""
    uses = step(
        "seqToolNode", toolNodeName="Use", tools=["{{calculator_0.data.instance}}"], llmNode="x",
        updateStateMemoryUI=table(result="$flow.output[0].toolOutput"), **inputs,
    )  # fmt: skip
    return flow(
        base, begin(state="{{seqState_0.data.instance}}"), state({"key": "result"}), node("calculator", "Tools"),
        llm("Asker"), uses, llm("Teller", 1), step("seqEnd"),
        arrows="seqStart_0 seqLLMNode_0, seqLLMNode_0 seqToolNode_0, seqToolNode_0 seqLLMNode_1, seqLLMNode_1 seqEnd_0",
    )  # fmt: skip


def test_a_tool_node_uses_what_the_model_before_it_asks_for(server: Server, provider: Provider) -> None:
    cast = Cast(provider, Asker=[Turn("Let me see.", "calculator", {"input": "6*7"})], Teller="It is 42.")
    answer = server.ask(server.create_flow(with_tools(provider.url), **TEAM), "Tea?", streaming=True)
    assert spoke(answer) == [("Asker", ["Let me see."]), ("Use", ["42"]), ("Teller", ["It is 42."])]
    used = [{"tool": "calculator", "toolInput": {"input": "6*7"}, "toolOutput": "42"}]
    assert reasoning(answer)[1]["usedTools"] == used
    assert reasoning(answer)[1]["state"] == {"result": "42"}
    assert next(event["data"] for event in answer.events if event["event"] == "usedTools") == used
    assert cast.told("Teller") == [[ASKED, ("assistant", "Let me see."), ("tool", "42")]]


def test_a_model_that_asks_for_no_tool_has_answered(server: Server, provider: Provider) -> None:
    Cast(provider, Asker="I know that.")
    answer = server.ask(server.create_flow(with_tools(provider.url), **TEAM), "Tea?")
    assert (answer.json["text"], spoke(answer)) == ("I know that.", [("Asker", ["I know that."])])


def test_an_agent_uses_its_tools_by_itself(server: Server, provider: Provider) -> None:
    cast = Cast(provider, Asker=[Turn("", "calculator", {"input": "6*7"}), Turn("42.")], Teller="So it is 42.")
    drawn = flow(
        provider.url, begin(), node("calculator", "Tools"), agent("Asker", tools=["{{calculator_0.data.instance}}"]),
        llm("Teller"), step("seqEnd"),
        arrows="seqStart_0 seqAgent_0, seqAgent_0 seqLLMNode_0, seqLLMNode_0 seqEnd_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **TEAM), "Tea?")
    assert [one["toolOutput"] for one in reasoning(answer)[0]["usedTools"]] == ["42"]
    assert cast.told("Teller") == [[ASKED, ("user", "42.")]], "others read its answer alone"


@pytest.mark.parametrize(
    ("kind", "given", "read"),
    [
        ("aiMessage", "return 'Pong';", [ASKED, ("assistant", "Pong")]),
        ("humanMessage", "return {a: $flow.state.messages.length};", [ASKED, ("user", '{"a":1}')]),
        ("stateObj", "return {sum: 7};", [ASKED]),
    ],
)
def test_a_function_gives_a_message_or_changes_the_state(
    server: Server, provider: Provider, kind: str, given: str, read: list[Any]
) -> None:
    cast = Cast(provider, Teller="Told.")
    script = step("seqCustomFunction", functionName="Ping", javascriptFunction=given, returnValueAs=kind)
    teller = llm("Teller", systemMessagePrompt="Teller {sum}", promptValues='{"sum": "$flow.state.sum"}')
    drawn = flow(
        provider.url, begin(state="{{seqState_0.data.instance}}"), state({"key": "sum", "defaultValue": "0"}), script,
        teller, step("seqEnd"),
        arrows="seqStart_0 seqCustomFunction_0, seqCustomFunction_0 seqLLMNode_0, seqLLMNode_0 seqEnd_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **TEAM), "Tea?")
    assert answer.json["text"] == "Told.", answer.text
    assert cast.told("Teller") == [read]
    assert reasoning(answer)[0]["state"] == ({"sum": 7} if kind == "stateObj" else {})


def test_a_step_asks_another_flow(server: Server, provider: Provider) -> None:
    cast = Cast(provider, Inner="From within.", First="What about tides?")
    inner = flow(
        provider.url, begin(), agent("Inner"), step("seqEnd"), arrows="seqStart_0 seqAgent_0, seqAgent_0 seqEnd_0"
    )
    key = server.create_flow(inner, **TEAM)
    asks = step(
        "seqExecuteFlow", seqExecuteFlowName="Inside", selectedFlow=key, returnValueAs="humanMessage",
        seqExecuteFlowInput="{{seqAgent_0.data.instance}}", startNewSession=True,
    )  # fmt: skip
    drawn = flow(
        provider.url, begin(), agent("First"), asks, step("seqEnd"),
        arrows="seqStart_0 seqAgent_0, seqAgent_0 seqExecuteFlow_0, seqExecuteFlow_0 seqEnd_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **TEAM), "Tea?")
    assert spoke(answer) == [("First", ["What about tides?"]), ("Inside", ["From within."])]
    assert cast.told("Inner") == [[("user", "What about tides?")]]
