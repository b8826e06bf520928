"""The client goes on when the connection breaks, and never starts a second run."""

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from clients import SyncDriver
from golden import ANSWER, END, TOKEN, frames
from scripted import (
    BOUND,
    FRAMES,
    JSON,
    NO_ANSWER,
    SSE,
    TEXTS,
    UNAVAILABLE,
    Log,
    Reply,
    ScriptedServer,
    one_by_one,
    part,
    places,
    scripted_server,
)
from typescript import CLIENTS

from headrace import AsyncHeadrace, HeadraceError, PredictionData, errors
from headrace.client.requests import ClientLimits, Server
from headrace.client.response import ResponseReader
from headrace.events import End, Event, Token, decode, fold

EVENTS = [decode(text) for text in TEXTS]
BODY = json.dumps(ANSWER).encode()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, server: ScriptedServer) -> SyncDriver:
    return request.param(server.url)


def scripted(server: ScriptedServer, log: Log) -> str:
    """A flow that answers with the log, as the run's events do; its id."""
    server.followed(log, log.run)
    return server.asked(log)


@pytest.mark.parametrize("after", range(60))
def test_a_resume_asks_for_exactly_the_rest(client: SyncDriver, server: ScriptedServer, after: int):
    flow = scripted(server, Log("r", FRAMES, [len(b"".join(FRAMES[:after]))]))
    assert client.final(flow) == fold(EVENTS)
    assert places(server) == [("POST", None), ("GET", f"r:{after}")]


def test_a_stream_cut_inside_its_frames_comes_whole(client: SyncDriver, server: ScriptedServer):
    client.limits["attempts"] = 2
    # Each connection brings one frame and one byte more of the next than the last connection did: any place is cut.
    cuts = [len(frame) + at % len(FRAMES[at + 1]) for at, frame in enumerate(FRAMES[:-1])]
    assert client.events(scripted(server, Log("r", FRAMES, cuts))) == EVENTS
    assert places(server) == [("POST", None), *(("GET", f"r:{seq}") for seq in range(1, 60))]


def test_events_without_ids_of_their_own_are_not_taken_for_repetitions(client: SyncDriver, server: ScriptedServer):
    flow = server.answers(b"id:r:0\n\n", *(f"data:{text}\n\n".encode() for text in TEXTS))
    assert client.events(flow) == EVENTS


def test_chunks_go_on_like_events(client: SyncDriver, server: ScriptedServer):
    flow = scripted(server, Log("r", FRAMES, map(len, FRAMES)))
    chunks: list[Any] = client.chunks(PredictionData(flow, "Hi", streaming=True))
    assert chunks == TEXTS
    assert [chunk.id for chunk in chunks] == [f"r:{seq}" for seq in range(1, 61)]


def test_text_goes_on_where_it_stopped(client: SyncDriver, server: ScriptedServer):
    flow = scripted(server, Log("r", FRAMES, [300, 1, 500]))
    assert client.text(flow) == [event.data for event in EVENTS if isinstance(event, Token)]


def test_fifty_streams_at_once_are_cut_once_each_and_come_whole(server: ScriptedServer):
    def log(run: str) -> list[bytes]:
        return [frame.replace(b"id:r:", f"id:{run}:".encode()) for frame in FRAMES]

    for number in range(50):
        run = Log(f"run{number}", log(f"run{number}"), [number * 61 % len(b"".join(FRAMES))])
        server.asked(run, f"flow{number}")
        server.followed(run, f"run{number}")

    async def read() -> list[list[Event]]:
        async def one(number: int) -> list[Event]:
            async with client.stream(f"flow{number}", "Hi") as stream:
                events = [event async for event in stream]
                assert stream.last_event_id == f"run{number}:60"
                return events

        async with asyncio.timeout(BOUND), AsyncHeadrace(server.url, backoff=0.001) as client:
            return await asyncio.gather(*map(one, range(50)))

    assert asyncio.run(read()) == [EVENTS] * 50
    assert len(server.seen) == 100


@pytest.mark.parametrize("way", ["events", "chunks", "predict"])
@pytest.mark.parametrize(
    "lost", [NO_ANSWER, UNAVAILABLE, Reply([b"slow"], {"Retry-After": "0"}, 429), Reply([], {}, 502)]
)
def test_a_question_without_an_answer_is_sent_again_with_its_key(
    client: SyncDriver, server: ScriptedServer, way: str, lost: Reply
):
    fine = Reply([BODY], JSON) if way == "predict" else part(frames(TOKEN, END))
    flow = server.asked(one_by_one(lost, lost, fine))
    client.chunks(PredictionData(flow, "Hi", streaming=True)) if way == "chunks" else getattr(client, way)(flow)
    assert [seen.method for seen in server.seen] == ["POST"] * 3
    assert len({seen.key for seen in server.seen}) == 1
    assert server.seen[0].key
    assert len({json.dumps(seen.body) for seen in server.seen}) == 1


