"""For every example flow the stream, the JSON answer and the stored message are the same."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
from servers import Reply, Server

from headrace.events import Prediction, decode, fold
from headrace.store.exports import read_export

EXAMPLES = sorted(Path(str(files("headrace") / "examples")).glob("*.json"))
QUESTIONS = ("How do I resume a stream?", "Which model answers?", "zyxwv?", "")
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
