"""Stop stops; a retry never pays twice; a session does what its flow says; a run that nobody reads may end."""

import http.client
import json
import statistics
import threading
from pathlib import Path

from servers import Server, conversation, serving
from test_resume import frames, open_stream, read_frames
from upstream import Upstream
from waiting import eventually


def kinds(body: bytes) -> list[str]:
    return [json.loads(frame.split(b"data:", 1)[1])["event"] for frame in frames(body)]


def test_cancel_closes_the_providers_socket_and_keeps_what_was_said(
    server: Server, chat: str, upstream: Upstream
) -> None:
    with open_stream(server, chat, "/count 500 | /pace 10", chatId="stopped") as response:
        read_frames(response, 4)
        run = str(response.headers["X-Run-Id"])
        assert server.send("POST", f"/api/v1/runs/{run}/cancel").json["state"] == "cancelled"
        rest = response.read()
    assert kinds(rest)[-2:] == ["abort", "end"]
    assert upstream.wait_until(lambda r: r[-1].closed_by_peer_at_token is not None)
    info = server.send("GET", f"/api/v1/runs/{run}").json
    assert info["state"] == "cancelled"
    assert info["usage"]["estimated"] is True
    assert info["usage"]["output_tokens"] >= 3
    stored = server.send("GET", f"/api/v1/chatmessage/{chat}?chatId=stopped", admin=True).json
    assert [row["role"] for row in stored] == ["userMessage", "apiMessage"]
    assert stored[1]["content"].startswith("w1 w2 w3")
    assert stored[1]["aborted"] is True
    again = server.send("POST", f"/api/v1/runs/{run}/cancel")
    assert (again.status, again.json["state"]) == (200, "cancelled")


def test_the_model_hears_of_a_cancel_within_a_tenth_of_a_second(server: Server, chat: str, upstream: Upstream) -> None:
    for _ in range(30):
        with open_stream(server, chat, "/count 500 | /pace 10") as response:
            read_frames(response, 2)
            run = str(response.headers["X-Run-Id"])
            assert server.send("POST", f"/api/v1/runs/{run}/cancel").status == 200
            response.read()
    seen = upstream.wait_until(lambda r: len(r) == 30 and all(x.closed_after_ms is not None for x in r))
    tokens = [r.closed_by_peer_at_token or 0 for r in seen]
    # Counted in tokens of 10 ms, not by a clock: three were read before the cancel.
    assert statistics.median(tokens) <= 3 + 10


def test_flowises_own_abort_works_for_chatflows(server: Server, chat: str, upstream: Upstream) -> None:
    with open_stream(server, chat, "/count 500 | /pace 10", chatId="by-chat") as response:
        read_frames(response, 2)
        reply = server.send("PUT", f"/api/v1/chatmessage/abort/{chat}/by-chat")
        assert (reply.status, reply.json) == (200, {"status": 200, "message": "Chat message aborted"})
        assert kinds(response.read())[-2:] == ["abort", "end"]
    assert server.send("PUT", f"/api/v1/chatmessage/abort/{chat}/nobody").status == 200