def test_each_question_has_a_key_of_its_own_or_the_one_it_is_given(client: SyncDriver, server: ScriptedServer):
    flow = server.answers(BODY, headers=JSON)
    client.predict(flow)
    client.final(flow)
    client.chunks(PredictionData(flow, "Hi"))
    assert len({seen.key for seen in server.seen}) == 3
    client.predict(flow, idempotency_key="mine")
    client.final(flow, idempotency_key="mine")
    assert [seen.key for seen in server.seen[3:]] == ["mine", "mine"]
    with pytest.raises(errors.InvalidRequest, match="Idempotency-Key 'two\\\\nlines' has characters"):
        client.predict(flow, idempotency_key="two\nlines")


def test_a_key_that_was_used_for_another_question_is_a_conflict(client: SyncDriver, server: ScriptedServer):
    flow = server.answers(b'{"message":"other body","code":"idempotency_conflict"}', headers=JSON, status=409)
    with pytest.raises(errors.IdempotencyConflict, match="other body"):
        client.predict(flow, idempotency_key="mine")
    assert len(server.seen) == 1


def test_once_the_run_is_known_the_question_is_never_sent_again(client: SyncDriver, server: ScriptedServer):
    for reply in (
        Reply([], {**SSE, "X-Run-Id": "r"}, ending="cut"),  # known from the header
        Reply([b"id:r:0\n\n"], ending="cut"),  # known from the first frame
        Reply([BODY[:9]], {**JSON, "X-Run-Id": "r"}, ending="cut"),  # a flow that does not stream
    ):
        server.seen.clear()
        flow = server.asked(one_by_one(reply))
        server.followed(one_by_one(NO_ANSWER, UNAVAILABLE, part(frames(TOKEN, END), ending="whole")))
        assert client.events(flow) == [Token("Hi"), End()]
        assert places(server) == [("POST", None), *[("GET", "r:0")] * 3]


def test_a_json_answer_that_breaks_off_is_asked_for_again_with_its_key(client: SyncDriver, server: ScriptedServer):
    headers = {**JSON, "X-Run-Id": "r"}
    flow = server.asked(one_by_one(Reply([BODY[:9]], headers, ending="cut"), Reply([BODY], headers)))
    assert client.predict(flow).text == "Hello"
    assert len(server.seen) == 2
    assert len({seen.key for seen in server.seen}) == 1


@pytest.mark.parametrize("way", ["events", "predict"])
def test_a_server_that_names_no_run_is_not_asked_twice(client: SyncDriver, server: ScriptedServer, way: str):
    streaming = re.sub(rb"id:.*\n", b"", frames(TOKEN))
    pieces, headers = ([BODY[:9]], JSON) if way == "predict" else ([streaming], SSE)
    flow = server.asked(one_by_one(Reply(pieces, headers, ending="cut")))
    with pytest.raises(errors.ConnectionFailed):
        getattr(client, way)(flow)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind"),
    [
        (503, b'{"message":"x","code":"interrupted"}', {"X-Run-Id": "r"}, errors.Interrupted),  # the run's own failure
        (503, b'{"message":"x","code":"provider_rate_limited"}', {}, errors.ProviderRateLimited),
        (409, b'{"message":"x","code":"session_busy"}', {}, errors.SessionBusy),
        (503, b'{"message":"x","code":"interrupted"}', {"Retry-After": "3600"}, errors.Interrupted),
        (500, b'{"message":"x","code":"internal"}', {}, errors.Internal),
    ],
)
def test_what_asking_again_cannot_change_is_raised_at_once(
    client: SyncDriver,
    server: ScriptedServer,
    status: int,
    body: bytes,
    headers: dict[str, str],
    kind: type[HeadraceError],
):
    flow = server.answers(body, headers={**JSON, **headers}, status=status)
    for use in (client.predict, client.events):
        server.seen.clear()
        with pytest.raises(kind):
            use(flow)
        assert len(server.seen) == 1


def test_an_answer_that_takes_too_long_is_not_asked_for_again(client: SyncDriver, server: ScriptedServer):
    client.limits["answer_timeout"] = 0.05
    flow = server.answers(headers={**JSON, "X-Run-Id": "r"}, ending="open")
    with pytest.raises(errors.ConnectionFailed, match=r"answer_?[tT]imeout"):
        client.predict(flow)
    assert len(server.seen) == 1


def test_attempts_are_bounded_and_the_error_names_the_address(client: SyncDriver, server: ScriptedServer):
    client.limits["attempts"] = 4
    flow = server.asked(one_by_one(part(*FRAMES[:3])))
    # Signs of life, what is known already, and half a frame are nothing new.
    server.followed(one_by_one(part(b": still here\n\n", *FRAMES[:3], FRAMES[3][:-1])))
    with pytest.raises(errors.ConnectionFailed, match=re.escape(server.url)) as caught:
        client.events(flow)
    assert places(server) == [("POST", None), *[("GET", "r:3")] * 3]
    assert caught.value.__notes__ == ["attempts: 4; last event: r:3"]


@pytest.mark.parametrize("way", ["events", "predict", "chunks"])
def test_a_client_may_be_told_never_to_try_again(client: SyncDriver, server: ScriptedServer, way: str):
    client.limits["attempts"] = 1
    flow = server.asked(one_by_one(part(*FRAMES[:3])))
    with pytest.raises(errors.ConnectionFailed):
        client.chunks(PredictionData(flow, "Hi", streaming=True)) if way == "chunks" else getattr(client, way)(flow)
    assert len(server.seen) == 1


