"""What is kept of agent flows' runs: written while they go on, closed however they end, administered over HTTP."""

import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from agentflows import flow, llm, node, reply, start
from servers import Server, serving
from test_resume import frames, open_stream, read_frames
from upstream import Upstream
from waiting import eventually

AGENT = {"type": "AGENTFLOW"}


def events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(frame.split(b"data:", 1)[1]) for frame in frames(body)]


def executions(server: Server, query: str) -> list[dict[str, Any]]:
    reply = server.send("GET", f"/api/v1/executions?{query}", admin=True)
    assert reply.status == 200, reply.text
    return reply.json["data"]


def two_models(upstream: Upstream) -> dict[str, Any]:
    return flow(
        start(), llm(upstream.url, message="/say first"), llm(upstream.url, 1, message="{{ question }}"),
        arrows="start_0 llm_0, llm_0 llm_1",
    )  # fmt: skip


def until_written(server: Server, key: str, nodes: int) -> dict[str, Any]:
    """The flow's execution in progress, once it has so many nodes."""

    def written() -> dict[str, Any] | None:
        found = executions(server, f"agentflowId={key}")
        return found[0] if found and len(json.loads(found[0]["executionData"])) >= nodes else None

    return eventually(written)


def test_an_execution_is_written_while_it_goes_on_and_when_it_has_ended(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(two_models(upstream), **AGENT)
    with open_stream(server, key, "/count 60 | /pace 20", chatId="going") as response:
        found = until_written(server, key, 2)
        assert (found["state"], found["sessionId"], found["stoppedDate"]) == ("INPROGRESS", "going", None)
        metadata = events(response.read())[-2]["data"]
    (found,) = executions(server, f"agentflowId={key}")
    assert (found["id"], found["state"]) == (metadata["executionId"], "FINISHED")
    assert [entry["status"] for entry in json.loads(found["executionData"])] == ["FINISHED"] * 3
    assert found["agentflow"]["id"] == key


def test_cancel_in_mid_node_closes_the_socket_and_terminates_the_execution(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(two_models(upstream), **AGENT)
    with open_stream(server, key, "/count 500 | /pace 10", chatId="stopped") as response:
        upstream.wait_until(lambda requests: len(requests) == 2)
        read_frames(response, 9)
        run = str(response.headers["X-Run-Id"])
        assert server.send("POST", f"/api/v1/runs/{run}/cancel").json["state"] == "cancelled"
        *_, told, data, state, abort, end = events(response.read())
    assert told["data"]["nodeId"] == "llmAgentflow_1"
    assert [told["data"]["status"], data["data"][-1]["status"], state["data"]] == ["TERMINATED"] * 3
    assert [abort["event"], end["event"]] == ["abort", "end"]
    assert upstream.wait_until(lambda requests: requests[-1].closed_by_peer_at_token is not None)
    (found,) = executions(server, f"agentflowId={key}")
    assert found["state"] == "TERMINATED"
    assert [entry["status"] for entry in json.loads(found["executionData"])] == ["FINISHED"] * 2 + ["TERMINATED"]
    rows = server.send("GET", f"/api/v1/chatmessage/{key}?chatId=stopped", admin=True).json
    assert rows[1]["aborted"] is True
    assert rows[1]["executionId"] == found["id"]


def test_cancel_inside_an_iteration_terminates_both_nodes(server: Server, upstream: Upstream) -> None:
    inner = llm(upstream.url, message="/count 500 | /pace 10", inside="iterationAgentflow_0")
    drawn = flow(start(), node("iteration", iterationInput="[1, 2]"), inner, arrows="start_0 iteration_0")
    key = server.create_flow(drawn, **AGENT)
    with open_stream(server, key, "Hi") as response:
        upstream.wait_until(lambda requests: len(requests) == 1)
        run = str(response.headers["X-Run-Id"])
        server.send("POST", f"/api/v1/runs/{run}/cancel")
        told = [event["data"] for event in events(response.read()) if event["event"] == "nextAgentFlow"]
    ended = [(one["nodeId"], one["status"]) for one in told if one["status"] == "TERMINATED"]
    assert ended == [("llmAgentflow_0", "TERMINATED"), ("iterationAgentflow_0", "TERMINATED")]
    assert executions(server, f"agentflowId={key}")[0]["state"] == "TERMINATED"


def test_a_failed_run_leaves_an_execution_with_the_reason(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(two_models(upstream), **AGENT)
    server.ask(key, "/status 400", chatId="bad")
    (found,) = executions(server, f"agentflowId={key}&state=ERROR&sessionId=bad")
    assert json.loads(found["executionData"])[-1]["data"]["error"]
    assert found["stoppedDate"]


def written(server: Server) -> int:
    """Bytes that the server has written."""
    lines = Path(f"/proc/{server.process.pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="what is written is read from /proc")
def test_a_long_flow_writes_each_node_once(tmp_path: Path) -> None:
    """Four times as many nodes are four times as much; each node anew with every other one would be sixteen times.

    Of a run that survives a crash all is written when its reader has had the end.
    """
    with serving(tmp_path / "data") as server:
        sizes: list[int] = []
        for nodes in (240, 960):
            drawn = flow(
                start(), reply("x" * 2000), reply("done", 1),
                node("loop", loopBackToNode="directReplyAgentflow_0-r", maxLoopCount=nodes // 2),
                arrows="start_0 directReply_0, directReply_0 loop_0, loop_0 directReply_1",
            )  # fmt: skip
            key = server.create_flow(drawn, **AGENT, apiConfig=json.dumps({"onCrash": "continue"}))
            before = written(server)
            assert server.ask(key, "Hi").json["text"].endswith("done")
            sizes.append(written(server) - before)
            (row,) = executions(server, f"agentflowId={key}")
            assert len(json.loads(row["executionData"])) == nodes + 2
        assert sizes[1] < 8 * sizes[0], sizes


def test_a_killed_server_leaves_an_execution_that_is_closed_and_can_be_read(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data") as server:
        key = server.create_flow(two_models(upstream), **AGENT)
        with open_stream(server, key, "/count 500 | /pace 20") as response:
            run = str(response.headers["X-Run-Id"])
            before = until_written(server, key, 2)
            server.stop(signal.SIGKILL)
    with serving(tmp_path / "data") as server:
        log = server.send("GET", f"/api/v1/runs/{run}/events")  # ends when the run has been closed
        assert [event["event"] for event in log.events[-2:]] == ["error", "end"]
        (after,) = executions(server, f"agentflowId={key}")
        assert (after["id"], after["state"]) == (before["id"], "ERROR")
        assert after["stoppedDate"]
        assert [e["nodeId"] for e in json.loads(after["executionData"])] == ["startAgentflow_0", "llmAgentflow_0"]
        upstream.requests.clear()
        done = server.send("POST", f"/api/v1/executions/{after['id']}/continue", {"streaming": True}, admin=True)
        assert done.events[-2]["data"]["executionId"] == after["id"], done.text
        assert [event["data"]["nodeId"] for event in done.events if event["event"] == "nextAgentFlow"] == [
            "llmAgentflow_1"
        ] * 2
        assert len(upstream.requests) == 1
        again = server.send("POST", f"/api/v1/executions/{after['id']}/continue", {}, admin=True)
        assert again.status == 409
        (row,) = executions(server, f"agentflowId={key}")
        assert [e["status"] for e in json.loads(row["executionData"])] == ["FINISHED"] * 3
        assert server.ask(key, "/say still there").json["text"] == "still there"
    with sqlite3.connect(tmp_path / "data" / "headrace.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_an_execution_that_failed_goes_on_with_the_node_that_failed(server: Server, upstream: Upstream) -> None:
    key = server.create_flow(two_models(upstream), **AGENT)
    upstream.requests.clear()
    server.ask(key, "/fail 1 400 | /say second", chatId="again")
    (found,) = executions(server, f"agentflowId={key}&state=ERROR")
    done = server.send("POST", f"/api/v1/executions/{found['id']}/continue", {}, admin=True)
    assert (done.status, done.json["text"], done.json["chatId"]) == (200, "second", "again"), done.text
    assert len(upstream.requests) == 3
    (row,) = executions(server, f"agentflowId={key}")
    assert (row["id"], row["state"]) == (found["id"], "FINISHED")
    assert [e["status"] for e in json.loads(row["executionData"])] == ["FINISHED"] * 3


def test_a_server_that_stops_closes_its_executions(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data", HEADRACE_SHUTDOWN_GRACE="0.1") as server:
        key = server.create_flow(two_models(upstream), **AGENT)
        with open_stream(server, key, "/count 500 | /pace 20") as response:
            until_written(server, key, 2)
            assert server.stop() == 0
            told = events(response.read())
    assert [event["event"] for event in told[-3:]] == ["agentFlowEvent", "error", "end"]
    assert told[-2]["code"] == "interrupted"
    with sqlite3.connect(tmp_path / "data" / "headrace.sqlite") as database:
        assert database.execute("SELECT state FROM execution").fetchall() == [("TERMINATED",)]


@pytest.fixture
def asked(server: Server) -> str:
    """A flow that has been asked three times."""
    key = server.create_flow(flow(start(), reply("x"), arrows="start_0 directReply_0"), **AGENT, name="Asked thrice")
    for chat in ("one", "two", "three"):
        server.ask(key, "Hi", chatId=chat)
    return key


def test_executions_are_listed_by_page_newest_first(server: Server, asked: str) -> None:
    page = server.send("GET", f"/api/v1/executions?agentflowId={asked}&limit=2", admin=True).json
    assert (page["total"], [row["sessionId"] for row in page["data"]]) == (3, ["three", "two"])
    assert [row["sessionId"] for row in executions(server, f"agentflowId={asked}&limit=2&page=2")] == ["one"]
    assert len(executions(server, f"agentflowId={asked}&agentflowName=Asked%20thrice&startDate=2020-01-01")) == 3
    assert executions(server, f"agentflowId={asked}&endDate=2020-01-01") == []
    assert executions(server, f"agentflowId={asked}&state=STOPPED") == []


def test_an_execution_is_read_marked_and_deleted(server: Server, asked: str) -> None:
    keys = [row["id"] for row in executions(server, f"agentflowId={asked}")]
    path = f"/api/v1/executions/{keys[0]}"
    row = server.send("GET", path, admin=True).json
    known = (
        "id agentflowId sessionId state executionData action isPublic createdDate updatedDate stoppedDate workspaceId"
    )
    assert set(row) == set(known.split())
    assert server.send("PUT", path, {"isPublic": True}, admin=True).json["isPublic"] is True
    assert server.send("DELETE", path, admin=True).json == {"success": True, "deletedCount": 1}
    assert server.send("GET", path, admin=True).status == 404
    assert server.send("PUT", path, {"isPublic": True}, admin=True).status == 404
    gone = server.send("DELETE", "/api/v1/executions", {"executionIds": keys}, admin=True).json
    assert gone == {"success": True, "deletedCount": 2}


def test_executions_need_their_permissions(server: Server, asked: str) -> None:
    one = executions(server, f"agentflowId={asked}")[0]["id"]
    calls: list[tuple[str, str, Any, str]] = [
        ("GET", "/api/v1/executions", None, "executions:view"),
        ("GET", f"/api/v1/executions/{one}", None, "executions:view"),
        ("PUT", f"/api/v1/executions/{one}", {"isPublic": False}, "executions:update"),
        ("DELETE", f"/api/v1/executions/{one}", None, "executions:delete"),
        ("DELETE", "/api/v1/executions", {"executionIds": []}, "executions:delete"),
    ]
    for method, path, body, permission in calls:
        assert server.send(method, path, body).status == 401
        for given, status in (([permission], 200), (["chatflows:view"], 403)):
            made = server.send("POST", "/api/v1/apikey", {"keyName": "k", "permissions": given}, admin=True).json
            header = {"Authorization": f"Bearer {made['apiKey']}"}
            assert server.send(method, path, body, header).status == status, (method, path, given)


def test_a_deleted_flow_takes_its_executions_with_it(server: Server, asked: str) -> None:
    assert server.send("DELETE", f"/api/v1/chatflows/{asked}", admin=True).status == 200
    assert executions(server, f"agentflowId={asked}") == []
