"""Agent flows from sentences: a scripted model plans them, and only what can run here is given back."""

import json
from typing import Any

import pytest
from agentflows import SHOWN
from provider import Answer, Provider
from servers import Server

PATH = "/api/v1/agentflowv2-generator/generate"
PLAN: dict[str, Any] = {
    "nodes": [
        {"id": "begin", "name": "startAgentflow", "label": "Start", "inputs": {"startInputType": "chatInput"}},
        {
            "id": "which",
            "name": "conditionAgentflow",
            "inputs": {
                "conditions": [{"type": "string", "value1": "{{ question }}", "operation": "contains", "value2": "hi"}]
            },
        },
        {"id": "greet", "name": "directReplyAgentflow", "inputs": {"directReplyMessage": "Hello."}},
        {"id": "think", "name": "llmAgentflow", "label": "Think", "inputs": {"llmUserMessage": "{{ question }}"}},
        {"id": "tell", "name": "directReplyAgentflow", "inputs": {"directReplyMessage": "It says {{ think }}"}},
    ],
    "edges": [
        {"source": "begin", "target": "which"},
        {"source": "which", "target": "greet", "output": 0},
        {"source": "which", "target": "think", "output": "1"},
        {"source": "think", "target": "tell"},
    ],
}


def saying(provider: Provider, *texts: str) -> None:
    """The model says these, one after the other, and the last one again and again."""
    left = list(texts)

    def answer(_: object) -> Answer:
        text = left.pop(0) if len(left) > 1 else left[0]
        chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}
        return Answer([f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()])

    provider.seen, provider.answer = [], answer


def asked(server: Server, provider: Provider, question: str = "Greet or answer", model: str = "chatOpenAI") -> Any:
    inputs = {"modelName": "gpt-4o-mini", "basepath": provider.url}
    body = {"question": question, "selectedChatModel": {"name": model, "inputs": inputs}}
    return server.send("POST", PATH, body, admin=True)


def test_a_flow_from_a_sentence_runs(server: Server, provider: Provider):
    saying(provider, f"Here it is:\n```json\n{json.dumps(PLAN)}\n```")
    flow = asked(server, provider).json
    assert {node["id"] for node in flow["nodes"]} >= {"startAgentflow_0", "directReplyAgentflow_1"}
    told = provider.seen[0].body["messages"]
    assert "httpAgentflow" in told[0]["content"]
    assert told[1]["content"] == "Greet or answer"
    key = server.create_flow(flow, **SHOWN)
    assert server.ask(key, "hi").json["text"] == "Hello."
    saying(provider, "42.")
    assert server.ask(key, "6*7?").json["text"] == "It says 42."


def test_a_plan_that_cannot_run_is_mended(server: Server, provider: Provider):
    broken = {**PLAN, "nodes": [*PLAN["nodes"], {"id": "x", "name": "mailAgentflow"}]}
    saying(provider, json.dumps(broken), json.dumps(PLAN))
    assert asked(server, provider).status == 200
    assert "there are no node types 'mailAgentflow'" in provider.seen[1].body["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ("no plan", "no JSON object"),
        ('{"nodes": 3}', "malformed"),
        (json.dumps({**PLAN, "edges": PLAN["edges"][1:]}), "Multiple starting nodes"),
        (json.dumps({**PLAN, "edges": [*PLAN["edges"], {"source": "tell", "target": "nobody"}]}), "'nobody'"),
        (json.dumps({**PLAN, "nodes": [*PLAN["nodes"], PLAN["nodes"][0]]}), "two nodes have the id 'begin'"),
        (json.dumps({**PLAN, "edges": [*PLAN["edges"], {"source": "tell", "target": "think"}]}), "circle"),
    ],
)
def test_plans_that_stay_wrong_are_refused_in_words(server: Server, provider: Provider, plan: str, reason: str):
    saying(provider, plan)
    answer = asked(server, provider)
    assert (answer.status, answer.json["code"]) == (422, "flow_error")
    assert reason in answer.json["message"]
    assert len(provider.seen) == 3


@pytest.mark.parametrize(("question", "model"), [(" ", "chatOpenAI"), ("x", "calculator"), ("x", "chatNobody")])
def test_what_cannot_be_asked_is_refused(server: Server, provider: Provider, question: str, model: str):
    assert asked(server, provider, question, model).status == 400
