"""The clients that people use, as processes against a real server: PyPI flowise, npm flowise-sdk, curl, and ours."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from servers import Server, conversation
from typescript import built
from upstream import Upstream

PUBLISHED = Path(__file__).parent / "published"
UNKNOWN = "11111111-1111-4111-8111-111111111111"
TEXTS = {
    "plain": "Once upon a time",
    "what the Python SDK deletes": 'data: {"event":"end"} and data:data: x',
    "emoji": "👩‍👩‍👧 🇳🇴 é",
    "line ends of other worlds": "a\u2028b\u2029c\u0085d\x0be\r\nf\n\ng\rh",
    "a megabyte": " ".join(f"{number}🙂data:\u2028" + "x" * 16_000 for number in range(66)),
    "quotes and backslashes": '"\\n" \\u0041 \\ / \t {{question}} $& %s',
}


class Said:
    """What a client gave to its user."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        self.chunks: list[dict[str, Any]] = [line["chunk"] for line in lines if "chunk" in line]
        self.error: str | None = next((line["error"] for line in lines if "error" in line), None)

    @property
    def kinds(self) -> list[str]:
        return list(dict.fromkeys(chunk["event"] for chunk in self.chunks))

    @property
    def text(self) -> str:
        return "".join(chunk["data"] for chunk in self.chunks if chunk["event"] == "token")

    @property
    def metadata(self) -> dict[str, Any]:
        return next(chunk["data"] for chunk in self.chunks if chunk["event"] == "metadata")


Ask = Callable[..., Said]


