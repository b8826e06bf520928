"""Frames of a stream as libraries see them that dispatch an event at every blank line, as browsers' fetch-event-source
does: each has data, from the first byte on and in silence too, and a reader knows its run before any event."""

import contextlib
import http.client
import json
from collections.abc import Generator, Mapping
from typing import Any

import pytest
from servers import Server, conversation, serving
from upstream import Upstream

SILENT = "/wait 600000"


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server whose streams carry a heartbeat after every twentieth of a second of silence."""
    with serving(tmp_path_factory.mktemp("lively") / "data", HEADRACE_HEARTBEAT="0.05") as server:
        yield server


@contextlib.contextmanager
def streamed(
    server: Server, flow: str, question: str, query: str = "", headers: Mapping[str, str] | None = None
) -> Generator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = json.dumps({"question": question, "streaming": True})
    path = f"/api/v1/prediction/{flow}{query}"
    connection.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})})
    try:
        yield connection.getresponse()
    finally:
        connection.close()


class Dispatched:
    """What such a library makes of a stream: the id as soon as its line is there, an event at every blank line."""

    def __init__(self) -> None:
        self.id = ""
        self.events: list[dict[str, str]] = []
        self._fields: dict[str, str] = {}

    def line(self, line: str) -> None:
        name, colon, value = line.partition(":")
        if not line:
            self.events.append(self._fields)
            self._fields = {}
        elif name and colon:
            self._fields[name] = f"{self._fields[name]}\n{value}" if name in self._fields and name == "data" else value
            self.id = value.strip() if name == "id" else self.id


def dispatched(body: str) -> list[dict[str, str]]:
    seen = Dispatched()
    for line in body.split("\n")[:-1]:
        seen.line(line)
    return seen.events


FORMATS = {"flowise": "", "named": "?format=named"}


@pytest.mark.parametrize("query", FORMATS.values(), ids=FORMATS.keys())
@pytest.mark.parametrize(
    "question",
    [
        "/say Hi there",
        "/say Hi | /wait 300",
        "/count 3 | /pace 200",
        "/count 3 | /end 1",
        "/cut 1",
        "/count 5 | /burst",
    ],
)
def test_every_frame_has_data_in_silence_and_failure_too(
    lively: Server, upstream: Upstream, question: str, query: str
) -> None:
    flow = lively.create_flow(conversation(upstream.url))
    with streamed(lively, flow, question, query) as response:
        run, body = str(response.headers["X-Run-Id"]), response.read().decode()
    events = dispatched(body)
    assert events
    assert all("data" in event for event in events)
    assert [event["id"].strip() for event in events] == [f"{run}:{number}" for number in range(1, len(events) + 1)]
    if not query:
        assert all(isinstance(json.loads(event["data"])["event"], str) for event in events)
    # A resumed stream has the same frames, from whatever place.
    for after in range(len(events) + 1):
        rest = lively.send("GET", f"/api/v1/runs/{run}/events{query or '?format='}&after={after}").text
        assert dispatched(rest) == events[after:]


def test_heartbeats_are_lines_and_no_events(lively: Server, upstream: Upstream) -> None:
    flow = lively.create_flow(conversation(upstream.url))
    with streamed(lively, flow, "/hold 1 | /count 2") as response:
        lines = [response.readline().decode()]
        while ": still here\n" not in lines[-1]:
            lines.append(response.readline().decode())
        upstream.go_on()
        body = "".join(lines) + response.read().decode()
    assert ": still here\n\n" not in body
    assert [json.loads(event["data"])["event"] for event in dispatched(body)] == [
        *("start", "token", "token", "metadata", "end")
    ]


def test_the_run_is_known_before_its_first_event(server: Server, upstream: Upstream) -> None:
    flow = server.create_flow(conversation(upstream.url))
    with streamed(server, flow, SILENT) as response:
        run = response.headers["X-Run-Id"]
    assert server.send("GET", f"/api/v1/runs/{run}").json["state"] == "running"
    assert server.send("POST", f"/api/v1/runs/{run}/cancel").status == 200


@pytest.mark.parametrize("query", FORMATS.values(), ids=FORMATS.keys())
def test_a_library_without_headers_comes_back_to_the_run_that_has_said_nothing_yet(
    server: Server, upstream: Upstream, query: str
) -> None:
    flow = server.create_flow(conversation(upstream.url))
    question = "/wait 4000 | /say Patience"
    seen = Dispatched()
    with streamed(server, flow, question, query) as response:
        while not seen.id:
            seen.line(response.readline().decode().rstrip("\n"))
        assert seen.id == f"{response.headers['X-Run-Id']}:0"
        assert seen.events == []
    with streamed(server, flow, question, query, {"Last-Event-ID": seen.id}) as response:
        assert f"{response.headers['X-Run-Id']}:0" == seen.id
        events = dispatched(response.read().decode())
    assert "Patience" in "".join(event["data"] for event in events)
    assert len(upstream.requests) == 1


def test_a_first_frame_that_comes_at_once_has_one_id(server: Server, chat: str) -> None:
    reply = server.ask(chat, "/say Hi", streaming=True)
    assert reply.text.startswith(f"id:{reply.headers['X-Run-Id']}:1\nmessage:\ndata:")


WIDGET_EVENTS: dict[str, Any] = {"start": str, "token": str, "metadata": dict, "end": str}


def test_a_widget_that_parses_every_frame_unguarded_reads_the_answer(lively: Server, upstream: Upstream) -> None:
    """As flowise-embed up to 3.0 and flowise-ui do: JSON.parse on every dispatched event."""
    flow = lively.create_flow(conversation(upstream.url))
    with streamed(lively, flow, "/wait 200 | /count 3 | /pace 120") as response:
        payloads = [json.loads(event.get("data", "")) for event in dispatched(response.read().decode())]
    assert all(isinstance(one["data"], WIDGET_EVENTS[one["event"]]) for one in payloads)
    assert "".join(one["data"] for one in payloads if one["event"] == "token") == "w1 w2 w3"
