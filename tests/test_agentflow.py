"""Agent flows on a real server: which nodes run, what they are told, and what the stream says of it."""

import json
import threading
from typing import Any

import pytest
from agentflows import condition, contains, executed, flow, llm, node, reply, said, start, steps
from servers import Server
from upstream import Upstream

from headrace.events import decode, fold

AGENT = {"type": "AGENTFLOW"}


def prompts(upstream: Upstream) -> list[list[str]]:
    """What the model was told, call by call."""
    return [[message["content"] for message in request.body["messages"]] for request in upstream.requests]


def test_a_stream_tells_of_every_node_and_of_all_that_were_executed(server: Server, upstream: Upstream) -> None:
    drawn = flow(start(), llm(upstream.url, message="/say Hello world"), arrows="start_0 llm_0")
    answer = server.ask(server.create_flow(drawn, **AGENT), "Hi", streaming=True)
    assert answer.kinds == [
        *("agentFlowEvent", "nextAgentFlow", "nextAgentFlow", "agentFlowExecutedData", "nextAgentFlow", "token"),
        *("calledTools", "usageMetadata", "nextAgentFlow", "agentFlowExecutedData", "agentFlowEvent"),
        *("metadata", "end"),
    ]
    assert said(answer) == "Hello world"
    output = executed(answer)[1]["data"]["output"]
    assert output["content"] == "Hello world"
    assert output["usageMetadata"]["base_input_cost"] == 1.5e-07
    assert output["responseMetadata"]["finish_reason"] == "stop"


