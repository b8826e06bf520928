"""Servers with data folders of their own on one PostgreSQL: any serves any stream, and any may die or stand still."""

import itertools
import json
import signal
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from places import Cluster
from servers import Server, conversation, serving
from test_resume import events, frames, open_stream, read_frames
from upstream import Upstream
from waiting import eventually

SECRET = "5e" * 32
DEATH = 60  # seconds: 15 without a sign of life, and what a busy machine takes


@pytest.fixture(scope="module")
def url(cluster: Cluster) -> Generator[str]:
    url = cluster.migrated()
    yield url
    cluster.drop(url)


def beginning(folder: Path, url: str) -> AbstractContextManager[Server]:
    return serving(folder, HEADRACE_DATABASE_URL=url, HEADRACE_SECRET_KEY=SECRET, HEADRACE_SHUTDOWN_GRACE="0.2")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, url: str) -> Generator[tuple[Server, Server]]:
    folder = tmp_path_factory.mktemp("servers")
    with beginning(folder / "one", url) as one, beginning(folder / "other", url) as other:
        yield one, other


def state(server: Server, run: str) -> Any:
    return server.send("GET", f"/api/v1/runs/{run}").json


def test_a_stream_is_resumed_at_every_event_on_the_other_server(pair: tuple[Server, Server], upstream: Upstream):
    one, other = pair
    flow = one.create_flow(conversation(upstream.url))
    whole = one.ask(flow, "/count 50 | /burst", streaming=True)
    run, expected = whole.headers["X-Run-Id"], frames(whole.body)
    assert len(expected) == 53
    for after in range(53):
        assert frames(events(other, run, after).body) == expected[after:]


def test_a_stream_is_followed_live_on_the_other_server(pair: tuple[Server, Server], upstream: Upstream):
    one, other = pair
    flow = one.create_flow(conversation(upstream.url))
    with open_stream(one, flow, "/count 200 | /pace 20") as response:
        run = str(response.headers["X-Run-Id"])
        beginning = read_frames(response, 1)
        followed = events(other, run, 0).body
        assert frames(followed) == frames(beginning + response.read())


def test_a_cancel_reaches_the_other_servers_run(pair: tuple[Server, Server], upstream: Upstream):
    one, other = pair
    flow = one.create_flow(conversation(upstream.url))
    with open_stream(one, flow, "/count 999 | /pace 20") as response:
        read_frames(response, 2)
        assert other.send("POST", f"/api/v1/runs/{response.headers['X-Run-Id']}/cancel").status == 200
        rest = response.read()
    assert [json.loads(frame.split(b"data:")[1])["event"] for frame in frames(rest)[-2:]] == ["abort", "end"]
    upstream.wait_until(lambda requests: requests[0].closed_by_peer_at_token is not None)


def test_equal_requests_over_both_servers_ask_the_model_once(pair: tuple[Server, Server], upstream: Upstream):
    flow = pair[0].create_flow(conversation(upstream.url))

    def ask(server: Server) -> Any:
        body = {"question": "/count 20 | /pace 5", "streaming": True}
        return server.send("POST", f"/api/v1/prediction/{flow}", body, {"Idempotency-Key": "once"})

    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(ask, itertools.islice(itertools.cycle(pair), 20)))
    assert [reply.status for reply in replies] == [200] * 20
    assert len({tuple(frames(reply.body)) for reply in replies}) == 1
    assert len(upstream.requests) == 1


def test_a_change_is_seen_by_the_other_server(pair: tuple[Server, Server], upstream: Upstream):
    one, other = pair
    flow = one.create_flow(conversation(upstream.url))
    assert other.ask(flow, "/say a").status == 200
    assert other.send("DELETE", f"/api/v1/chatflows/{flow}", admin=True).status == 200
    eventually(lambda: one.ask(flow, "/say a").status == 404)


def test_runs_of_a_server_that_dies_or_stands_still_end_once(tmp_path: Path, url: str, upstream: Upstream):
    with ExitStack() as stack:
        dead, frozen, alive = (stack.enter_context(beginning(tmp_path / name, url)) for name in ("a", "b", "c"))
        flow = alive.create_flow(conversation(upstream.url))
        cut = stack.enter_context(open_stream(dead, flow, "/count 2000 | /pace 20"))
        held = stack.enter_context(open_stream(frozen, flow, "/count 2000 | /pace 20"))
        had = {str(stream.headers["X-Run-Id"]): frames(read_frames(stream, 20)) for stream in (cut, held)}
        for run in had:
            eventually(lambda run=run: state(alive, run).get("lastSeq", 0) >= 20)
        dead.process.send_signal(signal.SIGKILL)
        frozen.process.send_signal(signal.SIGSTOP)
        try:
            assert alive.ask(flow, "/say still here").json["text"] == "still here"
            for run in had:
                eventually(lambda run=run: state(alive, run)["state"] == "failed", DEATH, every=0.2)
            stored = {run: events(alive, run, 0).body for run in had}
        finally:
            frozen.process.send_signal(signal.SIGCONT)
        told = [json.loads(frame.split(b"data:")[1]) for frame in frames(held.read())]
        assert [event["event"] for event in told[-2:]] in (["error", "end"], ["abort", "end"])
        assert frozen.ask(flow, "/say back again").json["text"] == "back again"
        for run, body in stored.items():
            kinds = [json.loads(frame.split(b"data:")[1])["event"] for frame in frames(body)]
            assert (kinds[-2:], kinds.count("end")) == (["error", "end"], 1)
            assert frames(body)[:20] == had[run]
            assert events(frozen, run, 0).body == events(alive, run, 0).body == body


def test_servers_that_begin_at_once_make_the_tables_once(tmp_path: Path, cluster: Cluster, upstream: Upstream):
    empty = cluster.made()
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        contexts = [beginning(tmp_path / name, empty) for name in ("one", "other")]
        one, other = pool.map(lambda context: stack.enter_context(context), contexts)
        flow = one.create_flow(conversation(upstream.url))
        assert other.ask(flow, "/say hello").json["text"] == "hello"
