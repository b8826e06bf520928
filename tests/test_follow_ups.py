"""Questions that a visitor may ask next: asked of a model after the answer, which they never hold up or spoil."""

import json
from pathlib import Path
from typing import Any

import pytest
from agentflows import flow, llm, start
from servers import Server, conversation
from test_resume import open_stream
from test_runs import at_work
from upstream import Upstream
from waiting import within

from headrace.events import End, Event, Metadata, Start, Token
from headrace.schema import FlowRow

QUESTIONS = ["Why?", "And then?"]


def suggesting(base: str, says: str, **more: Any) -> dict[str, Any]:
    """Columns of a flow whose follow-up questions come from a model that is told to say this."""
    chosen = {"modelName": "suggester", "temperature": "0.2", "basepath": base, "prompt": f"{{history}}\n{says}"}
    config = {"status": True, "selectedProvider": "chatOpenAI", "chatOpenAI": chosen, **more}
    return {"followUpPrompts": config, "chatbotConfig": {"followUpPrompts": {"status": True}}}


def said(questions: list[str]) -> str:
    return "/say " + json.dumps({"questions": questions})


def stored(server: Server, flow_id: str) -> list[dict[str, Any]]:
    return server.send("GET", f"/api/v1/chatmessage/{flow_id}", admin=True).json


def test_questions_come_with_the_metadata_and_are_stored(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(
        conversation(upstream.url), **suggesting(upstream.url, said(["Why?", " ", "And then? "]))
    )
    reply = server.ask(flow_id, "/say Tea is a leaf.", streaming=True, chatId="a")
    assert reply.kinds == ["start", "token", "metadata", "end"]
    metadata = reply.events[-2]["data"]
    assert json.loads(metadata["followUpPrompts"]) == QUESTIONS
    answer, asked = (request.body for request in upstream.requests)
    assert (asked["model"], asked["temperature"]) == ("suggester", 0.2)
    prompt = asked["messages"][-1]["content"]
    assert prompt.startswith("User: /say Tea is a leaf.\nAssistant: Tea is a leaf.\n/say")
    assert metadata["usage"]["output_tokens"] > len("Tea is a leaf.".split())
    assert answer["model"] != "suggester"
    question, answered = stored(server, flow_id)
    assert (question["followUpPrompts"], answered["followUpPrompts"]) == (None, metadata["followUpPrompts"])
    assert json.loads(server.ask(flow_id, "/say Tea").json["followUpPrompts"]) == QUESTIONS


def test_an_agent_flow_has_them_too(server: Server, upstream: Upstream) -> None:
    nodes = flow(start(), llm(upstream.url, message="/say Tea"), arrows="start_0 llm_0")
    flow_id = server.create_flow(nodes, type="AGENTFLOW", **suggesting(upstream.url, said(QUESTIONS)))
    reply = server.ask(flow_id, "Tea?", streaming=True)
    assert json.loads(reply.events[-2]["data"]["followUpPrompts"]) == QUESTIONS


@pytest.mark.parametrize(
    ("says", "more", "asked"),
    [
        ("/status 401", {}, True),
        ("/say I would rather not.", {}, True),
        (said([]), {}, True),
        (said(QUESTIONS), {"status": False}, False),
        (said(QUESTIONS), {"selectedProvider": "none"}, False),
        (said(QUESTIONS), {"selectedProvider": "calculator", "calculator": {"prompt": "x"}}, False),
        (said(QUESTIONS), {"selectedProvider": "chatTelepathy", "chatTelepathy": {"prompt": "x"}}, False),
        (said(QUESTIONS), {"chatOpenAI": {"credentialId": "gone", "modelName": "m"}}, False),
    ],
)
def test_without_questions_the_answer_is_what_it_was(
    server: Server, upstream: Upstream, says: str, more: dict[str, Any], asked: bool
) -> None:
    flow_id = server.create_flow(conversation(upstream.url), **suggesting(upstream.url, says, **more))
    reply = server.ask(flow_id, "/say Tea", streaming=True)
    assert reply.kinds == ["start", "token", "metadata", "end"]
    assert "followUpPrompts" not in reply.events[-2]["data"]
    assert [message["content"] for message in stored(server, flow_id)] == ["/say Tea", "Tea"]
    assert len(upstream.requests) == 1 + asked


def test_a_model_that_does_not_answer_holds_up_the_end_until_somebody_stops_it(
    server: Server, upstream: Upstream
) -> None:
    flow_id = server.create_flow(conversation(upstream.url), **suggesting(upstream.url, "/stall 0"))
    with open_stream(server, flow_id, "/say Tea", chatId="stopped") as response:
        upstream.wait_until(lambda requests: len(requests) == 2)
        assert server.send("PUT", f"/api/v1/chatmessage/abort/{flow_id}/stopped").status == 200
        rest = response.read().decode()
    assert '"event":"abort"' not in rest
    assert '"event":"metadata"' in rest
    upstream.wait_until(lambda requests: requests[1].closed_by_peer_at_token == 0)
    (info,) = server.send("GET", f"/api/v1/runs?flowId={flow_id}&chatId=stopped").json
    assert info["state"] == "finished"
    assert [message["content"] for message in stored(server, flow_id)] == ["/say Tea", "Tea"]


def test_a_model_that_does_not_answer_holds_up_the_end_for_a_bounded_time(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.runtime.worker._FOLLOW_UP_PATIENCE", 0.1)

    async def ask() -> list[Event]:
        async with at_work(tmp_path / "data") as here:
            config = json.dumps(suggesting(upstream.url, "/stall 0")["followUpPrompts"])
            row = FlowRow("", "test", json.dumps(conversation(upstream.url)), followUpPrompts=config)
            flow = await here.flows.get((await here.storage.add_flow(row)).id)
            return await here.written(await here.start(flow, "/say Tea"))

    assert [type(event) for event in within(ask())] == [Start, Token, Metadata, End]


def test_what_is_no_configuration_is_refused(server: Server, upstream: Upstream) -> None:
    body = {"name": "x", "flowData": json.dumps(conversation(upstream.url)), "followUpPrompts": "[]"}
    reply = server.send("POST", "/api/v1/chatflows", body, admin=True)
    assert (reply.status, reply.json["code"]) == (400, "invalid_request")
    assert "followUpPrompts" in reply.json["message"]
