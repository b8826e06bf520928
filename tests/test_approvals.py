"""The support flow on the page about approvals pays nothing before a person has said so."""

import json
import re
from typing import Any

import pytest
from agentflows import SHOWN
from servers import Reply, Server
from test_docs import text
from upstream import Upstream

REFUND = 'Refund order 17. | /tool refund {"order": 17} | /say It is settled.'


@pytest.fixture
def support(server: Server, upstream: Upstream) -> str:
    """The page's flow with the page's tool, asking the tests' model."""
    tool, drawn = re.findall(r"(?ms)^```json\n(.*?)^```$", text("approvals.md"))
    stored = server.send("POST", "/api/v1/tools", json.loads(tool), admin=True)
    assert stored.status == 200, stored.text
    flow = json.loads(drawn.replace("<tool-id>", stored.json["id"]))
    config = flow["nodes"][1]["data"]["inputs"]["agentModelConfig"]
    config |= {"basepath": upstream.url}
    return server.create_flow(flow, **SHOWN)


def used(answer: dict[str, Any]) -> list[str]:
    return [use["toolOutput"] for use in answer["agentFlowExecutedData"][-1]["data"]["output"].get("usedTools", [])]


def answer(server: Server, execution: str, kind: str) -> Reply:
    path = f"/api/v1/executions/{execution}/answer"
    return server.send("POST", path, {"type": kind, "feedback": "Paid once."}, admin=True)


@pytest.mark.parametrize(("kind", "paid"), [("proceed", ["Order 17 is refunded."]), ("reject", [])])
def test_the_refund_is_paid_once_somebody_agrees(server: Server, support: str, kind: str, paid: list[str]) -> None:
    stopped = server.ask(support, REFUND, chatId=f"buyer-{kind}").json
    assert "refund" in stopped["text"]
    assert stopped["action"]["data"]["nodeId"] == "agentAgentflow_0"
    assert used(stopped) == []
    waiting = server.send("GET", f"/api/v1/executions?state=STOPPED&agentflowId={support}", admin=True).json["data"]
    assert [row["id"] for row in waiting] == [stopped["executionId"]]
    done = answer(server, stopped["executionId"], kind)
    assert done.status == 200, done.text
    assert used(done.json) == paid
    assert answer(server, stopped["executionId"], kind).status == 409
    assert server.send("POST", f"/api/v1/executions/{stopped['executionId']}/answer", {"type": kind}).status == 401