def test_only_a_last_node_is_heard(server: Server, upstream: Upstream) -> None:
    drawn = flow(
        start(), llm(upstream.url, message="/say first"), reply("then {{ llmAgentflow_0 }}"),
        arrows="start_0 llm_0, llm_0 directReply_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **AGENT), "Hi", streaming=True)
    assert [event["data"] for event in answer.events if event["event"] == "token"] == ["then first"]


def test_stream_and_json_and_history_say_the_same(server: Server, upstream: Upstream) -> None:
    loop = node("loop", loopBackToNode="llmAgentflow_0-x", maxLoopCount=2, fallbackMessage="enough")
    drawn = flow(start(), llm(upstream.url, message="/say round"), loop, arrows="start_0 llm_0, llm_0 loop_0")
    key = server.create_flow(drawn, **AGENT)
    streamed, whole = server.ask(key, "Hi", streaming=True, chatId="a"), server.ask(key, "Hi", chatId="b")
    folded = fold(decode(json.dumps(event)) for event in streamed.events)
    assert folded.text == whole.json["text"] == "enough"
    assert [kind(folded.agentFlowExecutedData), kind(whole.json["agentFlowExecutedData"])] == [
        kind(executed(whole))
    ] * 2
    assert executed(whole)[-1]["data"]["output"]["content"] == "enough"
    rows = server.send("GET", f"/api/v1/chatmessage/{key}?chatId=a", admin=True).json
    assert [row["content"] for row in rows] == ["Hi", "enough"]
    assert {row["executionId"] for row in rows} == {folded.executionId}
    assert rows[1]["execution"]["state"] == "FINISHED"
    assert kind(json.loads(rows[1]["execution"]["executionData"])) == kind(folded.agentFlowExecutedData)


def kind(data: Any) -> list[Any]:
    """Executed nodes without their times."""
    return [(entry["nodeId"], entry["status"], entry["data"]["output"].get("content")) for entry in data]


def test_the_json_answer_has_the_keys_that_clients_know(server: Server, upstream: Upstream) -> None:
    drawn = flow(start(), reply("Hello {{ question }}"), arrows="start_0 directReply_0")
    answer = server.ask(server.create_flow(drawn, **AGENT), "you").json
    known = "text question chatId chatMessageId executionId agentFlowExecutedData isStreamValid sessionId"
    assert list(answer) == known.split()
    assert answer["text"] == "Hello you"


# Which nodes run


def test_every_target_of_an_untaken_branch_is_skipped(server: Server) -> None:
    drawn = flow(
        start(), condition(contains("cat")), reply("one", 1), reply("two", 2), reply("other", 3),
        arrows="start_0 condition_0, condition_0:0 directReply_1, condition_0:0 directReply_2, "
        "condition_0:1 directReply_3",
    )  # fmt: skip
    key = server.create_flow(drawn, **AGENT)
    assert steps(server.ask(key, "a cat", streaming=True)) == [
        "start_0",
        "condition_0",
        "directReply_1",
        "directReply_2",
    ]
    assert steps(server.ask(key, "a dog", streaming=True)) == ["start_0", "condition_0", "directReply_3"]


def test_a_node_after_both_branches_runs_once(server: Server, upstream: Upstream) -> None:
    drawn = flow(
        start(), condition(contains("cat")), llm(upstream.url, 1), llm(upstream.url, 2), reply("end"),
        arrows="start_0 condition_0, condition_0:0 llm_1, condition_0:1 llm_2, llm_1 directReply_0, "
        "llm_2 directReply_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **AGENT), "a dog", streaming=True)
    assert steps(answer) == ["start_0", "condition_0", "llm_2", "directReply_0"]


def test_a_node_that_waits_for_an_untaken_path_and_another_one_runs(server: Server, upstream: Upstream) -> None:
    drawn = flow(
        start(), condition(contains("cat")), reply("cat", 1), llm(upstream.url), reply("end"),
        arrows="start_0 condition_0, start_0 llm_0, condition_0:0 directReply_1, directReply_1 directReply_0, "
        "llm_0 directReply_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **AGENT), "a dog", streaming=True)
    assert steps(answer) == ["start_0", "condition_0", "llm_0", "directReply_0"]
    assert executed(answer)[-1]["previousNodeIds"] == ["directReplyAgentflow_1", "llmAgentflow_0"]


def test_branches_that_join_are_waited_for(server: Server, upstream: Upstream) -> None:
    drawn = flow(
        start(), llm(upstream.url, message="/say left"), llm(upstream.url, 1, message="/say right"),
        reply("{{ llmAgentflow_0 }} and {{ llmAgentflow_1.output.content }}"),
        arrows="start_0 llm_0, start_0 llm_1, llm_0 directReply_0, llm_1 directReply_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **AGENT), "Hi", streaming=True)
    assert steps(answer) == ["start_0", "llm_0", "llm_1", "directReply_0"]
    assert said(answer) == "left and right"


def test_a_loop_starts_its_nodes_anew_and_counts(server: Server, upstream: Upstream) -> None:
    drawn = flow(
        start(startState=[{"key": "seen", "value": ""}]),
        llm(upstream.url, message="/say {{ loop_count }}",
            llmUpdateState=[{"key": "seen", "value": "{{ $flow.state.seen }}{{ output }}"}]),
        condition({"type": "string", "value1": "{{ $flow.state.seen }}", "operation": "equal", "value2": "012"}),
        reply("{{ $flow.state.seen }}"),
        node("loop", loopBackToNode="llmAgentflow_0-llm 0", maxLoopCount=5),
        arrows="start_0 llm_0, llm_0 condition_0, condition_0:0 directReply_0, condition_0:1 loop_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **AGENT), "Hi", streaming=True)
    again = ["llm_0", "condition_0", "loop_0"]
    assert steps(answer) == ["start_0", *again, *again, "llm_0", "condition_0", "directReply_0"]
    assert said(answer) == "012"


def test_a_flow_that_never_ends_is_stopped_with_an_error_that_the_stream_tells(server: Server) -> None:
    loop = node("loop", loopBackToNode="directReplyAgentflow_0-x", maxLoopCount=100000)
    drawn = flow(start(), reply("again"), loop, arrows="start_0 directReply_0, directReply_0 loop_0")
    answer = server.ask(server.create_flow(drawn, **AGENT), "Hi", streaming=True)
    assert [event["event"] for event in answer.events[-3:]] == ["agentFlowEvent", "error", "end"]
    assert answer.events[-2]["code"] == "flow_error"
    told = [event for event in answer.events if event["event"] == "agentFlowExecutedData"]
    assert len(told[-1]["data"]) == 1001
    assert len(told) < 150  # not a thousand times all that was


def test_an_iteration_repeats_its_nodes_and_goes_on_after_one_that_fails(server: Server, upstream: Upstream) -> None:
    inside = "iterationAgentflow_0"
    drawn = flow(
        start(), node("iteration", iterationInput='<p>["/say one", "/status 400", "/say three"]</p>'),
        llm(upstream.url, 1, message="{{ $iteration }}", inside=inside),
        reply("[{{ llmAgentflow_1 }}]", 1, inside=inside), reply("{{ iterationAgentflow_0 }}"),
        arrows="start_0 iteration_0, llm_1 directReply_1, iteration_0 directReply_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **AGENT), "Hi", streaming=True)
    whole = ["llm_1", "directReply_1"]
    assert steps(answer) == ["start_0", *whole, "llm_1 ERROR", *whole, "iteration_0", "directReply_0"]
    one, two, three = said(answer).split("\n")
    assert (one, three) == ("[one]", "[three]")
    assert two.startswith("Error in iteration 2: ")
    entry = executed(answer)[1]["data"]
    assert entry["parentNodeId"] == inside
    assert entry["iterationContext"]["value"] == "/say one"
    assert answer.events[-1]["event"] == "end"


def test_a_loop_inside_an_iteration_counts_for_each_item_anew(server: Server) -> None:
    inside = "iterationAgentflow_0"
    loop = node("loop", loopBackToNode="directReplyAgentflow_1-x", maxLoopCount=2, inside=inside)
    loop["data"]["inputs"]["fallbackMessage"] = "{{ $iteration }}{{ loop_count }}"
    drawn = flow(
        start(), node("iteration", iterationInput='["a", "b"]'), reply("x", 1, inside=inside), loop,
        reply("{{ iterationAgentflow_0 }}"),
        arrows="start_0 iteration_0, directReply_1 loop_0, iteration_0 directReply_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **AGENT), "Hi", streaming=True)
    assert said(answer) == "a1\nb1"
    assert steps(answer)[1:-2] == ["directReply_1", "loop_0"] * 4


def test_an_agent_without_tools_answers_like_an_llm(server: Server, upstream: Upstream) -> None:
    config = {"modelName": "m", "basepath": upstream.url}
    agent = node("agent", agentModel="chatOpenAI", agentModelConfig=config, agentEnableMemory=True, agentTools="")
    key = server.create_flow(flow(start(), agent, arrows="start_0 agent_0"), **AGENT)
    assert server.ask(key, "/say plain").json["text"] == "plain"


# What cannot run

BROKEN = {
    "two starts": (flow(start(), reply("x"), arrows=""), "Multiple starting nodes are not allowed"),
    "no start": (flow(reply("x"), arrows=""), "no Start node"),
    "circle": (
        flow(start(), reply("1", 1), reply("2", 2),
             arrows="start_0 directReply_1, directReply_1 directReply_2, directReply_2 directReply_1"),
        "goes in a circle",
    ),
    "unknown node": (flow(start(), node("teleport"), arrows="start_0 teleport_0"), "'teleportAgentflow'"),
    "unknown model": (
        flow(start(), node("llm", llmModel="chatNobody", llmModelConfig={}), arrows="start_0 llm_0"), "'chatNobody'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("drawn", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_flow_that_cannot_run_is_refused_before_the_first_byte(server: Server, drawn: Any, message: str) -> None:
    key = server.create_flow(drawn, **AGENT)
    for streaming in (True, False):
        refused = server.ask(key, "Hi", streaming=streaming)
        assert refused.status == 422
        assert message in refused.json["message"]


def test_question_and_form_together_are_refused(server: Server) -> None:
    key = server.create_flow(flow(start(), reply("x"), arrows="start_0 directReply_0"), **AGENT)
    refused = server.ask(key, "Hi", form={"a": "b"}, streaming=True)
    assert (refused.status, refused.json["message"]) == (
        400, "Question and form cannot be provided at the same time",
    )  # fmt: skip
    assert server.ask(key, "Hi", history=[{"type": "userMessage", "message": "x"}]).status == 400


def test_a_form_is_read_by_name_and_as_a_text(server: Server, upstream: Upstream) -> None:
    fields = [{"type": "string", "label": "City", "name": "city"}]
    drawn = flow(
        start(startInputType="formInput", formTitle="Where", formInputTypes=fields),
        llm(upstream.url, message="/say to {{ $form.city }}"), arrows="start_0 llm_0",
    )  # fmt: skip
    key = server.create_flow(drawn, **AGENT)
    answer = server.ask(key, form={"city": "Oslo", "days": 2}, chatId="f").json
    assert (answer["text"], answer["form"]) == ("to Oslo", {"city": "Oslo", "days": 2})
    assert prompts(upstream) == [["city: Oslo\ndays: 2", "/say to Oslo"]]
    rows = server.send("GET", f"/api/v1/chatmessage/{key}?chatId=f", admin=True).json
    assert rows[0]["content"] == "city: Oslo\ndays: 2"


def test_a_failing_node_is_told_of_before_the_error(server: Server, upstream: Upstream) -> None:
    drawn = flow(start(), llm(upstream.url), reply("never"), arrows="start_0 llm_0, llm_0 directReply_0")
    key = server.create_flow(drawn, **AGENT)
    answer = server.ask(key, "/status 401", streaming=True)
    assert steps(answer) == ["start_0", "llm_0 ERROR"]
    kinds = [event["event"] for event in answer.events[-5:]]
    assert kinds == ["nextAgentFlow", "agentFlowExecutedData", "agentFlowEvent", "error", "end"]
    assert answer.events[-3]["data"] == "ERROR"
    assert executed(answer)[-1]["data"]["error"] == answer.events[-2]["data"]
    assert server.ask(key, "/status 401").status == 502


def test_secrets_of_a_node_are_not_told(server: Server, upstream: Upstream) -> None:
    body = {"name": "c", "credentialName": "openAIApi", "plainDataObj": {"openAIApiKey": "sk-very-secret"}}
    credential = server.send("POST", "/api/v1/credentials", body, admin=True).json["id"]
    config = {"FLOWISE_CREDENTIAL_ID": credential, "baseOptions": '{"X-Token": "tok-secret"}'}
    drawn = flow(start(), llm(upstream.url, config=config), arrows="start_0 llm_0")
    key = server.create_flow(drawn, **AGENT)
    answer = server.ask(key, "/say x", streaming=True)
    assert upstream.requests[0].headers["authorization"] == "Bearer sk-very-secret"
    assert upstream.requests[0].headers["x-token"] == "tok-secret"
    kept = server.send("GET", f"/api/v1/executions?agentflowId={key}", admin=True)
    for text in (answer.text, kept.text):
        assert "FLOWISE_CREDENTIAL_ID" in text
        assert not [secret for secret in (credential, "sk-very-secret", "tok-secret") if secret in text]


# What nodes are told


def test_values_that_look_like_references_stay_as_they_are(server: Server, upstream: Upstream) -> None:
    state = [{"key": "said", "value": "{{ output }} / {{ question }}"}]
    drawn = flow(
        start(), llm(upstream.url, message="{{ question }} {{question}}", llmUpdateState=state),
        reply("{{ $flow.state.said }} {{ $vars.nope }} {{ x }}"), arrows="start_0 llm_0, llm_0 directReply_0",
    )  # fmt: skip
    question = "$& $$5 {{ output }} {{ question }} {{ $flow.chatId }}"
    answer = server.ask(server.create_flow(drawn, **AGENT), question, chatId="c").json
    assert prompts(upstream)[0][-1] == f"{question} {question}"
    assert answer["text"] == f"You said: {question} {question} / {question} {{{{ $vars.nope }}}} {{{{ x }}}}"


def test_state_persists_in_its_session_and_a_request_may_set_it(server: Server) -> None:
    rules = {"status": True, "nodes": {"start 0": [{"name": "startState", "enabled": True}]}, "variables": []}
    update = [{"key": "n", "value": "{{ $flow.state.n }}+"}]
    drawn = flow(
        start(startState=[{"key": "n", "value": "0"}, {"key": "m", "value": "m"}], startPersistState=True),
        node("loop", loopBackToNode="x-x", maxLoopCount=1, loopUpdateState=update,
             fallbackMessage="{{ $flow.state.n }}{{ $flow.state.m }}"),
        arrows="start_0 loop_0",
    )  # fmt: skip
    key = server.create_flow(drawn, **AGENT, apiConfig=json.dumps({"overrideConfig": rules}))
    texts = [server.ask(key, "Hi", chatId=chat).json["text"] for chat in ("a", "a", "b", "a")]
    assert texts == ["0m", "0+m", "0m", "0++m"]
    given = {"startState": [{"key": "m", "value": "M"}]}
    assert server.ask(key, "Hi", chatId="a", overrideConfig=given).json["text"] == "0+++M"
    assert server.ask(key, "Hi", chatId="a", overrideConfig={"startState": {"n": 7}}).json["text"] == "7M"


def test_memory_is_the_session_then_this_run(server: Server, upstream: Upstream) -> None:
    drawn = flow(
        start(), llm(upstream.url, message="/say one"), llm(upstream.url, 1, message="/say two", label="The Second"),
        arrows="start_0 llm_0, llm_0 llm_1",
    )  # fmt: skip
    key = server.create_flow(drawn, **AGENT)
    server.ask(key, "first", chatId="m")
    upstream.reset()
    server.ask(key, "second", chatId="m")
    assert prompts(upstream) == [
        ["first", "two", "second", "/say one"],
        ["first", "two", "second", "one", "/say two"],
    ]
    assert [message.get("name") for message in upstream.requests[1].body["messages"]][3] == "llm_0"


def test_only_openais_own_models_are_told_who_speaks(server: Server, upstream: Upstream) -> None:
    drawn = flow(start(), llm(upstream.url), llm(upstream.url, 1), arrows="start_0 llm_0, llm_0 llm_1")
    for one in drawn["nodes"][1:]:
        one["data"]["inputs"]["llmModel"] = "chatDeepseek"
    assert server.ask(server.create_flow(drawn, **AGENT), "Hi").status == 200
    assert not [m for request in upstream.requests for m in request.body["messages"] if "name" in m]


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({"llmMemoryType": "windowSize", "llmMemoryWindowSize": "1"}, [["/say b", "q3"]]),
        ({"llmEnableMemory": False}, [["q3"]]),
    ],
)
def test_how_much_is_remembered_is_the_nodes_choice(
    server: Server, upstream: Upstream, memory: Any, expected: Any
) -> None:
    drawn = flow(start(), llm(upstream.url, **memory), arrows="start_0 llm_0")
    key = server.create_flow(drawn, **AGENT)
    history = [{"role": "userMessage", "content": "/say a"}, {"role": "apiMessage", "content": "/say b"}]
    server.ask(key, "q3", history=history)
    assert prompts(upstream) == expected


def test_a_long_conversation_is_summed_up(server: Server, upstream: Upstream) -> None:
    history = [{"role": "userMessage", "content": "My dog is Rex. " * 20}, {"role": "apiMessage", "content": "Noted."}]
    for kind, limit in (("conversationSummary", 1), ("conversationSummaryBuffer", 10)):
        upstream.reset()
        drawn = flow(
            start(), llm(upstream.url, llmMemoryType=kind, llmMemoryMaxTokenLimit=limit), arrows="start_0 llm_0"
        )
        answer = server.ask(server.create_flow(drawn, **AGENT), "/say a dog", history=history)
        summing, asking = prompts(upstream)
        assert "My dog is Rex." in summing[0]
        assert not [text for text in asking if text.startswith("My dog")]
        assert answer.status == 200


def test_a_structured_answer_becomes_the_nodes_output(server: Server, upstream: Upstream) -> None:
    fields = [
        {"key": "title", "type": "string", "description": "a title"},
        {"key": "color", "type": "enum", "enumValues": "red, green"},
        {"key": "items", "type": "jsonArray", "jsonSchema": '{"name": {"type": "string"}}'},
    ]
    made = {"title": "T", "color": "green", "items": [{"name": "n"}]}
    drawn = flow(
        start(), llm(upstream.url, message=f"/tool extract {json.dumps(made)}", llmStructuredOutput=fields),
        reply("{{ llmAgentflow_0.output.title }} {{ llmAgentflow_0.output.items[0].name }}"),
        arrows="start_0 llm_0, llm_0 directReply_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **AGENT), "Hi").json
    assert answer["text"] == "T n"
    (tool,) = upstream.requests[0].body["tools"]
    schema = tool["function"]["parameters"]
    assert schema["required"] == ["title", "color", "items"]
    assert schema["properties"]["color"] == {"type": "string", "enum": ["red", "green"]}
    assert schema["properties"]["items"]["items"]["required"] == ["name"]


def test_an_answer_without_the_form_asked_for_fails_the_run(server: Server, upstream: Upstream) -> None:
    fields = [{"key": "title", "type": "string"}]
    drawn = flow(start(), llm(upstream.url, message="/say no", llmStructuredOutput=fields), arrows="start_0 llm_0")
    answer = server.ask(server.create_flow(drawn, **AGENT), "Hi")
    assert (answer.status, answer.json["code"]) == (502, "provider_malformed")


def test_reasoning_is_told_live_and_kept(server: Server, upstream: Upstream) -> None:
    agent = llm(upstream.url)
    agent["data"]["inputs"] |= {"llmModel": "chatDeepseek", "llmModelConfig": {"basepath": upstream.url}}
    key = server.create_flow(flow(start(), agent, arrows="start_0 llm_0"), **AGENT)
    answer = server.ask(key, "/think hmm well | /say done", streaming=True, chatId="t")
    thoughts = [event for event in answer.events if event["event"] == "thinking"]
    assert "".join(event["data"] for event in thoughts) == "hmm well"
    assert "duration" in thoughts[-1]
    assert executed(answer)[-1]["data"]["output"]["reasonContent"]["thinking"] == "hmm well"
    rows = server.send("GET", f"/api/v1/chatmessage/{key}?chatId=t", admin=True).json
    assert rows[1]["reasonContent"]["thinking"] == "hmm well"


def test_a_model_that_does_not_stream_is_heard_at_once(server: Server, upstream: Upstream) -> None:
    drawn = flow(start(), llm(upstream.url, config={"streaming": False}), arrows="start_0 llm_0")
    answer = server.ask(server.create_flow(drawn, **AGENT), "/count 5", streaming=True)
    assert [event["data"] for event in answer.events if event["event"] == "token"] == ["w1 w2 w3 w4 w5"]


def test_two_runs_of_one_session_do_not_mix(server: Server, upstream: Upstream) -> None:
    drawn = flow(
        start(startState=[{"key": "q", "value": "?"}]),
        llm(upstream.url, message="{{ question }}", llmUpdateState=[{"key": "q", "value": "{{ question }}"}]),
        reply("{{ $flow.state.q }} {{ llmAgentflow_0 }}"), arrows="start_0 llm_0, llm_0 directReply_0",
    )  # fmt: skip
    key = server.create_flow(drawn, **AGENT)
    answers: dict[str, Any] = {}

    def ask(name: str) -> None:
        answers[name] = server.ask(key, f"/say {name} | /wait 150", streaming=True, chatId="same")

    readers = [threading.Thread(target=ask, args=(name,)) for name in ("ada", "bob", "cyd")]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    for name, answer in answers.items():
        assert said(answer) == f"/say {name} | /wait 150 {name}"
        assert steps(answer) == ["start_0", "llm_0", "directReply_0"]
        assert len(executed(answer)) == 3
    assert len({answer.events[-2]["data"]["executionId"] for answer in answers.values()}) == 3


def test_a_picture_comes_before_the_question(server: Server, upstream: Upstream) -> None:
    drawn = flow(start(), llm(upstream.url, config={"allowImageUploads": True}), arrows="start_0 llm_0")
    key = server.create_flow(drawn, **AGENT)
    assert server.send("GET", f"/api/v1/chatflows-uploads/{key}").json["isImageUploadAllowed"] is True
    picture = {"type": "file", "name": "p.png", "mime": "image/png", "data": "data:image/png;base64,AAAA"}
    answer = server.ask(key, "What is it?", uploads=[picture], streaming=True)
    first, second = (message["content"] for message in upstream.requests[0].body["messages"])
    assert [part["type"] for part in first] == ["image_url"]
    assert second == "What is it?"
    assert "base64" not in json.dumps(executed(answer))


def test_attached_files_can_be_mentioned_by_every_node(server: Server) -> None:
    drawn = flow(start(), reply("[{{ file_attachment }}]"), arrows="start_0 directReply_0")
    notes = {"type": "file:full", "name": "notes.txt", "mime": "text/plain", "data": "The mill is old."}
    key = server.create_flow(drawn, **AGENT, chatbotConfig='{"fullFileUpload": {"status": true}}')
    assert server.ask(key, "What is old?", uploads=[notes]).json["text"] == (
        "[<doc name='notes.txt'>The mill is old.</doc>\n\n]"
    )
    assert server.ask(key, "And now?").json["text"] == "[]"


def test_a_request_may_set_an_input_that_the_flow_lets_it_set(server: Server) -> None:
    rules = {"status": True, "nodes": {"directReply 0": [{"name": "directReplyMessage", "enabled": True}]}}
    drawn = flow(start(), reply("as drawn"), arrows="start_0 directReply_0")
    key = server.create_flow(drawn, **AGENT, apiConfig=json.dumps({"overrideConfig": rules}))
    config = {"directReplyMessage": "as asked", "startPersistState": True}
    answer = server.ask(key, "Hi", overrideConfig=config).json
    assert answer["text"] == "as asked"
    assert "persistState" not in answer["agentFlowExecutedData"][0]["data"]["output"]


def test_a_run_can_be_resumed_after_each_of_its_events(server: Server, upstream: Upstream) -> None:
    drawn = flow(start(), llm(upstream.url), arrows="start_0 llm_0")
    whole = server.ask(server.create_flow(drawn, **AGENT), "/count 5", streaming=True)
    run = whole.headers["X-Run-Id"]
    for after in range(len(whole.events)):
        rest = server.send("GET", f"/api/v1/runs/{run}/events?after={after}")
        assert rest.events == whole.events[after:]
