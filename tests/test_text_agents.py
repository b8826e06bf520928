"""Agents whose model uses tools in plain text: what each protocol reads, what is streamed, and what ends a run."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest
from calls import context, texts
from hypothesis import given
from hypothesis import strategies as st
from servers import Server, chat_model, flow, node
from test_agent import Given, Script, used
from upstream import Upstream

from headrace.engine.agent import STOPPED, Agent
from headrace.engine.chat import Delta, ImagePart, ModelMessage, TextDelta, TextPart
from headrace.engine.text_tools import Action, TextProtocol, TextToolModel
from headrace.errors import ProviderMalformed
from headrace.events import Event, Token
from headrace.nodes.agents.json_actions import JsonActions
from headrace.nodes.agents.text_protocols import ReAct, Tags

FENCE = '```json\n{"action": "%s", "action_input": %s}\n```'
TEXT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
PAIR = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}
NAMES = {"conversationalAgent": JsonActions(), "reactAgentChat": ReAct(), "xmlAgent": Tags()}

MINE = "<tool>sum</tool><tool_input>1</tool_input>"
READ: dict[str, tuple[TextProtocol, str, tuple[str, Any] | str]] = {
    "json": (JsonActions(), FENCE % ("sum", '"1+1"'), ("sum", "1+1")),
    "json, an object": (JsonActions(), FENCE % ("sum", '{"a": 1}'), ("sum", {"a": 1})),
    "json, words before": (JsonActions(), "Sure {x}:\n" + FENCE % ("Final Answer", '"two"'), "two"),
    "json, made up": (
        JsonActions(),
        FENCE % ("sum", '"1"') + "\nTOOL RESPONSE: 5\n" + FENCE % ("Final Answer", '"5"'),
        ("sum", "1"),
    ),
    "json, gone on": (JsonActions(), FENCE % ("Final Answer", '"two"') + "\nOr three? {}", "two"),
    "json, turned round": (JsonActions(), '{"action_input": "two", "action": "Final Answer"}', "two"),
    "json, escapes": (
        JsonActions(),
        FENCE % ("Final Answer", r'"\"b\"\n\u00e9 \ud83d\ude00 \\n {c}"'),
        '"b"\né 😀 \\n {c}',
    ),
    "json, real line breaks": (JsonActions(), FENCE % ("Final Answer", '"a\nb"'), "a\nb"),
    "json, cut short": (JsonActions(), '```json\n{"action": "Final Answer", "action_input": "as far as', "as far as"),
    "json, an answer that is no text": (JsonActions(), FENCE % ("Final Answer", '{"a": 1}'), '{"a": 1}'),
    "json, half a surrogate pair": (JsonActions(), FENCE % ("Final Answer", r'"a \ud83d b"'), "a \ud83d b"),
    "react": (ReAct(), "Thought: hm\nAction: sum\nAction Input: 1+1", ("sum", "1+1")),
    "react, numbered and quoted": (ReAct(), 'Action 1: `sum`\nAction 1 Input: "1+1"\n', ("sum", "1+1")),
    "react, bold": (ReAct(), "**Action:** sum\n**Action Input:** 1+1", ("sum", "1+1")),
    "react, made up": (ReAct(), "Action: sum\nAction Input: 1\nObservation: 5\nFinal Answer: 5", ("sum", "1")),
    "react, made up in bold": (
        ReAct(),
        "**Action:** sum\n**Action Input:** 1\n**Observation:** 5\n**Thought:** so\n**Final Answer:** 5",
        ("sum", "1"),
    ),
    "react, a thought too many": (ReAct(), "Action: sum\nAction Input: 1\n**Thought:** it is 5", ("sum", "1")),
    "react, too early": (ReAct(), "Action: sum\nAction Input: 1\nFinal Answer: 5", ("sum", "1")),
    "react, several lines": (ReAct(), "Action: s\nAction Input: ```py\na\nb\n```", ("s", "a\nb")),
    "react, the answer": (ReAct(), "Thought: I know\nFinal Answer:  two\nor three. \n", "two\nor three."),
    "react, only the answer": (ReAct(), "Final Answer: two\nObservation: that was good", "two"),
    "tags": (Tags(), "<tool>sum</tool>\n<tool_input>1+1", ("sum", "1+1")),
    "tags, made up": (Tags(), f"{MINE}<observation>5</observation><final_answer>5</final_answer>", ("sum", "1")),
    "tags, the answer": (Tags(), "Well: <final_answer>\na < b </final_answer> bye", "a < b"),
    "tags, cut short": (Tags(), "<final_answer>as far as</fin", "as far as</fin"),
}


def read(protocol: TextProtocol, pieces: Sequence[str]) -> tuple[list[str], Action | str]:
    """What is told piece by piece, and the action or the whole answer."""
    reader = protocol.reader()
    told: list[str] = []
    for piece in pieces:
        told.append(reader.feed(piece))
        if reader.over:
            break
    ending = reader.finish()
    return told, "".join(told) + ending if isinstance(ending, str) else ending


@pytest.mark.parametrize(("protocol", "text", "meant"), READ.values(), ids=READ.keys())
def test_an_answer_is_read_alike_whole_and_in_single_characters(
    protocol: TextProtocol, text: str, meant: tuple[str, Any] | str
) -> None:
    for pieces in ([text], list(text)):
        ending = read(protocol, pieces)[1]
        assert (ending if isinstance(ending, str) else (ending.tool, ending.input)) == meant


@pytest.mark.parametrize("protocol", NAMES.values(), ids=NAMES.keys())
@pytest.mark.parametrize("text", ["", "Hello!", "{", '{"action": 1', "Action: sum", "<tool>sum</tool>", '{"a": 1}'])
def test_what_has_no_form_is_refused(protocol: TextProtocol, text: str) -> None:
    with pytest.raises(ValueError, match="it h"):
        read(protocol, [text])


ENDLESS = {
    "react, blanks": (ReAct(), "Action:" + " " * 50_000 + "\nand so on"),
    "react, stars": (ReAct(), "Action: a" + " *" * 50_000 + "\nand so on"),
    "react, numbers": (ReAct(), ("Action" + " " * 5_000 + "1" * 5_000) * 10),
    "react, lines": (ReAct(), "Action: a\n" + "\n" * 100_000 + "and so on"),
    "react, actions": (ReAct(), "Action: a \n" * 20_000),
    "tags, tools": (Tags(), "<tool>" * 50_000),
    "tags, tools without input": (Tags(), "<tool>a</tool>" * 20_000),
    "tags, blanks": (Tags(), ("<tool>a</tool>" + " " * 1000) * 100),
    "json, braces": (JsonActions(), "{" * 100_000),
    "json, objects": (JsonActions(), '{"a":' * 100_000),
}


@pytest.mark.parametrize(("protocol", "text"), ENDLESS.values(), ids=ENDLESS.keys())
def test_a_model_that_goes_on_and_on_is_read_in_no_time(protocol: TextProtocol, text: str) -> None:
    with pytest.raises(ValueError, match="it h"):
        read(protocol, [text[at : at + 1000] for at in range(0, len(text), 1000)])


@given(st.text(alphabet='ab{}"\\n:<>/ \n', max_size=40), st.integers(1, 7))
def test_any_final_answer_arrives_as_it_was_meant(answer: str, size: int) -> None:
    written = FENCE % ("Final Answer", json.dumps(answer))
    told, whole = read(JsonActions(), [written[at : at + size] for at in range(0, len(written), size)])
    assert whole == answer
    assert not answer or any(told)


def test_a_final_answer_is_told_while_it_is_written() -> None:
    for protocol, text in (
        (JsonActions(), FENCE % ("Final Answer", '"one two three"')),
        (ReAct(), "Thought: yes\nFinal Answer: one two three"),
        (Tags(), "<final_answer>one two three</final_answer>"),
    ):
        cut = text.index("three")
        assert protocol.reader().feed(text[:cut]).strip() == "one two"


def agent(model: Script, protocol: TextProtocol, *tools: Given) -> list[Event]:
    async def run() -> list[Event]:
        talk = [ModelMessage("system", "Be kind."), ModelMessage("user", "Before"), ModelMessage("user", "Hi")]
        batches = Agent(context(), TextToolModel(model, protocol), tools).run(talk)
        async with aclosing(batches):
            return [event async for batch in batches for event in batch]

    return asyncio.run(run())


def said(text: str) -> list[Delta]:
    return [TextDelta(piece) for piece in ("", *text)]


CALLS = {
    "conversationalAgent": FENCE % ("add", '{"a": 1, "b": 2}'),
    "reactAgentChat": 'Thought: hm\nAction: add\nAction Input: {"a": 1, "b": 2}',
    "xmlAgent": '<tool>add</tool><tool_input>{"a": 1, "b": 2}</tool_input>',
}
ANSWERS = {
    "conversationalAgent": FENCE % ("Final Answer", '"It is 3."'),
    "reactAgentChat": "Final Answer: It is 3.",
    "xmlAgent": "<final_answer>It is 3.</final_answer>",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_tool_of_several_arguments_runs_and_the_model_reads_its_own_words_again(name: str) -> None:
    model = Script(said(CALLS[name]), said(ANSWERS[name]))
    tool = Given("add", lambda arguments: str(arguments["a"] + arguments["b"]), parameters=PAIR)
    events = agent(model, NAMES[name], tool)
    assert [tool["output"] for tool in used(events)] == ["3"]
    assert "".join(event.data for event in events if isinstance(event, Token)) == "It is 3."
    first, second = ("\n".join(texts(request.messages)) for request in model.requests)
    assert "Does add." in first
    assert '"b"' in first  # the schema, since a text would not do
    assert CALLS[name].removeprefix("Thought:") in second
    assert not model.requests[0].tools


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_told_twice_that_it_cannot_be_read_before_the_run_fails(name: str) -> None:
    model = Script(said("I would rather talk."))
    with pytest.raises(ProviderMalformed, match="does not keep to the form"):
        agent(model, NAMES[name])
    assert len(model.requests) == 3
    assert "could not be read" in model.requests[-1].messages[-1].text
    model = Script(said("I would rather talk."), said(ANSWERS[name]))
    assert "It is 3." in "".join(event.data for event in agent(model, NAMES[name]) if isinstance(event, Token))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_uses_one_tool_for_ever_is_stopped(name: str) -> None:
    model = Script(said(CALLS[name]))
    events = agent(model, NAMES[name], Given("add", lambda _: "nothing", parameters=PAIR))
    assert events[-1] == Token(STOPPED)
    assert len(model.requests) == 15


ACTS = {
    "conversationalAgent": FENCE % ("look", '"x"') + "\nTOOL RESPONSE: made up\n",
    "reactAgentChat": "Action: look\nAction Input: x\nObservation: made up\n",
    "xmlAgent": "<tool>look</tool><tool_input>x</tool_input><observation>made up</observation>",
}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_model_makes_up_after_its_turn_is_neither_waited_for_nor_kept(name: str) -> None:
    model = Script([TextDelta(word) for word in (ACTS[name], ANSWERS[name], *["lie"] * 1000)], said(ANSWERS[name]))
    events = agent(model, NAMES[name], Given("look", lambda _: "seen", parameters=TEXT))
    assert used(events)[0]["output"] == "seen"
    assert model.told[0] < 5, "the connection is closed"
    assert "made up" not in "".join(texts(model.requests[1].messages))
    assert "".join(event.data for event in events if isinstance(event, Token)) == "It is 3."


def test_pictures_stay_with_the_question() -> None:
    picture = ImagePart("data:image/png;base64,AA==")
    for protocol in (*NAMES.values(), ReAct(joined=True)):
        model = Script(said("Final Answer: x<final_answer>x</final_answer>" + FENCE % ("Final Answer", '"x"')))

        async def run(model: Script, protocol: TextProtocol) -> None:
            talk = [ModelMessage("system", "S"), ModelMessage("user", [TextPart("See?"), picture])]
            async with aclosing(Agent(context(), TextToolModel(model, protocol), []).run(talk)) as batches:
                async for _ in batches:
                    pass

        asyncio.run(run(model, protocol))
        assert picture in model.requests[0].messages[-1].parts
        assert "See?" in model.requests[0].messages[-1].text


def test_a_template_of_an_xml_agent_is_filled_in_its_places() -> None:
    model = Script(said("<tool>look</tool><tool_input>x</tool_input>"), said("<final_answer>so</final_answer>"))
    template = "Tools: {tools}\nBefore: {chat_history}\nAsked: {input}\nNotes: {agent_scratchpad}"

    async def run() -> None:
        talk = [ModelMessage("system", template), ModelMessage("assistant", "Yes?"), ModelMessage("user", "{Hi}")]
        tools = [Given("look", lambda _: "seen", parameters=TEXT)]
        async with aclosing(Agent(context(), TextToolModel(model, Tags()), tools).run(talk)) as batches:
            async for _ in batches:
                pass

    asyncio.run(run())
    (message,) = model.requests[1].messages
    assert message.role == "user"
    assert "Before: AI: Yes?\nAsked: {Hi}\nNotes: <tool>look</tool>" in message.text
    assert "<observation>seen</observation>" in message.text


def text_agent(base: str, name: str, **inputs: Any) -> dict[str, Any]:
    """An agent of this kind with a calculator and a memory."""
    wires: dict[str, Any] = {"model": "{{chatOpenAI_0.data.instance}}", "tools": ["{{calculator_0.data.instance}}"]}
    memory = node("bufferMemory", "Memory", label="Memory")
    if name != "reactAgentLLM":
        wires["memory"] = "{{bufferMemory_0.data.instance}}"
    return flow(chat_model(base), memory, node("calculator", "Tools"), node(name, "Agents", **{**wires, **inputs}))


STEPS = {
    "conversationalAgent": (FENCE % ("calculator", '"6*7"'), FENCE % ("Final Answer", '"It is 42."')),
    "reactAgentChat": ("I count.\nAction: calculator\nAction Input: 6*7", " Done.\nFinal Answer: It is 42."),
    "reactAgentLLM": ("I count.\nAction: calculator\nAction Input: 6*7", " Done.\nFinal Answer: It is 42."),
    "xmlAgent": (
        "<tool>calculator</tool><tool_input>6*7</tool_input>",
        "<final_answer>It is 42.</final_answer>",
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_an_agent_in_text_runs_on_a_server(server: Server, upstream: Upstream, name: str) -> None:
    flow_id = server.create_flow(text_agent(upstream.url, name))
    question = f"/steps {json.dumps(STEPS[name])}"
    answer = server.ask(flow_id, question, chatId="c", streaming=True).json
    assert answer["text"] == "It is 42."
    assert answer["usedTools"] == [{"tool": "calculator", "toolInput": "6*7", "toolOutput": "42"}]
    assert len(upstream.requests) == 2
    stored = server.send("GET", f"/api/v1/chatmessage/{flow_id}?chatId=c", admin=True).json[-1]
    assert (stored["content"], stored["usedTools"]) == (answer["text"], answer["usedTools"])
    upstream.reset()
    server.ask(flow_id, "/say Hello", chatId="c")
    asked = json.dumps(upstream.requests[0].body["messages"])
    assert ("It is 42." in asked) == (name != "reactAgentLLM")


STOPS = {
    "conversationalAgent": None,
    "reactAgentChat": ["\nObservation"],
    "reactAgentLLM": ["\nObservation"],
    "xmlAgent": ["</tool_input>", "</final_answer>"],
}


@pytest.mark.parametrize("name", STEPS)
def test_a_provider_is_told_where_a_turn_ends_and_may_leave_the_end_out(
    server: Server, upstream: Upstream, name: str
) -> None:
    left = [step.replace("</tool_input>", "").replace("</final_answer>", "") for step in STEPS[name]]
    answer = server.ask(server.create_flow(text_agent(upstream.url, name)), f"/steps {json.dumps(left)}").json
    assert (answer["text"], answer["usedTools"][0]["toolOutput"]) == ("It is 42.", "42")
    assert [request.body.get("stop") for request in upstream.requests] == [STOPS[name]] * 2


def test_the_run_of_a_text_agent_carries_its_tokens_though_the_flow_answers_with_json(
    server: Server, upstream: Upstream
) -> None:
    flow_id = server.create_flow(text_agent(upstream.url, "reactAgentChat"))
    assert server.send("GET", f"/api/v1/chatflows-streaming/{flow_id}").json == {"isStreaming": False}
    started = server.ask(flow_id, "/say Final Answer: one two three", background=True).json
    events = server.send("GET", f"/api/v1/runs/{started['id']}/events")
    assert [event["data"] for event in events.events if event["event"] == "token"] == ["one", " two", " three"]


def test_a_model_without_form_ends_the_run_with_an_error_that_says_what_to_do(
    server: Server, upstream: Upstream
) -> None:
    flow_id = server.create_flow(text_agent(upstream.url, "xmlAgent"))
    reply = server.ask(flow_id, "/say no")
    assert (reply.status, reply.json["code"]) == (502, "provider_malformed")
    assert "tool agent" in reply.json["message"]
