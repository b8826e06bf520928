"""However a run ends, its stream ends once."""

import signal
import socket
import threading
from pathlib import Path

import pytest
from refusals import refused
from servers import Server, conversation, serving
from upstream import Upstream

FAILURES = {
    "401 from the provider": ("/status 401", "provider_unauthorized"),
    "403 from the provider": ("/status 403", "provider_unauthorized"),
    "404 from the provider": ("/status 404", "provider_not_found"),
    "400 from the provider": ("/status 400", "provider_refused"),
    "429 that asks for a long wait": ("/status 429 600", "provider_rate_limited"),
    "500 from the provider, every time": ("/status 500 0", "provider_unavailable"),
    "no answer from the provider": ("/status 0", "provider_unavailable"),
    "malformed chunk": ("/count 5 | /garbage 3", "provider_malformed"),
    "error inside the stream": ("/count 5 | /errorchunk 2", None),
    "reset after three tokens": ("/count 9 | /cut 3", "provider_cut"),
    "body that ends without a finish": ("/count 9 | /end 3", "provider_cut"),
    "stall past the timeout": ("/count 9 | /stall 2", "provider_timeout"),
}


LATE = {name: case for name, case in FAILURES.items() if case[0].startswith("/count")}


@pytest.mark.parametrize(("question", "code"), LATE.values(), ids=LATE.keys())
def test_a_failed_stream_has_one_error_then_one_end(
    server: Server, upstream: Upstream, question: str, code: str | None
) -> None:
    flow = server.create_flow(conversation(upstream.url, model={"timeout": 4000}))
    reply = server.ask(flow, question, streaming=True)
    assert reply.status == 200
    assert reply.kinds[-2:] == ["error", "end"]
    assert reply.kinds.count("end") == reply.kinds.count("error") == 1
    error = reply.events[-2]
    assert isinstance(error["data"], str)
    assert error["data"]
    assert code is None or error["code"] == code
    assert server.send("GET", f"/api/v1/chatmessage/{flow}", admin=True).json == []


