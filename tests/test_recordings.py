"""Recordings of our own, replayed: what the server answers to each step, and what the model received for it.

A recording is a JSON file in `recordings/`:

    about     what it shows
    flow      the flow; `<model>` stands for the scripted model's address
    columns   the flow's other columns, if any
    steps     each with `post` (a body as JSON, or its text), `get` (a path below /api/v1 before the flow's id) or
              `messages` (the stored ones, as role and content), and `expected`, which recording fills in

What differs from run to run is written `<id 1>`, `<id 2>`, … in the order it first appears.

    python tests/test_recordings.py --record      plays every recording anew and writes what came: read the difference
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from servers import Reply, Server, serving
from upstream import Upstream, serve_in_thread

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.json"))
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Names:
    """Gives what differs from run to run the same names every time."""

    def __init__(self, **known: str) -> None:
        self._known = {value: f"<{name}>" for name, value in known.items()}
        self._count = 0

    def _named(self, match: re.Match[str]) -> str:
        if match[0] not in self._known:
            self._count += 1
            self._known[match[0]] = f"<id {self._count}>"
        return self._known[match[0]]

    def of(self, value: Any) -> Any:
        """The value with its ids and addresses renamed."""
        if isinstance(value, str):
            for text, name in self._known.items():
                value = value.replace(text, name)
            return UUID.sub(self._named, value)
        if isinstance(value, dict):
            return {key: self.of(item) for key, item in value.items()}
        return [self.of(item) for item in value] if isinstance(value, list) else value


def stream(events: list[dict[str, Any]]) -> list[Any]:
    """Events without what they share; the texts of tokens that follow each other stand in one list."""
    found: list[Any] = []
    for event in events:
        kind, data, more = event["event"], event["data"], {k: v for k, v in event.items() if k not in ("event", "data")}
        if kind == "token" and found and "token" in found[-1]:
            found[-1]["token"].append(data)
        else:
            found.append({kind: [data] if kind == "token" else data, **more})
    return found


def body(reply: Reply) -> dict[str, Any]:
    kind = (reply.headers["Content-Type"] or "").partition(";")[0]
    content = {"text/event-stream": lambda: stream(reply.events), "application/json": lambda: reply.json}
    return {"status": reply.status, "type": kind, "body": content.get(kind, lambda: reply.text)()}


def taken(step: dict[str, Any], flow: str, server: Server, upstream: Upstream) -> Any:
    """What comes of a step, as it stands in a recording."""
    if "messages" in step:
        rows = server.send("GET", f"/api/v1/chatmessage/{flow}{step['messages']}", admin=True).json
        return [[row["role"], row["content"]] for row in rows]
    if "get" in step:
        return body(server.send("GET", f"/api/v1/{step['get']}/{flow}"))
    sent = step["post"].encode() if isinstance(step["post"], str) else step["post"]
    upstream.reset()
    headers = {"Content-Type": step.get("type", "application/json")}
    answer = body(server.send("POST", f"/api/v1/prediction/{flow}", sent, headers))
    return {**answer, "model": [request.body for request in upstream.requests]}


def played(recording: dict[str, Any], server: Server, upstream: Upstream) -> list[Any]:
    """What comes of every step."""
    described = json.loads(json.dumps(recording["flow"]).replace("<model>", upstream.url))
    flow = server.create_flow(described, **recording.get("columns", {}))
    names = Names(flow=flow, model=upstream.url)
    return [names.of(taken(step, flow, server, upstream)) for step in recording["steps"]]


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_of_our_own_replays_the_same(server: Server, upstream: Upstream, path: Path) -> None:
    recording = json.loads(path.read_text())
    for step, came in zip(recording["steps"], played(recording, server, upstream), strict=True):
        assert came == step["expected"]


def record() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        serve_in_thread() as upstream,
        serving(Path(folder) / "data") as server,
    ):
        for path in RECORDINGS:
            recording = json.loads(path.read_text())
            for step, came in zip(recording["steps"], played(recording, server, upstream), strict=True):
                step["expected"] = came
            path.write_text(json.dumps(recording, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    record() if sys.argv[1:] == ["--record"] else sys.exit(__doc__)
