"""For every example flow the stream, the JSON answer and the stored message are the same."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
from servers import Reply, Server

from headrace.events import Prediction, decode, fold
from headrace.exports import read_export

EXAMPLES = sorted(Path(str(files("headrace") / "examples")).glob("*.json"))
QUESTIONS = ("How do I resume a stream?", "Which model answers?", "zyxwv?", "", "12*(3+4) and 17% of 2,340?")
IDS = {"chatId", "chatMessageId", "sessionId", "isStreamValid"}
KEPT = ("sourceDocuments", "usedTools", "fileAnnotations", "artifacts")


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(server: Server, request: pytest.FixtureRequest) -> str:
    (row,) = read_export(request.param).flows
    return server.create_flow(msgspec.json.decode(row.flowData), chatbotConfig=row.chatbotConfig)


def folded(reply: Reply) -> Prediction:
    assert reply.kinds[-2:] == ["metadata", "end"]
    return fold(decode(line[5:]) for line in reply.text.split("\n") if line.startswith("data:"))


def without_ids(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in IDS}


def messages(server: Server, flow_id: str, chat: str) -> list[dict[str, Any]]:
    return server.send("GET", f"/api/v1/chatmessage/{flow_id}?chatId={chat}", admin=True).json


def test_there_is_an_example() -> None:
    assert EXAMPLES


def test_stream_json_answer_and_stored_message_of_an_example_are_the_same(server: Server, example: str) -> None:
    streamed = [folded(server.ask(example, question, streaming=True, chatId="streamed")) for question in QUESTIONS]
    answered: list[dict[str, Any]] = [server.ask(example, question, chatId="answered").json for question in QUESTIONS]
    assert [without_ids(msgspec.to_builtins(answer)) for answer in streamed] == list(map(without_ids, answered))
    assert all(answer["text"] for answer in answered)
    for chat, answers in (("streamed", list(map(msgspec.to_builtins, streamed))), ("answered", answered)):
        rows = messages(server, example, chat)
        assert [row["content"] for row in rows[::2]] == list(QUESTIONS)
        assert [row["role"] for row in rows] == ["userMessage", "apiMessage"] * len(QUESTIONS)
        for row, answer in zip(rows[1::2], answers, strict=True):
            assert (row["content"], row["id"]) == (answer["text"], answer["chatMessageId"])
            assert (row["chatId"], row["sessionId"]) == (answer["chatId"], answer["sessionId"])
            assert row["memoryType"] == answer.get("memoryType")
            assert {name: row[name] for name in KEPT} == {name: answer.get(name) for name in KEPT}


NEWCOMERS = {
    "what is 17% of 2,340?": ("calculator", "17/100*2340 is 397.8."),
    "12*(3+4)": ("calculator", "12*(3+4) is 84."),
    "what day is it?": ("current_date_time", "It is "),
    "What is two plus two, please?": ("calculator", "2+2 is 4."),
    "1/0": ("calculator", "The calculator could not work out 1/0"),
}


@pytest.fixture(scope="module")
def calculator(server: Server) -> str:
    (path,) = [path for path in EXAMPLES if path.stem == "calculator-agent"]
    return server.create_flow(msgspec.json.decode(read_export(path).flows[0].flowData))


@pytest.mark.parametrize(("question", "told"), NEWCOMERS.items(), ids=NEWCOMERS.keys())
def test_the_calculator_agent_uses_its_tools_without_a_key(
    server: Server, calculator: str, question: str, told: tuple[str, str]
) -> None:
    stream = server.ask(calculator, question, streaming=True)
    assert stream.kinds == ["start", "token", "usedTools", "metadata", "end"]
    answer = folded(stream)
    assert [tool.tool for tool in answer.usedTools or ()] == [told[0]]
    assert (answer.text or "").startswith(told[1])


def test_the_calculator_agent_says_what_it_is_when_it_cannot_help(server: Server, calculator: str) -> None:
    answer = server.ask(calculator, "Who wrote Hamlet?").json
    assert "usedTools" not in answer
    assert answer["text"].startswith("I am the built-in model for trying out tools")
