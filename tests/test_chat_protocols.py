"""Clients of other protocols of chats, asking flows: the AI SDK and AG-UI, whole, cut, resumed and stopped."""

import json
import re
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from agentflows import flow as agent_flow
from agentflows import llm, node, reply, start
from conftest import installed
from servers import Reply, Server
from upstream import Upstream

from headrace.gen import EXAMPLE, ROOT

Job = Callable[..., Any]
FRAME = re.compile(rb"id: ([0-9a-f]{32}:\d+\.\d+)\ndata: ([^\n]*)\n\n")


@pytest.fixture(scope="module")
def packages(pytestconfig: pytest.Config) -> Path:
    return installed(pytestconfig, "ai@6", "@ag-ui/client@1")


@pytest.fixture(scope="module")
def node_client(packages: Path) -> Generator[Job]:
    """Does a job in the clients' own process."""
    script = Path(__file__).parent / "node" / "chat_protocols.mjs"
    command = ["node", str(script), str(packages)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def done(action: str, *, opened: Callable[[], object] = bool, **job: Any) -> Any:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps({"action": action, **job}) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            if "opened" in answer:
                opened()
                answer = json.loads(process.stdout.readline())
            return answer.get("result") if "error" not in answer else answer

        yield done
        process.terminate()


@pytest.fixture
def thinking(server: Server, upstream: Upstream) -> str:
    """The id of an agent flow, which shows its model's reasoning."""
    model = llm(upstream.url, llmModel="chatDeepseek", llmModelConfig={"basepath": upstream.url})
    return server.create_flow(agent_flow(start(), model, arrows="start_0 llm_0"), type="AGENTFLOW")


@pytest.fixture
def asking(server: Server, upstream: Upstream) -> str:
    """The id of an agent flow that asks a person before it answers."""
    human = node("humanInput", humanInputDescription="Publish it?", humanInputEnableFeedback=True)
    drawn = agent_flow(
        start(), llm(upstream.url), human, reply("Published."), reply("Dropped.", 1),
        arrows="start_0 llm_0, llm_0 humanInput_0, humanInput_0:0 directReply_0, humanInput_0:1 directReply_1",
    )  # fmt: skip
    return server.create_flow(drawn, type="AGENTFLOW")


def ai_sdk(server: Server, flow: str) -> str:
    return f"{server.url}/api/v1/ai-sdk/{flow}"


def frames(reply: Reply) -> list[bytes]:
    """The frames of a stream; signs of life are not among them."""
    return [match[0] for match in FRAME.finditer(reply.body)]


def kinds(reply: Reply) -> list[str]:
    """The types of a stream's parts."""
    return [json.loads(match[2])["type"] for match in FRAME.finditer(reply.body) if match[2] != b"[DONE]"]


def ui_body(chat: str, text: str, **more: Any) -> dict[str, Any]:
    return {"id": chat, "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": text}]}], **more}


def agent_body(thread: str, run: str, text: str, **more: Any) -> dict[str, Any]:
    return {"threadId": thread, "runId": run, "messages": [{"id": "m", "role": "user", "content": text}], **more}


def test_the_ai_sdk_reads_text_reasoning_and_ids(server: Server, thinking: str, node_client: Job) -> None:
    message = node_client("ai-sdk", api=ai_sdk(server, thinking), chatId="a", text="/think Hm hm | /say One two")
    spoken = [(part["type"], part["text"]) for part in message["parts"] if "text" in part]
    assert spoken == [("reasoning", "Hm hm"), ("text", "One two")]
    stored = server.send("GET", f"/api/v1/chatmessage/{thinking}?chatId=a", admin=True).json
    assert stored[-1]["content"] == "One two"
    assert message["id"] == message["metadata"]["chatMessageId"] == stored[-1]["id"]


def test_the_ai_sdk_reads_tools_and_errors(server: Server, upstream: Upstream, node_client: Job) -> None:
    tools = [{"agentSelectedTool": "calculator", "agentSelectedToolConfig": {}}]
    config = {"modelName": "gpt-4o-mini", "basepath": upstream.url, "streaming": True}
    agent = node("agent", agentModel="chatOpenAI", agentModelConfig=config, agentTools=tools, agentEnableMemory=True)
    flow = server.create_flow(agent_flow(start(), agent, arrows="start_0 agent_0"), type="AGENTFLOW")
    question = '/tool calculator {"input": "6*7"} | /say It is 42'
    message = node_client("ai-sdk", api=ai_sdk(server, flow), chatId="b", text=question)
    tool = next(part for part in message["parts"] if part["type"] == "dynamic-tool")
    assert (tool["toolName"], tool["state"], tool["output"]) == ("calculator", "output-available", "42")
    failed = node_client("ai-sdk", api=ai_sdk(server, flow), chatId="c", text="/say One two | /cut 1")
    assert "connection" in failed["error"]


def test_the_ai_sdk_comes_back_to_an_answer_and_stops_it(
    server: Server, chat: str, upstream: Upstream, node_client: Job
) -> None:
    api = ai_sdk(server, chat)
    assert node_client("ai-sdk", api=api, chatId="d", resume=True) is None
    asked = {"question": "/count 3 | /hold 2", "chatId": "d", "background": True}
    assert server.send("POST", f"/api/v1/prediction/{chat}", asked).status == 202
    message = node_client("ai-sdk", api=api, chatId="d", resume=True, opened=upstream.go_on)
    assert message["parts"][-1]["text"] == "w1 w2 w3"
    asked = {"question": "/count 5000 | /pace 5", "chatId": "d", "background": True}
    assert server.send("POST", f"/api/v1/prediction/{chat}", asked).status == 202
    upstream.wait_until(lambda seen: len(seen) == 2)
    assert server.send("POST", f"/api/v1/ai-sdk/{chat}/d/stop").status == 204
    upstream.wait_until(lambda seen: seen[-1].closed_by_peer_at_token is not None)


