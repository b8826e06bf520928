"""Supervisors and their workers, and the bounds and refusals of multi-agent flows."""

import json
from pathlib import Path
from typing import Any

import pytest
from provider import Answer, Provider, Seen, chunks
from servers import Server, node, serving
from teams import MODEL, TEAM, Cast, Flow, agent, begin, condition, flow, llm, reasoning, spoke, step, when
from test_agent_templates import Turn

from headrace.engine.flow_file import read_flow
from headrace.engine.multiagent.graph import TeamGraph
from headrace.errors import FlowError
from headrace.nodes import built_in


def goes_to(name: str, instructions: str = "Do it.") -> Turn:
    return Turn("", "route", {"reasoning": "r", "next": name, "instructions": instructions})


def team(base: str, *before: Flow, worker: Flow | None = None, **inputs: Any) -> Flow:
    """A supervisor with a writer and a critic."""
    boss = step(
        "supervisor", supervisorName="Boss", supervisorPrompt="Boss of {team_members}", model=MODEL,
        **{"recursionLimit": 100, **inputs},
    )  # fmt: skip
    supervisor = "{{supervisor_0.data.instance}}"
    writer = step(
        "worker", workerName="The Writer", workerPrompt="Writer at {company}", supervisor=supervisor,
        promptValues='{"company": "Sluice"}', **(worker or {}),
    )  # fmt: skip
    critic = step("worker", 1, workerName="Critic", workerPrompt="Critic", supervisor=supervisor)
    return flow(base, *before, boss, writer, critic, arrows="")


def test_a_supervisor_names_workers_until_the_request_is_met(server: Server, provider: Provider) -> None:
    cast = Cast(provider, Boss=[goes_to("the_writer"), goes_to("critic"), goes_to("FINISH")], Writer="A.", Critic="B.")
    answer = server.ask(server.create_flow(team(provider.url), **TEAM), "Tea?", streaming=True)
    assert spoke(answer) == [("Boss", []), ("The Writer", ["A."]), ("Boss", []), ("Critic", ["B."]), ("Boss", [])]
    assert [event["data"] for event in answer.events if event["event"] == "nextAgent"] == ["The Writer", "Critic"]
    assert [event["data"] for event in answer.events if event["event"] == "token"] == ["B."]
    assert reasoning(answer)[0]["state"] == {
        "next": "the_writer", "instructions": "Do it.", "team_members": "the_writer, critic",
    }  # fmt: skip
    assert cast.told("Critic") == [[("user", "Tea?"), ("user", "A.")]]
    routed = next(seen.body for seen in provider.seen if cast.role(seen) == "Boss")
    assert routed["tool_choice"] == {"type": "function", "function": {"name": "route"}}
    assert routed["messages"][0]["content"] == "Boss of the_writer, critic"


def test_workers_use_tools_and_the_supervisor_sums_up(server: Server, provider: Provider) -> None:
    def boss(seen: Seen) -> Turn:
        if not seen.body.get("tools"):
            return Turn("In short: 42.")
        return goes_to("FINISH" if "It is 42." in str(seen.body["messages"]) else "the_writer")

    def nobody(seen: Seen) -> Turn:
        return Turn("In short: 42.")

    cast = Cast(
        provider, Boss=boss, nobody=nobody, Writer=[Turn("", "calculator", {"input": "6*7"}), Turn("It is 42.")]
    )
    tools = {"tools": ["{{calculator_0.data.instance}}"]}
    drawn = team(provider.url, node("calculator", "Tools"), worker=tools, summarization=True)
    answer = server.ask(server.create_flow(drawn, **TEAM), "How many?", streaming=True)
    assert [event["data"] for event in answer.events if event["event"] == "token"] == ["In short: 42."]
    assert reasoning(answer)[1]["usedTools"][0]["toolOutput"] == "42"
    assert cast.told("nobody")[0][:2] == [("user", "How many?"), ("user", "It is 42.")]


def test_a_supervisor_that_finishes_at_once_says_nothing(server: Server, provider: Provider) -> None:
    Cast(provider, Boss=[goes_to("FINISH")])
    assert server.ask(server.create_flow(team(provider.url), **TEAM), "Tea?").json["text"] == ""


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        (goes_to("the_plumber"), "has named no worker that is there: there are FINISH, the_writer, critic"),
        (Turn("I would ask the writer."), "needs a model that calls tools, and its model has called none"),
    ],
)
def test_a_decision_that_cannot_be_followed_is_said(server: Server, provider: Provider, turn: Turn, says: str) -> None:
    Cast(provider, Boss=[turn])
    assert says in server.ask(server.create_flow(team(provider.url), **TEAM), "Tea?").json["message"]


def test_a_model_that_writes_its_decision_is_understood(server: Server, provider: Provider) -> None:
    Cast(provider, Boss=[Turn('{"next": "critic"}'), Turn('So: {"next": "FINISH"}')], Critic="B.")
    assert server.ask(server.create_flow(team(provider.url), **TEAM), "Tea?").json["text"] == "B."


def test_a_supervisors_steps_are_bounded(server: Server, provider: Provider) -> None:
    cast = Cast(provider, Boss=lambda _: goes_to("critic"), Critic="B.")
    answer = server.ask(server.create_flow(team(provider.url, recursionLimit=5), **TEAM), "Tea?")
    assert "has executed 5 nodes in one run" in answer.json["message"]
    assert (len(cast.told("Boss")), len(cast.told("Critic"))) == (3, 2)


def looping(base: str) -> Flow:
    return flow(
        base, begin(), agent("Round"), step("seqLoop", loopToName="Round"),
        arrows="seqStart_0 seqAgent_0, seqAgent_0 seqLoop_0",
    )  # fmt: skip


