"""Models whose servers misbehave below HTTP's surface: raw bytes over a real socket."""

import asyncio
import contextlib
import http.client
import json
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from refusals import refused
from servers import Server, conversation, serving
from upstream import Upstream

CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}\n\n'
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
DONE = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@contextlib.contextmanager
def answering(answer: bytes) -> Generator[str]:
    """An endpoint that sends these bytes to every request, then keeps the connection open."""

    stopped = threading.Event()
    ready: list[int] = []
    listening = threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        ready.append(server.sockets[0].getsockname()[1])
        listening.set()
        await asyncio.to_thread(stopped.wait)
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert listening.wait(10)
    try:
        yield f"http://127.0.0.1:{ready[0]}/v1"
    finally:
        stopped.set()
        thread.join(10)


def test_a_reason_that_is_no_text_ends_one_run_and_no_other(server: Server, chat: str) -> None:
    with answering(b"HTTP/1.1 400 Caf\xe9\r\nContent-Length: 0\r\n\r\n") as base:
        reply = server.ask(server.create_flow(conversation(base)), "hello", streaming=True)
    refused(reply, 502, "provider_refused")
    assert server.ask(chat, "/say still there").json["text"] == "still there"


def test_a_chunk_that_is_not_utf8_loses_a_character_and_not_the_answer(server: Server) -> None:
    with answering(STREAM + CHUNK.replace(b"hello", b"caf\xe9 and so on") + DONE) as base:
        flow = server.create_flow(conversation(base))
        assert server.ask(flow, "hello").json["text"] == "caf\ufffd and so on"
        reply = server.ask(flow, "hello", streaming=True)
    assert "".join(one["data"] for one in reply.events if one["event"] == "token") == "caf\ufffd and so on"
    assert reply.kinds == ["start", "token", "metadata", "end"]


def test_an_answer_that_is_complete_does_not_wait_for_its_connection(server: Server) -> None:
    with answering(STREAM + CHUNK + DONE) as base:
        assert server.ask(server.create_flow(conversation(base)), "hello").json["text"] == "hello"


def test_an_error_whose_body_never_comes_is_still_an_error(server: Server) -> None:
    with answering(b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\n") as base:
        reply = server.ask(server.create_flow(conversation(base)), "hello")
    assert refused(reply, 502, "provider_refused")


@pytest.mark.parametrize(
    ("base", "secret"),
    [
        pytest.param("http://user:s3cret@127.0.0.1:9/v1", "s3cret", id="a password in the address"),
        pytest.param("htp://h/v1?key=s3cret", "s3cret", id="a key in an address that is none"),
    ],
)
def test_errors_do_not_tell_what_is_secret_in_an_address(server: Server, base: str, secret: str) -> None:
    flow = server.create_flow(conversation(base, model={"timeout": 3000}))
    assert secret not in server.ask(flow, "hello").text


def test_an_error_inside_a_stream_does_not_tell_the_key(server: Server) -> None:
    with answering(STREAM + b'data: {"error":{"message":"bad key sk-tests"}}\n\n') as base:
        reply = server.ask(server.create_flow(conversation(base)), "hello", streaming=True)
    assert "sk-tests" not in reply.text
    assert "bad key ***" in reply.events[-2]["data"]


def test_a_cancel_counts_while_the_server_is_stopping(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data", HEADRACE_SHUTDOWN_GRACE="20") as server:
        flow = server.create_flow(conversation(upstream.url))
        reader = threading.Thread(target=lambda: server.ask(flow, "/count 900 | /pace 20", chatId="c", streaming=True))
        reader.start()
        upstream.wait_until(lambda requests: len(requests) == 1)
        run = server.send("GET", f"/api/v1/runs?chatId=c&flowId={flow}").json[0]["id"]
        server.process.terminate()
        with contextlib.suppress(OSError):  # refused once nothing is left to wait for
            server.send("POST", f"/api/v1/runs/{run}/cancel")
        assert server.process.wait(15) == 0
        reader.join(10)
    upstream.wait_until(lambda requests: requests[0].closed_by_peer_at_token is not None)


def test_a_silent_model_is_left_as_soon_as_its_reader_is(server: Server, chat: str, upstream: Upstream) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    body = json.dumps({"question": "/count 5 | /stall 1", "streaming": True, "onDisconnect": "cancel"})
    connection.request("POST", f"/api/v1/prediction/{chat}", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    while b"w1" not in response.readline():
        pass
    connection.close()
    response.close()
    # Well before the next sign of life, which comes every 15 seconds.
    assert upstream.wait_until(lambda r: r[-1].closed_by_peer_at_token is not None, timeout=8)


@pytest.mark.parametrize("after", ["9" * 20, "-5"])
def test_numbers_that_no_event_has_are_taken(server: Server, chat: str, after: str) -> None:
    run = server.ask(chat, "/say Hi", streaming=True).headers["X-Run-Id"]
    reply = server.send("GET", f"/api/v1/runs/{run}/events?after={after}")
    assert reply.status == 200
    long = server.send("GET", f"/api/v1/runs/{run}/events", headers={"Last-Event-ID": f"{run}:{'9' * 5000}"})
    assert long.status == 400


def test_an_origin_that_is_no_address_is_refused(server: Server, upstream: Upstream) -> None:
    config = '{"allowedOrigins": ["https://good.example"]}'
    flow = server.create_flow(conversation(upstream.url), chatbotConfig=config)
    reply = server.send("POST", f"/api/v1/prediction/{flow}", {"question": "x"}, {"Origin": "http://[x"})
    assert reply.status == 403
