"""A stream that breaks is given back from any event on, byte for byte, by any process, also after a crash."""

import asyncio
import http.client
import json
import random
import re
import signal
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from servers import Reply, Server, conversation, serving
from upstream import Upstream

FRAME = re.compile(rb"id:([0-9a-f]{32}):(\d+)\nmessage:\ndata:[^\n]*\n\n")


def frames(body: bytes) -> list[bytes]:
    """The frames of events; signs of life are not among them."""
    return [m[0] for m in FRAME.finditer(body) if b"data:" in m[0]]


@contextmanager
def open_stream(server: Server, flow: str, question: str, **fields: object) -> Generator[http.client.HTTPResponse]:
    """A prediction whose events can be read one by one; leaving closes the connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = json.dumps({"question": question, "streaming": True, **fields})
    connection.request("POST", f"/api/v1/prediction/{flow}", body, {"Content-Type": "application/json"})
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def read_frames(response: http.client.HTTPResponse, count: int) -> bytes:
    """The stream's beginning, up to and with so many frames."""
    body = b""
    while len(FRAME.findall(body)) < count:
        line = response.readline()
        assert line, f"the stream ended after {body!r}"
        body += line
    return body


def events(server: Server, run: str, after: int) -> Reply:
    return server.send("GET", f"/api/v1/runs/{run}/events", headers={"Last-Event-ID": f"{run}:{after}"})


def test_a_run_can_be_resumed_after_every_single_event(server: Server, chat: str) -> None:
    whole = server.ask(chat, "/count 197 | /burst", streaming=True)
    expected, run = frames(whole.body), whole.headers["X-Run-Id"]
    assert len(expected) == 200
    for after in range(200):
        rest = events(server, run, after)
        assert rest.status == 200
        assert rest.headers["X-Run-Id"] == run
        assert frames(rest.body) == expected[after:]
    by_query = server.send("GET", f"/api/v1/runs/{run}/events?after=150")
    assert frames(by_query.body) == expected[150:]


def test_a_cut_stream_is_resumed_while_it_goes_on(server: Server, chat: str) -> None:
    for cut in (1, 2, 7, 25, 39):
        with open_stream(server, chat, "/count 40 | /pace 5") as response:
            run = str(response.headers["X-Run-Id"])
            had = frames(read_frames(response, cut))
        rest = frames(events(server, run, len(had)).body)
        numbers = [int(FRAME.fullmatch(frame)[2]) for frame in had + rest]  # type: ignore[index]
        assert numbers == list(range(1, 44))
        assert b'"event":"end"' in rest[-1]


async def _cut_and_resumed(session: aiohttp.ClientSession, base: str, flow: str, cut: int, mark: str) -> bytes:
    """A stream cut at an arbitrary byte, resumed from its last whole event."""
    question = {"question": f"/say {' '.join([mark] * 60)} | /pace 3", "streaming": True}
    body = b""
    async with session.post(f"{base}/api/v1/prediction/{flow}", json=question) as response:
        run = response.headers["X-Run-Id"]
        while len(body) < cut and (data := await response.content.read(min(64, cut - len(body)))):
            body += data
    whole = body[: body.rfind(b"\n\n") + 2]
    last = len(frames(whole))
    async with session.get(f"{base}/api/v1/runs/{run}/events?after={last}") as response:
        rest = await response.read()
    return b"".join(frames(whole) + frames(rest))


def _check_fifty_readers(server: Server, flow: str) -> None:
    async def everything() -> list[bytes]:
        chance = random.Random(11)
        # Each request on a connection of its own: with several processes any of them may get it.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.timeout(60):
            readers = [
                _cut_and_resumed(session, server.url, flow, chance.randint(40, 5000), f"m{n}x") for n in range(50)
            ]
            return await asyncio.gather(*readers)

    for n, body in enumerate(asyncio.run(everything())):
        payloads = [json.loads(frame.split(b"data:", 1)[1]) for frame in frames(body)]
        text = "".join(p["data"] for p in payloads if p["event"] == "token")
        assert text == " ".join([f"m{n}x"] * 60)
        assert [p["event"] for p in payloads][-2:] == ["metadata", "end"]


