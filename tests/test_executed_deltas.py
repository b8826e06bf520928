"""Readers who ask for deltas are told each executed node once, and can put together what all others are told."""

import json
from typing import Any

import pytest
from agentflows import SHOWN, Flow, flow, node, reply, start
from servers import Reply, Server

from headrace.events import AgentFlowExecutedData, encode
from headrace.runtime.log import Entry
from headrace.server.deltas import Deltas


@pytest.fixture(scope="module")
def looping(server: Server) -> str:
    """A flow that executes more nodes than are told after each, and ends with a message that changes the last one."""
    loop = node("loop", loopBackToNode="directReplyAgentflow_0-Reply", maxLoopCount=120, fallbackMessage="Enough.")
    drawn: Flow = flow(
        start(), reply("Round {{ loop_count }}"), loop, arrows="start_0 directReply_0, directReply_0 loop_0"
    )
    return server.create_flow(drawn, **SHOWN)


def told(answer: Reply) -> list[dict[str, Any]]:
    return [event for event in answer.events if event["event"] == "agentFlowExecutedData"]


def together(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = []
    for event in events:
        nodes[event["from"] :] = event["data"]
    return nodes


def test_deltas_put_together_are_what_all_others_are_told(server: Server, looping: str):
    answer = server.send(
        "POST", f"/api/v1/prediction/{looping}?executedDeltas=true", {"question": "x", "streaming": True}
    )
    run = answer.headers["X-Run-Id"]
    whole = server.send("GET", f"/api/v1/runs/{run}/events", admin=True)
    assert together(told(answer)) == told(whole)[-1]["data"]
    assert len(together(told(answer))) == 241
    assert sum(len(event["data"]) for event in told(answer)) <= 243
    assert "from" not in told(whole)[0]
    again = server.send("GET", f"/api/v1/runs/{run}/events?executedDeltas=true&after=100", admin=True)
    assert (told(again)[0]["from"], together(told(again))) == (0, told(whole)[-1]["data"])


def test_what_changes_or_goes_is_told_anew():
    deltas = Deltas()

    def of(*nodes: str) -> Any:
        event = AgentFlowExecutedData([{"nodeId": name} for name in nodes])
        return [node["nodeId"] for node in json.loads(deltas.of(Entry(1, encode(event))).data)["data"]]

    assert of("a", "b") == ["a", "b"]
    assert of("a", "b", "c") == ["c"]
    assert of("a", "x", "c") == ["x", "c"]
    assert of("a") == []
    assert of("a", "x") == ["x"]
