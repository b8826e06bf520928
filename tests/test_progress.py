"""Where an agent flow is can be stored after every step, and the flow goes on from there as if nothing had been."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import pytest
from agentflows import Flow, condition, contains, flow, node, reply, start
from calls import context
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.agentflow import steps
from headrace.engine.agentflow.components import AgentFlowPlan
from headrace.engine.agentflow.execution import Execution
from headrace.engine.agentflow.graph import AgentGraph, Level
from headrace.engine.agentflow.node import AgentRun
from headrace.engine.agentflow.progress import Arrow, Progress, Way
from headrace.engine.agentflow.telling import AgentFlowTeller
from headrace.engine.agentflow.walk import Walk
from headrace.engine.chat import ModelMessage, ToolCall
from headrace.engine.conversation import Conversation, Round, ToolUse
from headrace.engine.overrides import OverrideRules, Overrides
from headrace.engine.ports import ToolResult
from headrace.errors import HeadraceError
from headrace.events import Document, Event, UsedTool
from headrace.nodes import built_in
from headrace.schema import FlowFile, NodeData

CATALOG = built_in()


def quoting(number: int = 0, **rest: Any) -> Flow:
    """An LLM node with the built-in model, which needs nobody."""
    inside = rest.pop("inside", None)
    messages = [{"role": "system", "content": "Water reaches the turbine by the headrace. It leaves by the tailrace."}]
    inputs = {"llmModel": "chatExtractive", "llmModelConfig": {"sentences": 1}, "llmMessages": messages}
    return node("llm", number, inside=inside, **inputs, llmEnableMemory=True, **rest)


def plus(key: str, text: str) -> list[dict[str, str]]:
    return [{"key": key, "value": text}]


INSIDE = "iterationAgentflow_0"
FLOWS = {
    "a loop that changes the state": flow(
        start(startState=plus("seen", "")),
        quoting(llmUpdateState=plus("seen", "{{ $flow.state.seen }}|{{ loop_count }}")),
        condition(contains("often")),
        node("loop", loopBackToNode="llmAgentflow_0-llm", maxLoopCount=3, fallbackMessage="Enough."),
        reply("{{ $flow.state.seen }}"),
        arrows="start_0 llm_0, llm_0 condition_0, condition_0:0 loop_0, condition_0:1 directReply_0",
    ),
    "branches that join": flow(
        start(), quoting(0), quoting(1), reply("{{ llmAgentflow_0 }} {{ llmAgentflow_1 }}"), reply("never", 1),
        condition(contains("?")),
        arrows="start_0 llm_0, start_0 llm_1, llm_0 directReply_0, llm_1 condition_0, condition_0:0 directReply_0, "
        "condition_0:1 directReply_1",
    ),
    "an iteration with an item that fails": flow(
        start(), node("iteration", iterationInput='["input", {"b": [1]}, "input"]'),
        node("tool", inside=INSIDE, toolAgentflowSelectedTool="calculator",
             toolInputArgs=[{"inputArgName": "{{ $iteration }}", "inputArgValue": "1 + 1"}]),
        reply("{{ toolAgentflow_0 }} of {{ $iteration }}", inside=INSIDE), reply("{{ iterationAgentflow_0 }}", 1),
        arrows="start_0 iteration_0, tool_0 directReply_0, iteration_0 directReply_1",
    ),
    "a list of nothing": flow(
        start(), node("iteration", iterationInput="[]"), reply("x", inside=INSIDE), reply("end", 1),
        arrows="start_0 iteration_0, iteration_0 directReply_1",
    ),
    "an iteration inside an iteration": flow(
        start(), node("iteration", iterationInput="[[1, 2], [3]]"),
        node("iteration", 1, inside=INSIDE, iterationInput="{{ $iteration }}"),
        reply("<{{ $iteration }}>", inside="iterationAgentflow_1"), reply("{{ iterationAgentflow_0 }}", 1),
        arrows="start_0 iteration_0, iteration_0 directReply_1",
    ),
    "a node that fails": flow(
        start(), node("iteration", iterationInput="no list"), reply("x", inside=INSIDE),
        arrows="start_0 iteration_0",
    ),
}  # fmt: skip


def shown(events: Sequence[Event]) -> list[Any]:
    """Events without times, and tokens joined."""
    found: list[Any] = []
    for event in events:
        told = msgspec.to_builtins(event)
        if told["event"] == "token" and found and found[-1]["event"] == "token":
            found[-1]["data"] += told["data"]
        else:
            found.append(told)
    return [timeless(one) for one in found]


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key != "timeMetadata"}
    return [timeless(item) for item in value] if isinstance(value, list) else value


async def walked(drawn: Flow, question: str, *, stored: bool) -> tuple[list[Any], Any]:
    """The events and the progress at the end. `stored` ones are encoded and read by another walk after each step."""
    graph = AgentGraph(msgspec.convert(drawn, FlowFile), CATALOG)
    progress, execution = Progress(way=Way(ready=graph.top.starts), text=question), Execution(id="e")
    events: list[Event] = []
    reason = ""
    plan = AgentFlowPlan(graph, CATALOG, Overrides(OverrideRules(), None))
    run = AgentRun(context(), execution, progress, question)
    walk = Walk(plan, run, AgentFlowTeller(run))
    try:
        while run.progress.way.ready:
            await gathered(walk.step(), events)
            if stored:
                read = msgspec.json.decode(msgspec.json.encode(run.progress), type=Progress)
                run = AgentRun(context(), execution, read, question)
                walk = Walk(plan, run, AgentFlowTeller(run))
    except HeadraceError as error:
        reason = str(error)
    return [*shown(events), reason], timeless(msgspec.to_builtins(run.progress))


async def gathered(batches: AsyncGenerator[Sequence[Event]], events: list[Event]) -> None:
    async with aclosing(batches):
        async for batch in batches:
            events.extend(batch)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("question", ["How often does water reach the turbine?", "What does water leave by"])
def test_a_flow_that_is_stored_after_every_step_ends_the_same(name: str, question: str) -> None:
    whole = asyncio.run(walked(FLOWS[name], question, stored=False))
    stored = asyncio.run(walked(FLOWS[name], question, stored=True))
    assert stored == whole
    assert len(whole[1]["executed"]) > 1


def test_the_flows_of_these_tests_do_what_they_are_for() -> None:
    ends = {name: asyncio.run(walked(drawn, "How often?", stored=True)) for name, drawn in FLOWS.items()}
    texts = {name: end["way"].get("text") for name, (_, end) in ends.items()}
    assert texts["a loop that changes the state"] == "Enough."
    assert texts["an iteration inside an iteration"] == "<1>\n<2>\n<3>"
    one, failed, three = str(texts["an iteration with an item that fails"]).splitlines()
    assert (one, three, failed.partition(":")[0]) == ("2 of input", "2 of input", "Error in iteration 2")
    assert ends["a node that fails"][0][-1].startswith("'iterationAgentflow_0' needs a JSON list")


@st.composite
def levels(draw: st.DrawFn) -> Level:
    """Nodes in a row, and arrows from earlier ones to later ones, each at one of two outputs."""
    keys = [f"n{number}" for number in range(draw(st.integers(2, 7)))]
    pairs = [(one, two) for place, one in enumerate(keys) for two in keys[place + 1 :]]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True))
    arrows = [Arrow(one, draw(st.sampled_from("01")), two) for one, two in chosen]
    return Level([NodeData(id=key, name="x") for key in keys], arrows)


@given(levels(), st.data())
def test_every_node_runs_once_at_most_and_only_if_an_arrow_to_it_is_taken(level: Level, data: st.DataObject) -> None:
    way, ran = Way(ready=level.starts), list[str]()
    taken = set[Arrow]()
    while way.ready:
        current, output = way.ready[0], data.draw(st.sampled_from(["0", "1", None]))
        ran.append(current)
        taken |= {arrow for arrow in level.arrows_from[current] if output in (None, arrow.output)}
        way = msgspec.json.decode(msgspec.json.encode(steps.onward(way, level, output)), type=Way)
    reached = {key for key in level.nodes if not level.arrows_to[key] or taken & set(level.arrows_to[key])}
    assert sorted(ran) == sorted(reached)
    assert {*way.taken, *way.dead} == {arrow for key in level.nodes for arrow in level.arrows_from[key]}


def test_a_conversation_that_waits_is_read_as_it_was() -> None:
    calls = [ToolCall("1", "look", "{}"), ToolCall("2", "pay", '{"much": 1}', "signed")]
    looked = ToolUse(
        calls[0], ToolResult("seen", [Document("a heron", {"source": "birds"})]), UsedTool("look", {}, "seen")
    )
    message = ModelMessage("assistant", "I pay.", calls)
    talk = Conversation([ModelMessage("user", "Pay!")]).added(Round(message, [looked, None]))
    read = msgspec.json.decode(msgspec.json.encode(talk), type=Conversation)
    assert msgspec.json.encode(read) == msgspec.json.encode(talk)
    assert [call.name for call in read.waiting] == ["pay"]
    assert [message.role for message in read.messages] == ["user", "assistant", "tool"]
    assert [call.name for call in read.rejected.messages[1].calls] == ["look"]
    assert Conversation(talk.opening).added(Round(message, [None, None])).rejected.messages == [
        ModelMessage("user", "Pay!")
    ]