@pytest.fixture(scope="module", params=["flowise", "headrace", "flowise-sdk", "headrace-sdk"])
def client(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def process(
    client: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[subprocess.Popen[str]]:
    """One of the clients in a process, which ends by itself and complains of nothing."""
    if client == "flowise-sdk":
        package = request.getfixturevalue("sdk") / "node_modules" / "flowise-sdk"
        command = ["node", str(PUBLISHED / "client.js"), str(package), "FlowiseClient"]
    elif client == "headrace-sdk":
        command = ["node", str(PUBLISHED / "client.js"), str(built()), "HeadraceClient"]
    else:
        command = [sys.executable, str(PUBLISHED / "client.py"), client]
    complaints = tmp_path_factory.mktemp("published") / "complaints"
    with complaints.open("w") as stderr:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr}
        with subprocess.Popen(command, encoding="utf-8", **pipes) as process:
            yield process
            process.communicate(timeout=30)
    assert (process.returncode, complaints.read_text()) == (0, "")


@pytest.fixture
def ask(process: subprocess.Popen[str], server: Server) -> Ask:
    """Asks a flow through one of the clients."""

    def run(flow: str, question: str, key: str = "", **data: Any) -> Said:
        job = {"baseUrl": server.url, "apiKey": key, "data": {"chatflowId": flow, "question": question, **data}}
        assert process.stdin
        assert process.stdout
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        lines: list[str] = []
        while (line := process.stdout.readline()).strip():
            lines.append(line)
        watchdog.cancel()
        assert line, "the client's process ended"
        return Said([json.loads(line) for line in lines])

    return run


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_streamed_text_arrives_as_the_model_said_it(ask: Ask, chat: str, text: str) -> None:
    said = ask(chat, f"/json {json.dumps(text)}", streaming=True)
    assert said.text == text
    assert said.kinds == ["start", "token", "metadata", "end"]
    assert said.chunks[-1]["data"] == "[DONE]"
    assert said.error is None


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_json_answer_arrives_whole(ask: Ask, chat: str, text: str) -> None:
    question = f"/json {json.dumps(text)}"
    (answer,) = ask(chat, question, chatId="c-1").chunks
    assert (answer["text"], answer["question"], answer["chatId"]) == (text, question, "c-1")
    assert {"chatMessageId", "sessionId", "memoryType", "isStreamValid"} <= set(answer)


def test_a_question_in_any_script_comes_back_in_the_metadata(ask: Ask, chat: str) -> None:
    question = '/say fine 👩‍👩‍👧 data: "ü"'
    said = ask(chat, question, streaming=True, chatId="c-2", overrideConfig={"sessionId": "s-2"})
    assert said.metadata["question"] == question
    assert (said.metadata["chatId"], said.metadata["sessionId"]) == ("c-2", "s-2")


@pytest.mark.parametrize("streaming", [True, False])
def test_history_and_uploads_reach_the_model(ask: Ask, server: Server, upstream: Upstream, streaming: bool) -> None:
    flow = server.create_flow(conversation(upstream.url, model={"allowImageUploads": True}))
    history = [
        {"message": "", "type": "", "role": "userMessage", "content": "I live in Oslo"},
        {"message": "", "type": "", "role": "apiMessage", "content": "Noted."},
    ]
    picture = {"data": "data:image/png;base64,iVBORw0KGgo=", "type": "file", "name": "dot.png", "mime": "image/png"}
    said = ask(flow, "/say fine", history=history, uploads=[picture], streaming=streaming)
    assert said.error is None
    sent = upstream.requests[-1].body["messages"]
    assert [m["content"] for m in sent[1:4]] == ["I live in Oslo", "Noted.", "/say fine"]
    assert sent[4]["content"] == [{"type": "image_url", "image_url": {"url": picture["data"]}}]


@pytest.mark.parametrize("streaming", [True, False])
def test_a_wrong_key_is_heard_and_the_right_one_works(
    ask: Ask, client: str, server: Server, upstream: Upstream, streaming: bool
) -> None:
    made = server.send("POST", "/api/v1/apikey", {"keyName": "k", "permissions": []}, admin=True).json
    flow = server.create_flow(conversation(upstream.url), apikeyid=made["id"])
    refused = ask(flow, "/say Hi", "wrong", streaming=streaming)
    if client == "flowise-sdk" and not streaming:  # it takes any JSON for an answer
        assert refused.chunks[0]["code"] == "unauthorized"
    else:
        assert refused.error
        assert "401" in refused.error or "this flow needs its API key" in refused.error
    assert upstream.requests == []
    assert ask(flow, "/say Hi", made["apiKey"], streaming=streaming).error is None


@pytest.mark.parametrize("streaming", [True, False])
def test_an_unknown_flow_is_heard(ask: Ask, client: str, streaming: bool) -> None:
    said = ask(UNKNOWN, "/say Hi", streaming=streaming)
    if client == "flowise-sdk":  # it asks for the flow's streaming flag first, and takes any JSON for an answer
        assert said.chunks[0]["code"] == "flow_not_found"
    else:
        assert said.error
        assert "404" in said.error or "there is no flow" in said.error


def test_a_flow_that_cannot_run_is_an_exception_and_not_silence(
    ask: Ask, client: str, server: Server, upstream: Upstream
) -> None:
    flow = server.create_flow(conversation(upstream.url, memory="zepMemory"))
    said = ask(flow, "Hi", streaming=True)
    assert said.chunks == []
    assert said.error
    assert "422" in said.error or "zepMemory" in said.error
    endless = server.create_flow({"nodes": [], "edges": []})
    said = ask(endless, "Hi", streaming=True)
    assert said.error or (client == "flowise-sdk" and said.chunks[0]["code"] == "flow_error")


def test_a_failure_inside_a_stream_is_an_event_before_the_end(ask: Ask, client: str, chat: str) -> None:
    said = ask(chat, "/count 9 | /cut 3", streaming=True)
    assert said.kinds == ["start", "token", "error", "end"]
    assert said.text == "w1 w2 w3"
    assert isinstance(said.chunks[-2]["data"], str)
    assert said.error is None


# curl

COMMAND = """curl http://localhost:3000/api/v1/{path}/{flow-id} \\
  -H "Content-Type: application/json" \\
  -d '{
    "question": "Hello world!",
    "streaming": true
  }'"""


def shell(command: str, server: Server, flow: str) -> str:
    """Runs a documented curl command against our server."""
    command = re.sub(r"https?://localhost:3000", server.url, re.sub(r"\{(chat)?flow-id\}", flow, command))
    result = subprocess.run(["bash", "-c", command], capture_output=True, encoding="utf-8", timeout=30, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def heard(stream: str) -> str:
    events = [json.loads(line[5:]) for line in stream.split("\n") if line.startswith("data:")]
    assert [event["event"] for event in events][-2:] == ["metadata", "end"]
    return "".join(event["data"] for event in events if event["event"] == "token")


@pytest.mark.parametrize("path", ["prediction", "predictions"])
def test_curl_streams_on_both_paths(server: Server, chat: str, path: str) -> None:
    assert heard(shell(COMMAND.replace("{path}", path), server, chat)) == "You said: Hello world!"