def test_fifty_readers_cut_at_random_bytes_lose_nothing(server: Server, chat: str) -> None:
    _check_fifty_readers(server, chat)


def test_any_of_two_processes_gives_back_the_others_streams(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data", "--workers", "2") as server:
        flow = server.create_flow(conversation(upstream.url))
        _check_fifty_readers(server, flow)
        whole = server.ask(flow, "/count 50 | /burst", streaming=True)
        for after in range(0, 53, 4):
            assert frames(events(server, whole.headers["X-Run-Id"], after).body) == frames(whole.body)[after:]


def test_cancel_reaches_a_run_in_another_process(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data", "--workers", "2") as server:
        flow = server.create_flow(conversation(upstream.url))
        for n in range(8):
            with open_stream(server, flow, f"/count 999 | /pace 20 | /finish a{n}") as response:
                read_frames(response, 2)
                run = str(response.headers["X-Run-Id"])
                assert server.send("POST", f"/api/v1/runs/{run}/cancel").status == 200
                rest = response.read()
            assert [json.loads(f.split(b"data:")[1])["event"] for f in frames(rest)[-2:]] == ["abort", "end"]
        upstream.wait_until(lambda requests: all(r.closed_by_peer_at_token is not None for r in requests))


def test_a_browser_that_reconnects_with_its_post_joins_its_run(server: Server, chat: str, upstream: Upstream) -> None:
    first = server.ask(chat, "/say once and only once", streaming=True)
    run = first.headers["X-Run-Id"]
    body = {"question": "/say once and only once", "streaming": True}
    again = server.send("POST", f"/api/v1/prediction/{chat}", body, {"Last-Event-ID": f"{run}:2"})
    assert frames(again.body) == frames(first.body)[2:]
    assert len(upstream.requests) == 1
    other = server.send("POST", f"/api/v1/prediction/{chat}", body, {"Last-Event-ID": f"{'0' * 32}:2"})
    assert (other.status, other.json["code"]) == (404, "run_not_found")
    assert len(upstream.requests) == 1


def test_what_is_known_of_a_run(server: Server, chat: str) -> None:
    reply = server.ask(chat, "/say Hi there", streaming=True, chatId="known")
    run = reply.headers["X-Run-Id"]
    info = server.send("GET", f"/api/v1/runs/{run}").json
    assert {k: info[k] for k in ("id", "chatflowid", "chatId", "sessionId", "state", "lastSeq")} == {
        "id": run,
        "chatflowid": chat,
        "chatId": "known",
        "sessionId": "known",
        "state": "finished",
        "lastSeq": 5,
    }
    assert info["usage"]["output_tokens"] == 2
    assert info["createdDate"] <= info["endedDate"]
    listed = server.send("GET", f"/api/v1/runs?chatId=known&flowId={chat}").json
    assert [item["id"] for item in listed] == [run]
    failed = server.ask(chat, "/count 3 | /end 1", streaming=True).headers["X-Run-Id"]
    assert server.send("GET", f"/api/v1/runs/{failed}").json["code"] == "provider_cut"


def test_a_run_is_read_only_by_who_may_read_its_flow(server: Server, upstream: Upstream) -> None:
    key = server.send("POST", "/api/v1/apikey", {"keyName": "flow", "permissions": []}, admin=True).json
    flow = server.create_flow(conversation(upstream.url), apikeyid=key["id"])
    right = {"Authorization": f"Bearer {key['apiKey']}"}
    body = {"question": "/say secret", "streaming": True}
    run = server.send("POST", f"/api/v1/prediction/{flow}", body, right).headers["X-Run-Id"]
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
        assert server.send(method, f"/api/v1/runs/{run}{path}").status == 401
        assert server.send(method, f"/api/v1/runs/{run}{path}", headers=right).status == 200
    assert server.send("GET", f"/api/v1/runs?chatId=x&flowId={flow}").status == 401
    assert server.send("GET", f"/api/v1/runs/{'0' * 32}/events").json["code"] == "run_not_found"


def _crash(server: Server, flow: str, after: int) -> tuple[str, list[bytes]]:
    """Kills the server while a reader has so many frames; returns run and frames."""
    with open_stream(server, flow, "/count 500 | /pace 2") as response:
        run = str(response.headers["X-Run-Id"])
        body = read_frames(response, after)
        server.stop(signal.SIGKILL)
        try:
            body += response.read()
        except http.client.IncompleteRead as rest:
            body += rest.partial
        except OSError:
            pass
    return run, frames(body)


def _check_after_crash(server: Server, run: str, had: list[bytes]) -> int:
    """The log ends with `end`; returns how many frames the reader had that the log lost."""
    log = frames(events(server, run, 0).body)
    assert [json.loads(f.split(b"data:", 1)[1])["event"] for f in log[-2:]] == ["error", "end"]
    assert json.loads(log[-2].split(b"data:", 1)[1])["code"] == "interrupted"
    kept = log[:-2]
    assert kept == had[: len(kept)] or had == kept[: len(had)]
    return max(0, len(had) - len(kept))


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_a_killed_server_loses_at_most_the_last_group_commit(
    tmp_path: Path, upstream: Upstream, rounds: int, request: pytest.FixtureRequest
) -> None:
    if rounds > 3 and not request.config.getoption("markexpr"):
        pytest.skip("the whole of it runs with -m soak")
    chance = random.Random(3)
    for _ in range(rounds):
        with serving(tmp_path / "data") as server:
            flow = server.create_flow(conversation(upstream.url))
            run, had = _crash(server, flow, chance.randint(2, 120))
        with serving(tmp_path / "data") as server:
            lost = _check_after_crash(server, run, had)
            # 2 ms a token and a commit every 50 ms: 25 tokens, and as many again for a slow machine.
            assert lost <= 50
            assert server.ask(flow, "/say still there").json["text"] == "still there"
    with sqlite3.connect(tmp_path / "data" / "headrace.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_workers_go_when_their_parent_is_killed(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data", "--workers", "2", HEADRACE_SHUTDOWN_GRACE="0.2") as server:
        with open_stream(server, server.create_flow(conversation(upstream.url)), "/count 999 | /pace 20") as response:
            read_frames(response, 2)
            server.stop(signal.SIGKILL)
            rest = response.read()
        assert b'"code":"interrupted"' in frames(rest)[-2]
        upstream.wait_until(lambda requests: requests[-1].closed_by_peer_at_token is not None)


def test_a_resumed_stream_tells_when_each_event_was_written_if_asked(server: Server, chat: str) -> None:
    whole = server.ask(chat, "/count 8 | /pace 30", streaming=True)
    address = f"/api/v1/runs/{whole.headers['X-Run-Id']}/events"
    plain, timed = server.send("GET", address).text, server.send("GET", f"{address}?times=true").text
    times = [int(found) for found in re.findall(r"(?m)^time:(\d+)$", timed)]
    assert len(times) == len(whole.events)
    assert re.sub(r"(?m)^time:\d+\n", "", timed) == plain
    assert times == sorted(times)
    spread = times[8] - times[1]
    assert 7 * 30 * 0.5 <= spread <= 20_000, times
    while server.send("GET", f"{address}?after=5&times=true").text.count("time:") != len(times) - 5:
        pass
    named = server.send("GET", f"{address}?times=true&format=named").text
    assert [int(found) for found in re.findall(r"(?m)^time:(\d+)\nid: ", named)] == times