def test_twenty_posts_with_one_key_are_one_run(server: Server, chat: str, upstream: Upstream) -> None:
    replies: list[tuple[str, list[bytes]]] = []
    body = {"question": "/count 30 | /pace 5", "streaming": True}

    def post() -> None:
        reply = server.send("POST", f"/api/v1/prediction/{chat}", body, {"Idempotency-Key": "twenty"})
        replies.append((reply.headers["X-Run-Id"], frames(reply.body)))

    threads = [threading.Thread(target=post) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(upstream.requests) == 1
    assert len({run for run, _ in replies}) == 1
    assert all(got == replies[0][1] for _, got in replies)
    path, key = f"/api/v1/prediction/{chat}", {"Idempotency-Key": "twenty"}
    late = server.send("POST", path, {**body, "streaming": False}, key)
    assert late.json["text"] == " ".join(f"w{n}" for n in range(1, 31))
    other = server.send("POST", path, {"question": "other"}, key)
    assert (other.status, other.json["code"]) == (409, "idempotency_conflict")
    assert len(upstream.requests) == 1


def test_a_prediction_in_the_background_answers_with_its_links(server: Server, chat: str) -> None:
    by_body = server.ask(chat, "/say later", background=True)
    body = {"question": "/say later"}
    by_header = server.send("POST", f"/api/v1/prediction/{chat}", body, {"Prefer": "respond-async"})
    for reply in (by_body, by_header):
        assert reply.status == 202
        links = reply.json["links"]
        assert reply.headers["Location"] == links["self"]
        assert kinds(server.send("GET", links["events"]).body)[-2:] == ["metadata", "end"]
        assert server.send("GET", links["self"]).json["state"] == "finished"


def leave(server: Server, flow: str, question: str, **fields: object) -> str:
    """Reads the beginning of a stream, then closes the connection."""
    with open_stream(server, flow, question, **fields) as response:
        read_frames(response, 2)
        return str(response.headers["X-Run-Id"])


def test_a_run_that_wants_a_reader_stops_without_one(server: Server, chat: str, upstream: Upstream) -> None:
    run = leave(server, chat, "/count 500 | /pace 10", onDisconnect="cancel")
    assert upstream.wait_until(lambda r: r[-1].closed_by_peer_at_token is not None)
    assert kinds(server.send("GET", f"/api/v1/runs/{run}/events").body)[-2:] == ["abort", "end"]


def test_a_flow_may_say_what_becomes_of_runs_without_readers(server: Server, upstream: Upstream) -> None:
    flow = server.create_flow(conversation(upstream.url), apiConfig=json.dumps({"onDisconnect": "cancel"}))
    leave(server, flow, "/count 500 | /pace 10")
    assert upstream.wait_until(lambda r: r[-1].closed_by_peer_at_token is not None)
    leave(server, flow, "/count 30 | /pace 10", onDisconnect="continue")
    assert upstream.wait_until(lambda r: len(r) == 2 and r[-1].finished)


def test_a_reader_that_comes_back_in_time_keeps_the_run_going(server: Server, chat: str, upstream: Upstream) -> None:
    run = leave(server, chat, "/count 60 | /pace 20", onDisconnect={"continueFor": 10})
    rest = server.send("GET", f"/api/v1/runs/{run}/events?after=2")
    assert kinds(rest.body)[-2:] == ["metadata", "end"]
    leave(server, chat, "/count 500 | /pace 20", onDisconnect={"continueFor": 0.2})
    assert upstream.wait_until(lambda r: r[-1].closed_by_peer_at_token is not None)


def test_a_session_takes_one_run_at_a_time_if_its_flow_says_so(server: Server, upstream: Upstream) -> None:
    flows = {
        policy: server.create_flow(conversation(upstream.url), apiConfig=json.dumps({"sameSession": policy}))
        for policy in ("queue", "reject", "interrupt")
    }
    for policy, flow in flows.items():
        upstream.reset()
        with open_stream(server, flow, "/count 60 | /pace 10", chatId="one") as first:
            read_frames(first, 2)
            second = server.ask(flow, "/say second", streaming=True, chatId="one")
            ending = kinds(first.read())[-2:]
        if policy == "reject":
            assert (second.status, second.json["code"]) == (409, "session_busy")
            assert server.ask(flow, "/say other", chatId="two").status == 200
        else:
            assert second.kinds == ["start", "token", "metadata", "end"]
            said = [m["content"] for m in upstream.requests[-1].body["messages"]]
            assert said[1] == "/count 60 | /pace 10"
            assert said[2].endswith("w60") is (policy == "queue")
        assert ending == (["abort", "end"] if policy == "interrupt" else ["metadata", "end"])


def test_a_reader_that_does_not_read_is_cut_and_may_resume(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data", HEADRACE_SLOW_READER_TIMEOUT="0.5") as server:
        flow = server.create_flow(conversation(upstream.url))
        text = " ".join(["x" * 100_000] * 200)  # more than the kernel's buffers hold
        with open_stream(server, flow, f"/say {text} | /pace 5") as response:
            run = str(response.headers["X-Run-Id"])
            eventually(lambda: server.send("GET", f"/api/v1/runs/{run}").json["state"] == "finished")
            assert server.ask(flow, "/count 200 | /pace 10", streaming=True).kinds[-1] == "end"
            cut = b""
            try:
                while data := response.read1(1 << 20):
                    cut += data
            except (OSError, http.client.IncompleteRead):
                pass
            assert b'"event":"end"' not in cut
        whole = server.send("GET", f"/api/v1/runs/{run}/events")
        assert kinds(whole.body)[-2:] == ["metadata", "end"]
        assert len(whole.body) > len(text)


def test_a_key_whose_run_failed_for_the_moment_begins_anew(server: Server, chat: str, upstream: Upstream) -> None:
    body, key = {"question": "/say fine | /fail 4 503"}, {"Idempotency-Key": "again"}
    failed = server.send("POST", f"/api/v1/prediction/{chat}", body, key)
    assert (failed.status, failed.json["code"]) == (503, "provider_unavailable")
    assert server.send("POST", f"/api/v1/prediction/{chat}", body, key).json["text"] == "fine"
    assert server.send("POST", f"/api/v1/prediction/{chat}", body, key).json["text"] == "fine"
    assert len(upstream.requests) == 5


def test_a_json_caller_that_leaves_counts_as_a_reader(server: Server, chat: str, upstream: Upstream) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    body = json.dumps({"question": "/count 500 | /pace 10", "onDisconnect": "cancel"})
    connection.request("POST", f"/api/v1/prediction/{chat}", body, {"Content-Type": "application/json"})
    upstream.wait_until(lambda r: len(r) == 1)
    connection.close()
    assert upstream.wait_until(lambda r: r[-1].closed_by_peer_at_token is not None)
