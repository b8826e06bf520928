"""The Condition Agent and the Retriever of agent flows, on a real server with a scripted model."""

import json
from typing import Any

import pytest
from agentflows import Flow, executed, flow, node, reply, said, start, steps
from servers import Server
from test_store_vectors import filled_store
from upstream import Upstream

from headrace.nodes.agentflow.scenarios import chosen, named_in

AGENT = {"type": "AGENTFLOW"}
SCENARIOS = ["User asks for a refund", "User looks for an item", "Small talk"]


def sorting(base: str, instruction: str, **inputs: Any) -> Flow:
    """A flow that has the model sort the question, and says which way it went."""
    given: Flow = {
        "conditionAgentModel": "chatOpenAI",
        "conditionAgentModelConfig": {"modelName": "gpt-4o-mini", "basepath": base},
        "conditionAgentInstructions": instruction,
        "conditionAgentInput": "{{ question }}",
        "conditionAgentScenarios": [{"scenario": text} for text in SCENARIOS],
        **inputs,
    }
    arrows = "start_0 conditionAgent_0" + "".join(f", conditionAgent_0:{n} directReply_{n}" for n in range(3))
    ways = [reply(f"way {number}", number) for number in range(3)]
    return flow(start(), node("conditionAgent", **given), *ways, arrows=arrows)


@pytest.mark.parametrize(
    ("named", "place"),
    [
        ("User looks for an item", 1),
        (" user LOOKS for an item. ", 1),
        ("User looks", 1),
        ("item", 1),
        ("The scenario is: User asks for a refund", 0),
        ("something else", 2),
        ("", 2),
    ],
)
def test_the_scenario_meant_is_found_and_the_last_one_is_for_the_rest(named: str, place: int) -> None:
    assert chosen(named, SCENARIOS) == place


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ('{"output": "Small talk"}', "Small talk"),
        ('```json\n{"output": "Small talk"}\n```', "Small talk"),
        ("Small talk", "Small talk"),
        ('{"other": 1}', ""),
    ],
)
def test_the_scenario_is_read_from_the_object_or_from_plain_words(answer: str, named: str) -> None:
    assert named_in(answer) == named


def test_an_empty_scenario_is_never_meant() -> None:
    assert chosen("refund please", ["", "", "other"]) == 2


def test_the_flow_goes_on_at_the_scenario_that_the_model_names(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(sorting(upstream.url, "Sort."), **AGENT)
    said_so = "Please /say User looks for an item | /think Which one?"
    answer = server.ask(key, said_so, streaming=True)
    assert steps(answer) == ["start_0", "conditionAgent_0", "directReply_1"]
    assert said(answer) == "way 1"
    output = executed(answer)[1]["data"]["output"]
    assert output["content"] == "User looks for an item"
    assert [one["isFulfilled"] for one in output["conditions"]] == [False, True, False]
    system, user = upstream.requests[-1].body["messages"]
    assert system["role"] == "system"
    assert json.loads(user["content"]) == {"input": said_so, "scenarios": SCENARIOS, "instruction": "Sort."}


def test_an_own_system_prompt_replaces_the_node_s(server: Server, upstream: Upstream) -> None:
    own = {"conditionAgentOverrideSystemPrompt": True, "conditionAgentSystemPrompt": "Choose for {{ question }}"}
    server.ask(server.create_flow(sorting(upstream.url, "Sort.", **own), **AGENT), "me")
    assert upstream.requests[-1].body["messages"][0]["content"] == "Choose for me"


def test_a_condition_agent_without_scenarios_says_so(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(sorting(upstream.url, "", conditionAgentScenarios=[{"scenario": ""}]), **AGENT)
    assert "has no scenarios to choose from" in server.ask(key, "Hi").text
    assert not upstream.requests


def test_a_retriever_gives_what_its_store_holds(server: Server) -> None:
    store, _ = filled_store(server)
    inputs: Flow = {
        "retrieverKnowledgeDocumentStores": [{"documentStore": f"{store}:birds"}],
        "retrieverQuery": "<p>{{ question }}</p>",
    }
    key = server.create_flow(flow(start(), node("retriever", **inputs), arrows="start_0 retriever_0"), **AGENT)
    assert "The Heron spears fish." in server.ask(key, "heron").json["text"]
    inputs["outputFormat"] = "textWithMetadata"
    key = server.create_flow(flow(start(), node("retriever", **inputs), arrows="start_0 retriever_0"), **AGENT)
    found = json.loads(server.ask(key, "heron").json["text"])
    assert "The Heron spears fish." in [one["pageContent"] for one in found]


def test_a_retriever_without_a_store_says_so(server: Server) -> None:
    drawn = flow(start(), node("retriever", retrieverQuery="x"), arrows="start_0 retriever_0")
    assert "has no document store" in server.ask(server.create_flow(drawn, **AGENT), "x").text