@pytest.mark.parametrize(("question", "code"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failed_json_prediction_has_a_real_status_and_the_same_code(
    server: Server, upstream: Upstream, question: str, code: str | None
) -> None:
    flow = server.create_flow(conversation(upstream.url, model={"timeout": 4000}))
    reply = server.ask(flow, question)
    assert reply.status in (502, 503, 504)
    assert set(reply.json) == {"statusCode", "success", "message", "code", "stack"}
    assert reply.json["statusCode"] == reply.status
    assert code is None or reply.json["code"] == code


def test_a_call_is_retried_only_while_nothing_of_its_answer_has_come(
    server: Server, chat: str, upstream: Upstream
) -> None:
    assert server.ask(chat, "/say fine | /fail 2 503").json["text"] == "fine"
    assert len(upstream.requests) == 3
    upstream.reset()
    assert server.ask(chat, "/count 9 | /cut 3", streaming=True).kinds[-2:] == ["error", "end"]
    assert len(upstream.requests) == 1


def test_retry_after_is_honoured(server: Server, chat: str, upstream: Upstream) -> None:
    reply = server.ask(chat, "/say fine | /fail 1 429")
    assert reply.json["text"] == "fine"
    first, second = upstream.requests
    assert second.at > first.at


def test_the_providers_message_reaches_the_reader_and_the_key_does_not(server: Server, upstream: Upstream) -> None:
    credential = server.send(
        "POST",
        "/api/v1/credentials",
        {"name": "c", "credentialName": "openAIApi", "plainDataObj": {"openAIApiKey": "sk-very-secret"}},
        admin=True,
    ).json["id"]
    flow = conversation(upstream.url)
    flow["nodes"][0]["data"]["credential"] = credential
    reply = server.ask(server.create_flow(flow), "/status 401")
    assert upstream.requests[0].headers["authorization"] == "Bearer sk-very-secret"
    assert "401" in reply.json["message"]
    assert "sk-very-secret" not in reply.text


EARLY = {
    "a refused key": ("/status 401", 502, "provider_unauthorized"),
    "a model that there is not": ("/status 404", 502, "provider_not_found"),
    "a refused request": ("/status 400", 502, "provider_refused"),
    "a long wait": ("/status 429 60", 503, "provider_rate_limited"),
}
WIDGET = {"Origin": "https://site.example", "Accept": "text/event-stream"}
"""What pages with the published chat widgets send."""


@pytest.mark.parametrize(("question", "status", "code"), EARLY.values(), ids=EARLY.keys())
def test_a_failure_before_the_first_event_has_one_status_streamed_or_not(
    server: Server, chat: str, question: str, status: int, code: str
) -> None:
    whole, streamed = server.ask(chat, question), server.ask(chat, question, streaming=True)
    assert refused(whole, status, code) == refused(streamed, status, code)
    assert whole.headers["Retry-After"] == streamed.headers["Retry-After"]
    body = {"question": question, "streaming": True}
    shown = server.send("POST", f"/api/v1/prediction/{chat}", body, WIDGET)
    assert (shown.status, shown.kinds) == (200, ["error", "end"])
    assert (shown.events[0]["code"], shown.events[0]["data"]) == (code, whole.json["message"])


def test_a_key_that_failed_before_is_refused_again(server: Server, chat: str) -> None:
    for _ in range(2):
        body, key = {"question": "/status 401", "streaming": True}, {"Idempotency-Key": "early"}
        assert refused(server.send("POST", f"/api/v1/prediction/{chat}", body, key), 502, "provider_unauthorized")


def test_a_failure_that_is_long_in_coming_is_an_event(server: Server, chat: str) -> None:
    reply = server.ask(chat, "/status 401 | /wait 1500", streaming=True)
    assert (reply.status, reply.kinds) == (200, ["error", "end"])
    assert reply.text.startswith(f"id:{reply.headers['X-Run-Id']}:0\n")


def test_an_unreachable_provider_is_named(server: Server) -> None:
    flow = server.create_flow(conversation("http://127.0.0.1:9/v1", model={"timeout": 3000}))
    assert "127.0.0.1:9" in refused(server.ask(flow, "hello"), 503, "provider_unavailable")


def test_a_run_continues_after_its_client_disconnects(server: Server, chat: str, upstream: Upstream) -> None:
    body = b'{"question": "/count 40 | /pace 10", "streaming": true, "chatId": "left"}'
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        head = f"POST /api/v1/prediction/{chat} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        received = b""
        while b'"token"' not in received:
            received += client.recv(65536)
    upstream.wait_until(lambda requests: bool(requests) and requests[-1].finished)
    history = server.ask(chat, "/say and then?", chatId="left")
    assert history.status == 200
    said = [m["content"] for m in upstream.requests[-1].body["messages"]]
    assert " ".join(f"w{n}" for n in range(1, 41)) in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_stops_ends_its_streams_and_exits_cleanly(
    tmp_path: Path, upstream: Upstream, number: int
) -> None:
    with serving(tmp_path / "data", HEADRACE_SHUTDOWN_GRACE="0.2") as server:
        flow = server.create_flow(conversation(upstream.url))
        replies: list[list[str]] = []
        errors: list[dict[str, str]] = []

        def ask() -> None:
            reply = server.ask(flow, "/count 500 | /pace 50", streaming=True)
            replies.append(reply.kinds)
            errors.append(reply.events[-2])

        readers = [threading.Thread(target=ask) for _ in range(3)]
        for reader in readers:
            reader.start()
        upstream.wait_until(lambda requests: len(requests) == 3)
        assert server.stop(number) == 0
        for reader in readers:
            reader.join(10)
    assert [kinds[-2:] for kinds in replies] == [["error", "end"]] * 3
    assert {error["code"] for error in errors} == {"interrupted"}
    upstream.wait_until(lambda requests: all(r.closed_by_peer_at_token is not None for r in requests))


def test_a_server_that_stops_lets_short_runs_finish(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data") as server:
        flow = server.create_flow(conversation(upstream.url))
        kinds: list[str] = []
        reader = threading.Thread(
            target=lambda: kinds.extend(server.ask(flow, "/count 20 | /pace 20", streaming=True).kinds)
        )
        reader.start()
        upstream.wait_until(lambda requests: len(requests) == 1)
        assert server.stop() == 0
        reader.join(10)
    assert kinds == ["start", "token", "metadata", "end"]
