"""The client looks at runs, follows them by their id, and stops them."""

import json
import re
import threading
from collections.abc import Iterator
from itertools import repeat

import pytest
from clients import SyncDriver
from golden import END, frames
from scripted import (
    BOUND,
    FRAMES,
    JSON,
    NO_ANSWER,
    TEXTS,
    UNAVAILABLE,
    Log,
    Reply,
    ScriptedServer,
    Seen,
    one_by_one,
    part,
    places,
    scripted_server,
)
from typescript import CLIENTS

from headrace import ContinueFor, Headrace, errors
from headrace.events import Abort, End, decode

EVENTS = [decode(text) for text in TEXTS]
RUN = {
    "id": "r",
    "chatflowid": "flow",
    "chatId": "c",
    "sessionId": "c",
    "chatMessageId": "m",
    "state": "cancelled",
    "createdDate": "2026-01-01T00:00:00.000Z",
    "lastSeq": 4,
    "links": {"self": "/api/v1/runs/r"},
}
ABOUT = Reply([json.dumps(RUN).encode()], JSON)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, server: ScriptedServer) -> SyncDriver:
    return request.param(server.url)


def test_a_run_is_resumed_by_its_id(client: SyncDriver, server: ScriptedServer):
    log = Log("r", FRAMES, repeat(900, 3))
    server.followed(log)
    assert client.resumed("r") == EVENTS
    assert places(server)[0] == ("GET", "r:0")
    assert client.resumed("r", 58) == EVENTS[58:]
    with pytest.raises(errors.RunNotFound, match="no such run"):
        client.resumed("other")


def test_a_run_in_the_background_is_answered_at_once(client: SyncDriver, server: ScriptedServer):
    server.asked(one_by_one(NO_ANSWER, Reply(ABOUT.pieces, JSON, 202)))
    run = client.call("start", "flow", "Hi", chat_id="c", on_disconnect="cancel")
    assert (run.id, run.lastSeq, run.links["events"]) == ("r", 4, "/api/v1/runs/r/events")
    assert server.seen[0].body == {"question": "Hi", "chatId": "c", "background": True, "onDisconnect": "cancel"}
    assert server.seen[0].key == server.seen[1].key


def test_what_becomes_of_a_run_without_readers_is_passed_on(client: SyncDriver, server: ScriptedServer):
    flow = server.answers(b"{}", headers=JSON)
    for policy in ("continue", "cancel", ContinueFor(5), None):
        client.predict(flow, on_disconnect=policy)
    assert [seen.body.get("onDisconnect") for seen in server.seen] == ["continue", "cancel", {"continueFor": 5}, None]


def test_runs_can_be_looked_up_and_cancelled(client: SyncDriver, server: ScriptedServer):
    server.told("runs/r", NO_ANSWER, UNAVAILABLE, ABOUT)
    server.told("runs/r/cancel", NO_ANSWER, ABOUT)
    server.told("runs", NO_ANSWER, Reply([b"[%b]" % ABOUT.pieces[0]], JSON))
    assert client.call("run", "r") == client.call("cancel", "r") == client.call("runs", "flow/1", "c d")[0]
    assert [(seen.method, seen.path) for seen in server.seen] == [
        *[("GET", "/api/v1/runs/r")] * 3,
        *[("POST", "/api/v1/runs/r/cancel")] * 2,
        *[("GET", "/api/v1/runs?flowId=flow%2F1&chatId=c+d")] * 2,
    ]
    for name in ("run", "cancel"):
        with pytest.raises(errors.RunNotFound):
            client.call(name, "../other?")


def test_cancelling_a_stream_ends_it_with_what_there_is(client: SyncDriver, server: ScriptedServer):
    log = [*FRAMES[:3], *(frames("", '{"event":"abort","data":"[DONE]"}', END).split(b"\n\n")[1:3])]
    log = [re.sub(rb"^id:r:\d+", b"id:r:%d" % seq, frame.strip()) + b"\n\n" for seq, frame in enumerate(log, 1)]
    cancelled = threading.Event()

    def cancel(_: Seen) -> Reply:
        cancelled.set()
        return ABOUT

    def rest(seen: Seen) -> Reply:
        assert cancelled.wait(BOUND)
        return Log("r", log)(seen)

    flow = server.asked(one_by_one(part(*log[:3])))
    server.followed(rest)
    server.scripts["/api/v1/runs/r/cancel"] = cancel
    run, events, prediction = client.cancelled(flow, 3)
    assert run.state == "cancelled"
    assert events == [Abort("[DONE]"), End()]
    assert (prediction.text, prediction.aborted) == ("wörd0 wörd1 ", True)


def test_a_stream_that_has_not_begun_has_nothing_to_cancel(client: SyncDriver, server: ScriptedServer):
    with pytest.raises(errors.InvalidRequest, match="no run to cancel"):
        client.cancel_unbegun("flow")
    assert server.seen == []


def test_a_stream_may_be_cancelled_from_another_thread(server: ScriptedServer):
    read, cancelled = threading.Event(), threading.Event()

    def rest(seen: Seen) -> Reply:
        read.set()
        assert cancelled.wait(BOUND)
        return part(b'id:r:2\ndata:{"event":"abort","data":"[DONE]"}\n\n', FRAMES[-1])

    def cancel(_: Seen) -> Reply:
        cancelled.set()
        return ABOUT

    server.asked(one_by_one(part(FRAMES[0])))
    server.followed(rest)
    server.scripts["/api/v1/runs/r/cancel"] = cancel
    with Headrace(server.url, backoff=0.001) as client, client.stream("flow", "Hi") as stream:
        reader = threading.Thread(target=stream.final)
        reader.start()
        assert read.wait(BOUND)
        assert stream.cancel().id == "r"
        reader.join(BOUND)
        assert stream.final().aborted
