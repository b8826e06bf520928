"""Drawings that are not saved: asked as predictions, and checked for faults."""

import json
from typing import Any

from admin import call, ok
from agentflows import flow as agent_flow
from agentflows import node as step
from agentflows import reply, start
from refusals import refused
from servers import Server, conversation


def draft(server: Server, flow_id: str, drawn: Any, **fields: Any) -> Any:
    body = {"question": "Hi", "flowData": json.dumps(drawn), **fields}
    return call(server, "POST", f"draft-prediction/{flow_id}", body)


def test_a_draft_is_asked_and_the_saved_flow_stays(server: Server) -> None:
    saved = agent_flow(start(), reply("saved"), arrows="start_0 directReply_0")
    flow_id = server.create_flow(saved, type="AGENTFLOW")
    changed = agent_flow(start(), reply("draft"), arrows="start_0 directReply_0")
    assert ok(draft(server, flow_id, changed))["text"] == "draft"
    assert "token" in draft(server, flow_id, changed, streaming=True).kinds
    assert server.ask(flow_id, "Hi").json["text"] == "saved"


def test_a_person_answers_a_question_that_only_the_draft_asks(server: Server) -> None:
    flow_id = server.create_flow(agent_flow(start(), arrows=""), type="AGENTFLOW")
    human = step("humanInput", humanInputDescription="Pay it?")
    arrows = "start_0 humanInput_0, humanInput_0:0 directReply_0"
    drawn = agent_flow(start(), human, reply("Paid"), arrows=arrows)
    asked = ok(draft(server, flow_id, drawn))
    answer = {"type": "proceed", "startNodeId": "humanInputAgentflow_0"}
    assert ok(draft(server, flow_id, drawn, question="", chatId=asked["chatId"], humanInput=answer))["text"] == "Paid"


def test_a_draft_that_cannot_run_is_refused_as_a_flow_is(server: Server, chat: str) -> None:
    refused(draft(server, chat, {"nodes": [], "edges": []}), 422, "flow_error")
    refused(draft(server, chat, "no drawing"), 400, "invalid_request")
    refused(call(server, "POST", f"draft-prediction/{chat}", {"question": "Hi"}), 400, "invalid_request")
    assert server.send("POST", f"/api/v1/draft-prediction/{chat}", {"question": "Hi", "flowData": "{}"}).status == 401


def test_a_drafts_faults_name_node_and_input(server: Server) -> None:
    drawn = conversation("http://127.0.0.1:9/v1", memory="zepMemory")
    (found,) = [one for one in ok(call(server, "POST", "validation", {"flowData": drawn})) if one["stops"]]
    assert found["node"] == "zepMemory_0"
    whole = conversation("http://127.0.0.1:9/v1")
    whole["nodes"][2]["data"]["inputs"]["model"] = ""
    faults = ok(call(server, "POST", "validation", {"flowData": json.dumps(whole)}))
    assert [(one["node"], one["input"]) for one in faults if one["stops"]] == [("conversationChain_0", "model")]
    refused(call(server, "POST", "validation", {"flowData": "[]"}), 400, "invalid_request")