def test_ag_ui_reads_text_reasoning_and_the_outcome(server: Server, thinking: str, node_client: Job) -> None:
    url = f"{server.url}/api/v1/ag-ui/{thinking}"
    done = node_client("ag-ui", url=url, threadId="e", runId="r1", text="/think Hm hm | /say One two")
    assert [(message["role"], message["content"]) for message in done["newMessages"]] == [
        ("reasoning", "Hm hm"),
        ("assistant", "One two"),
    ]
    first, last = done["events"][0], done["events"][-1]
    assert (first["type"], first["threadId"], first["runId"]) == ("RUN_STARTED", "e", "r1")
    assert (last["type"], last["outcome"]) == ("RUN_FINISHED", {"type": "success"})
    assert last["usage"][0]["outputTokens"] > 0


def test_ag_ui_asks_a_person_and_goes_on(server: Server, asking: str, node_client: Job) -> None:
    url = f"{server.url}/api/v1/ag-ui/{asking}"
    stopped = node_client("ag-ui", url=url, threadId="f", runId="r1", text="/say A draft.")
    outcome = stopped["events"][-1]["outcome"]
    assert outcome["type"] == "interrupt"
    resume = [{"interruptId": outcome["interrupts"][0]["id"], "status": "resolved"}]
    done = node_client("ag-ui", url=url, threadId="f", runId="r2", text="", resume=resume)
    assert done["newMessages"][-1]["content"] == "Published."


def test_ag_ui_says_that_a_run_failed(server: Server, chat: str, node_client: Job) -> None:
    url = f"{server.url}/api/v1/ag-ui/{chat}"
    failed = node_client("ag-ui", url=url, threadId="g", runId="r1", text="/say One two | /cut 1")
    assert "connection" in json.dumps(failed)


def test_a_run_of_ag_ui_that_is_sent_again_is_paid_once(server: Server, chat: str, upstream: Upstream) -> None:
    bodies = [server.send("POST", f"/api/v1/ag-ui/{chat}", agent_body("h", "r1", "/say Once")).body for _ in range(2)]
    assert bodies[0] == bodies[1]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("path", ["ai-sdk", "ag-ui"])
def test_a_stream_goes_on_after_any_frame_byte_for_byte(server: Server, thinking: str, path: str) -> None:
    question = "/think Hm | /count 12 | /pace 2"
    body = ui_body("i", question) if path == "ai-sdk" else agent_body("i", "r1", question)
    whole = server.send("POST", f"/api/v1/{path}/{thinking}", body)
    expected = frames(whole)
    assert b"".join(expected) == whole.body
    for cut, had in enumerate(expected):
        last = FRAME.fullmatch(had)
        assert last
        rest = server.send("POST", f"/api/v1/{path}/{thinking}", body, {"Last-Event-ID": last[1].decode()})
        assert frames(rest) == expected[cut + 1 :]


def test_a_cancelled_run_is_told_in_each_protocol(server: Server, thinking: str) -> None:
    asked = {"question": "/think Hm | /count 5000 | /pace 5", "chatId": "j", "background": True}
    run = server.send("POST", f"/api/v1/prediction/{thinking}", asked).json["id"]
    server.send("POST", f"/api/v1/runs/{run}/cancel")
    back = {"Last-Event-ID": f"{run}:0.0"}
    assert kinds(server.send("POST", f"/api/v1/ai-sdk/{thinking}", ui_body("j", "x"), back))[-1] == "abort"
    ending = server.send("POST", f"/api/v1/ag-ui/{thinking}", agent_body("j", "r", "x"), back).body
    assert b'"outcome":{"type":"cancelled"}' in ending


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("ai-sdk", {"messages": []}, "$.id"),
        ("ai-sdk", {"id": "c", "messages": []}, "$.messages"),
        ("ai-sdk", {"id": "c", "messages": [{"role": "user", "content": "Hi"}]}, "$.messages[0]"),
        ("ai-sdk", ui_body("c", "Hi", humanInput=3), "$.humanInput"),
        ("ag-ui", {"runId": "r", "messages": []}, "$.threadId"),
        ("ag-ui", {"threadId": "t", "runId": "r", "messages": []}, "$.messages"),
        ("ag-ui", agent_body("t", "r", "Hi", resume=[{}]), "$.resume"),
    ],
)
def test_bodies_of_another_shape_are_refused(
    server: Server, chat: str, path: str, body: dict[str, Any], named: str
) -> None:
    refused = server.send("POST", f"/api/v1/{path}/{chat}", body)
    assert refused.status == 400
    assert named in refused.json["message"]


@pytest.mark.parametrize("page", ["ai-sdk.md", "ag-ui.md"])
def test_the_example_of_the_docs_answers(server: Server, packages: Path, tmp_path: Path, page: str) -> None:
    flow = server.create_flow(json.loads((ROOT / EXAMPLE).read_text())["flowData"])
    code = re.findall(r"(?ms)^```js\n(.*?)^```$", (ROOT / "docs" / page).read_text())[0]
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    program = tmp_path / "example.mjs"
    program.write_text(code.replace("<flow-id>", flow).replace("http://localhost:3000", server.url))
    done = subprocess.run(["node", str(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 20
