"""Agent flows that stop to ask a person, and go on from there: once, wherever and whenever the answer comes."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from agentflows import SHOWN, Flow, executed, flow, llm, node, reply, said, start, steps
from servers import Reply, Server, serving
from upstream import Upstream

YES: Flow = {"type": "proceed", "startNodeId": "humanInputAgentflow_0", "feedback": "go"}


def human() -> Flow:
    return node("humanInput", humanInputDescription="Publish it?", humanInputEnableFeedback=True)


def asking(base: str) -> Flow:
    return flow(
        start(), llm(base), human(), reply("Published: {{ llmAgentflow_0 }}"), reply("Dropped.", 1),
        arrows="start_0 llm_0, llm_0 humanInput_0, humanInput_0:0 directReply_0, humanInput_0:1 directReply_1",
    )  # fmt: skip


def approving(base: str) -> Flow:
    """An agent that asks before it calculates, and not before it looks at the clock."""
    tools = [
        {"agentSelectedTool": "calculator", "agentSelectedToolRequiresHumanInput": True, "agentSelectedToolConfig": {}},
        {"agentSelectedTool": "currentDateTime", "agentSelectedToolConfig": {}},
    ]
    config = {"modelName": "gpt-4o-mini", "basepath": base, "streaming": True}
    agent = node("agent", agentModel="chatOpenAI", agentModelConfig=config, agentTools=tools, agentEnableMemory=True)
    return flow(start(), agent, arrows="start_0 agent_0")


def test_a_flow_stops_with_a_question_and_goes_on_from_there(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(asking(upstream.url), **SHOWN)
    stopped = server.ask(key, "/say A draft.", streaming=True, chatId="c")
    assert steps(stopped) == ["start_0", "llm_0", "humanInput_0 STOPPED"]
    assert stopped.kinds[-5:] == ["agentFlowEvent", "action", "agentFlowEvent", "metadata", "end"]
    assert said(stopped) == "A draft.\n\nPublish it?"
    action = next(event["data"] for event in stopped.events if event["event"] == "action")
    assert [one["label"] for one in action["elements"]] == ["Proceed", "Reject"]
    done = server.ask(key, None, streaming=True, chatId="c", humanInput=YES)
    assert steps(done) == ["humanInput_0", "directReply_0"], done.text
    assert said(done) == "Published: A draft."
    assert [one["status"] for one in executed(done)] == ["FINISHED"] * 4
    assert len(upstream.requests) == 1


def test_attached_files_are_still_there_after_the_question(server: Server) -> None:
    drawn = flow(
        start(), human(), reply("{{ file_attachment }}"), arrows="start_0 humanInput_0, humanInput_0:0 directReply_0"
    )
    notes = {"type": "file:full", "name": "a.txt", "mime": "text/plain", "data": "The mill is old."}
    key = server.create_flow(drawn, **SHOWN)
    server.ask(key, "Read this", chatId="c", uploads=[notes])
    done = server.ask(key, None, chatId="c", humanInput=YES)
    assert "The mill is old." in done.json["text"]


@pytest.mark.parametrize(("kind", "text"), [("proceed", "Published: A draft."), ("reject", "Dropped.")])
def test_a_flow_goes_on_after_a_restart_and_after_it_was_edited(
    tmp_path: Path, upstream: Upstream, kind: str, text: str
) -> None:
    with serving(tmp_path) as server:
        key = server.create_flow(asking(upstream.url), **SHOWN)
        stopped = server.ask(key, "/say A draft.", chatId="c").json
    with serving(tmp_path) as server:
        edited = flow(start(), reply("Edited."), arrows="start_0 directReply_0")
        assert (
            server.send("PUT", f"/api/v1/chatflows/{key}", {"flowData": json.dumps(edited)}, admin=True).status == 200
        )
        done = server.ask(key, None, chatId="c", humanInput={"type": kind}).json
        assert (done["text"], done["executionId"]) == (text, stopped["executionId"])
        assert server.ask(key, "Hi", chatId="d").json["text"] == "Edited."
    assert len(upstream.requests) == 1


def test_of_many_answers_to_one_question_one_counts(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(asking(upstream.url), **SHOWN)
    server.ask(key, "/say A draft.", chatId="c")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: server.ask(key, None, chatId="c", humanInput=YES), range(6)))
    assert sorted(answer.status for answer in answers) == [200, *[409] * 5]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("chat", "answer", "status"),
    [
        ("nobody", YES, 404),
        ("c", {**YES, "startNodeId": "llmAgentflow_7"}, 409),
        ("c", "proceed", 400),
    ],
)
def test_an_answer_that_nothing_waits_for_is_refused(
    server: Server, upstream: Upstream, chat: str, answer: Flow, status: int, streaming: bool
) -> None:
    key = server.create_flow(asking(upstream.url), **SHOWN)
    server.ask(key, "/say A draft.", chatId="c")
    refused = server.ask(key, None, chatId=chat, humanInput=answer, streaming=streaming)
    assert refused.status == status, refused.text
    assert server.ask(key, None, chatId="c", humanInput=YES).json["text"] == "Published: A draft."


def test_what_waits_is_listed_until_it_is_answered(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(asking(upstream.url), **SHOWN)
    server.ask(key, "/say A draft.", chatId="c")
    listed = f"/api/v1/executions?state=STOPPED&agentflowId={key}"
    assert server.send("GET", listed, admin=True).json["total"] == 1
    server.ask(key, None, chatId="c", humanInput=YES)
    assert server.send("GET", listed, admin=True).json["total"] == 0


def test_a_tool_waits_for_approval_and_is_then_called_once(tmp_path: Path, upstream: Upstream) -> None:
    script = '/tool calculator {"input": "6*7"} && current_date_time {} | /say It is done.'
    with serving(tmp_path) as server:
        key = server.create_flow(approving(upstream.url), **SHOWN)
        stopped = server.ask(key, script, chatId="c").json
        assert "Attempting to use tool" in stopped["text"]
        assert stopped["action"]["data"]["nodeId"] == "agentAgentflow_0"
    with serving(tmp_path) as server:
        assert server.ask(key, None, chatId="c", humanInput={"type": "perhaps"}).status == 400
        done = server.ask(key, None, chatId="c", humanInput={"type": "proceed"}).json
    output = executed_output(done)
    assert done["executionId"] == stopped["executionId"]
    assert ("calculator", "42") in [(use["tool"], use["toolOutput"]) for use in output["usedTools"]]
    assert done["text"] == "It is done."


def test_a_rejected_tool_is_not_called_and_the_model_has_none(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(approving(upstream.url), **SHOWN)
    server.ask(key, '/tool calculator {"input": "6*7"} | /say Called.', chatId="c")
    done = server.ask(key, None, chatId="c", humanInput={"type": "reject"}).json
    assert "usedTools" not in executed_output(done)
    assert "tools" not in upstream.requests[-1].body


def executed_output(answer: Flow) -> Flow:
    return answer["agentFlowExecutedData"][-1]["data"]["output"]


# Answers that name the execution instead of the chat


def answer(server: Server, execution: str, **body: Any) -> Reply:
    return server.send("POST", f"/api/v1/executions/{execution}/answer", body, admin=True)


@pytest.mark.parametrize("kind", ["proceed", "reject"])
@pytest.mark.parametrize("streaming", [True, False])
def test_an_execution_is_answered_without_knowing_its_chat(
    server: Server, upstream: Upstream, kind: str, streaming: bool
) -> None:
    key = server.create_flow(asking(upstream.url), **SHOWN)
    stopped = server.ask(key, "/say A draft.", chatId=f"{kind}{streaming}").json
    waiting = server.send("GET", f"/api/v1/executions?state=STOPPED&agentflowId={key}", admin=True).json["data"]
    assert [row["id"] for row in waiting] == [stopped["executionId"]]
    done = answer(server, stopped["executionId"], type=kind, feedback="go", streaming=streaming)
    metadata = done.events[-2]["data"] if streaming else done.json
    assert (said(done) if streaming else metadata["text"]) == (
        "Published: A draft." if kind == "proceed" else "Dropped."
    )
    assert (metadata["executionId"], metadata["chatId"]) == (stopped["executionId"], stopped["chatId"])
    again = answer(server, stopped["executionId"], type=kind, streaming=streaming)
    assert (again.status, again.json["code"]) == (409, "conflict"), again.text


def test_an_answer_in_the_background_gives_the_run(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(asking(upstream.url), **SHOWN)
    stopped = server.ask(key, "/say A draft.").json
    run = answer(server, stopped["executionId"], type="proceed", background=True)
    assert (run.status, run.json["chatId"]) == (202, stopped["chatId"])
    assert said(server.send("GET", run.json["links"]["events"], admin=True)) == "Published: A draft."


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nothing/answer", {"type": "proceed"}, 404),
        ("nothing/continue", {}, 404),
        ("{}/answer", {"type": "perhaps"}, 400),
        ("{}/answer", {}, 400),
        ("{}/answer", {"type": "proceed"}, 409),
        ("{}/continue", {}, 409),
    ],
)
def test_what_does_not_wait_is_not_answered(server: Server, path: str, body: Flow, status: int) -> None:
    key = server.create_flow(flow(start(), reply("Done."), arrows="start_0 directReply_0"), **SHOWN)
    finished = server.ask(key, "Hi").json["executionId"]
    refused = server.send("POST", f"/api/v1/executions/{path.format(finished)}", body, admin=True)
    assert refused.status == status, refused.text


def test_an_execution_that_waits_or_goes_on_is_not_continued(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(asking(upstream.url), **SHOWN)
    stopped = server.ask(key, "/say A draft.").json["executionId"]
    refused = server.send("POST", f"/api/v1/executions/{stopped}/continue", {}, admin=True)
    assert (refused.status, "answer it" in refused.text) == (409, True)