def test_a_loop_without_an_end_is_bounded(server: Server, provider: Provider) -> None:
    Cast(provider, Round="And again.")
    answer = server.ask(server.create_flow(looping(provider.url), **TEAM), "Tea?")
    assert "has executed 100 nodes in one run" in answer.json["message"]


@pytest.mark.parametrize("drawn", [team, looping], ids=["a supervisor", "sequential agents"])
def test_a_question_that_is_moderated_reaches_no_agent(server: Server, provider: Provider, drawn: Any) -> None:
    Cast(provider)
    one = drawn(provider.url)
    guard = node("inputModerationSimple", "Moderation", denyList="tea", moderationErrorMessage="Not that.")
    one["nodes"].append(guard)
    first = next(each["data"] for each in one["nodes"] if each["data"]["name"] in ("supervisor", "seqStart"))
    first["inputs"]["inputModeration"] = ["{{inputModerationSimple_0.data.instance}}"]
    one["edges"].append({"source": guard["id"], "target": first["id"]})
    answer = server.ask(server.create_flow(one, **TEAM), "Tea?", streaming=True)
    assert [event["data"] for event in answer.events if event["event"] == "token"] == ["Not that."]
    assert provider.seen == []


def test_a_cancelled_run_ends_with_abort(server: Server, provider: Provider) -> None:
    provider.seen, provider.answer = [], lambda _: Answer(chunks("Never whole"), held=True)
    key = server.create_flow(looping(provider.url), **TEAM)
    run = server.send("POST", f"/api/v1/prediction/{key}", {"question": "Tea?", "background": True}).json["id"]
    provider.until(lambda seen: bool(seen))
    server.send("POST", f"/api/v1/runs/{run}/cancel", {})
    assert server.send("GET", f"/api/v1/runs/{run}/events").kinds[-2:] == ["abort", "end"]


def test_visitors_see_which_agents_acted_and_not_what_they_said(server: Server, provider: Provider) -> None:
    hides = {"type": "MULTIAGENT", "apiConfig": json.dumps({"showInternals": False})}
    Cast(provider, Boss=lambda s: goes_to("FINISH" if "SAID" in str(s.body) else "critic", "WISHED"), Critic="SAID")
    key = server.create_flow(team(provider.url), **hides)
    for streaming in (False, True):
        seen = server.ask(key, "Tea?", streaming=streaming)
        assert [one["agentName"] for one in reasoning(seen)] == ["Boss", "Critic", "Boss"]
        assert all(one["messages"] == [] and one["state"] == {} for one in reasoning(seen))
        assert "WISHED" not in seen.text
        assert seen.text.count("SAID") == 1, "the answer alone"
        owned = server.send(
            "POST", f"/api/v1/prediction/{key}", {"question": "Tea?", "streaming": streaming}, admin=True
        )
        assert "WISHED" in owned.text


# Drawings that cannot run

BASE = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("drawn", "says"),
    [
        (flow(BASE, agent("A"), step("seqEnd"), arrows="seqAgent_0 seqEnd_0"), "no Start node and no supervisor"),
        (
            flow(BASE, begin(), step("seqStart", 1, model=MODEL), agent("A"), arrows="seqStart_0 seqAgent_0"),
            "begins at more than one node",
        ),
        (
            flow(
                BASE,
                begin(),
                agent("A"),
                step("seqLoop", loopToName="B"),
                arrows="seqStart_0 seqAgent_0, seqAgent_0 seqLoop_0",
            ),
            "loops to a step that is not there: choose one of 'A'",
        ),
        (
            flow(
                BASE,
                begin(),
                agent("A"),
                agent("B", 1),
                arrows="seqStart_0 seqAgent_0, seqAgent_0 seqAgent_1, seqAgent_1 seqAgent_0",
            ),
            "goes in a circle",
        ),
        (flow(BASE, begin(), step("seqUnheardOf"), arrows="seqStart_0 seqUnheardOf_0"), "no node 'seqUnheardOf'"),
    ],
    ids=["no start", "two starts", "a loop to nowhere", "a circle", "an unknown node"],
)
def test_a_drawing_that_cannot_run_says_why(drawn: Flow, says: str) -> None:
    with pytest.raises(FlowError, match=says):
        TeamGraph(read_flow(json.dumps(drawn)), built_in())


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (condition(when("$flow.input", "Is", "Tea?", "Nowhere")), "goes on at 'Nowhere', where nothing is connected"),
        (condition(when("$flow.input", "Resembles", "Tea?", "End")), "knows no operation 'Resembles'"),
        (
            step(
                "seqCondition",
                selectedConditionFunctionTab_seqCondition_0="conditionFunction",
                conditionFunction="return x",
            ),
            "x",
        ),
    ],
    ids=["an output that leads nowhere", "an unknown operation", "a script that fails"],
)
def test_a_condition_that_fails_says_why(server: Server, provider: Provider, last: Flow, says: str) -> None:
    drawn = flow(
        provider.url, begin(), last, step("seqEnd"), arrows="seqStart_0 seqCondition_0, seqCondition_0:end seqEnd_0"
    )
    assert says in server.ask(server.create_flow(drawn, **TEAM), "Tea?").json["message"]


def test_a_flow_whose_type_is_lost_runs_by_its_nodes(tmp_path: Path, provider: Provider) -> None:
    Cast(provider, Writer="A draft.")
    drawn = flow(
        provider.url, begin(), llm("Writer"), step("seqEnd"), arrows="seqStart_0 seqLLMNode_0, seqLLMNode_0 seqEnd_0"
    )
    with serving(tmp_path / "data") as server:
        assert server.ask(server.create_flow(drawn), "Tea?").json["text"] == "A draft."