def test_a_server_that_is_gone_for_good_is_given_up(client: SyncDriver):
    client.limits["attempts"] = 3
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Run-Id: r\r\nContent-Length: 9999\r\n\r\n"

    def serve_once() -> None:
        connection, _ = listener.accept()
        listener.close()
        with connection:
            connection.settimeout(BOUND)
            while b"streaming" not in connection.recv(65536):
                pass
            connection.sendall(head + b"".join(FRAMES[:2]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(BOUND)
        client.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving = threading.Thread(target=serve_once)
        serving.start()
        with pytest.raises(errors.ConnectionFailed, match=client.url) as caught:
            client.events("flow")
        serving.join(BOUND)
    assert caught.value.__notes__ == ["attempts: 3; last event: r:2"]


def test_a_silent_stream_is_resumed_after_the_read_timeout(client: SyncDriver, server: ScriptedServer):
    client.limits["read_timeout"] = 0.5
    flow = server.asked(one_by_one(part(*FRAMES[:3], ending="open")))
    server.followed(Log("r", FRAMES))
    assert client.events(flow) == EVENTS
    assert places(server) == [("POST", None), ("GET", "r:3")]
    assert server.left.wait(BOUND)


def test_a_run_that_is_gone_cannot_be_resumed(client: SyncDriver, server: ScriptedServer):
    flow = server.asked(one_by_one(part(*FRAMES[:3])))
    for use in (
        client.events,
        client.text,
        client.final,
        lambda flow: client.chunks(PredictionData(flow, "", streaming=True)),
    ):
        server.seen.clear()
        with pytest.raises(errors.ConnectionFailed, match="run 'r' cannot be resumed: there is no such run") as caught:
            use(flow)
        assert places(server) == [("POST", None), ("GET", "r:3")]
        assert server.url in str(caught.value)
        assert not caught.value.retryable


def test_what_a_server_sends_twice_is_read_once(client: SyncDriver, server: ScriptedServer):
    flow = server.asked(one_by_one(part(*FRAMES[:30])))
    server.followed(one_by_one(part(*FRAMES[:40]), part(*FRAMES, ending="whole")))
    assert client.events(flow) == EVENTS
    assert client.final(flow) == fold(EVENTS)


def test_leaving_early_connects_no_more(client: SyncDriver, server: ScriptedServer):
    flow = scripted(server, Log("r", FRAMES[:3], ending="open"))
    client.leave(flow)
    assert server.left.wait(BOUND)
    server.left.clear()
    assert client.leave_chunks(flow, server.left)
    assert [seen.method for seen in server.seen] == ["POST", "POST"]


def test_cancelling_a_reader_ends_its_attempts(server: ScriptedServer):
    server.asked(one_by_one(part(*FRAMES[:1])))

    async def run() -> None:
        async with asyncio.timeout(BOUND), AsyncHeadrace(server.url, backoff=3600) as client:
            stream = client.stream("flow", "Hi")
            await anext(stream)
            reader = asyncio.ensure_future(stream.final())
            await asyncio.wait([reader], timeout=0.05)
            reader.cancel()
            await asyncio.wait([reader])
            assert reader.cancelled()

    asyncio.run(run())
    assert len(server.seen) == 1


def test_the_pause_that_a_stream_asks_for_is_made(client: SyncDriver, server: ScriptedServer):
    flow = server.asked(one_by_one(part(b"retry: 60\n\n", *FRAMES[:3])))
    server.followed(one_by_one(part(*FRAMES[3:5]), part(*FRAMES[5:], ending="whole")))
    assert client.events(flow) == EVENTS
    first, second, third = (seen.at for seen in server.seen)
    assert second - first > 0.06
    assert third - second > 0.06  # also after a connection that did not say it again


def answer(attempts: int = 20) -> ResponseReader:
    server = Server("http://host", "", ClientLimits(1, 1, 1, attempts, backoff=0.5))
    return ResponseReader(server, server.events("r", "r:0"))


def test_pauses_double_with_jitter_up_to_a_minute():
    many = [[one.pause(errors.ConnectionFailed("x")) for _ in range(19)] for one in (answer() for _ in range(50))]
    for number, pauses in enumerate(zip(*many, strict=True)):
        longest = min(0.5 * 2**number, 60)
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


@pytest.mark.parametrize(("retry_after", "expected"), [(None, 0.0), (0.0, 0.0), (7.0, 7.0), (60.0, 60.0)])
def test_no_attempt_comes_before_the_time_that_the_server_names(retry_after: float | None, expected: float):
    error = errors.RateLimited("slow down", retry_after)
    assert expected + 0.25 <= answer().pause(error) <= expected + 0.5


def test_who_is_asked_to_wait_too_long_gets_the_error():
    with pytest.raises(errors.RateLimited) as caught:
        answer().pause(errors.RateLimited("slow down", 61))
    assert caught.value.retry_after == 61
