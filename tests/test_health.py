"""Probes tell a process that is alive from one that takes predictions."""

import signal
from pathlib import Path

from servers import conversation, serving
from test_resume import frames, open_stream, read_frames
from test_storage_trouble import locked
from upstream import Upstream
from waiting import eventually


def test_a_serving_process_is_alive_and_ready(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        for path in ("/healthz", "/readyz"):
            reply = server.send("GET", path)
            assert (reply.status, reply.body) == (200, b"ok")
            assert server.send("HEAD", path).status == 200
        server.send("GET", "/none")
        eventually(lambda: "/none" in server.output.read_text())
        assert "/healthz" not in server.output.read_text()  # a probe that succeeds has no line in the log
        assert "/readyz" not in server.output.read_text()


def test_a_process_whose_database_takes_nothing_is_alive_and_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        with locked(server):
            assert server.send("GET", "/healthz").status == 200
            refused = server.send("GET", "/readyz")
            assert (refused.status, refused.json["code"]) == (503, "storage_error")
        eventually(lambda: server.send("GET", "/readyz").status == 200)
        eventually(lambda: "GET /readyz 503" in server.output.read_text())


def test_a_process_that_stops_is_alive_until_its_last_stream_ends(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data", HEADRACE_SHUTDOWN_GRACE="60") as server:
        flow = server.create_flow(conversation(upstream.url))
        with open_stream(server, flow, "/count 150 | /pace 20") as response:
            read_frames(response, 4)
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: server.send("GET", "/readyz").status == 503)
            assert server.send("GET", "/readyz").json["code"] == "interrupted"
            assert server.send("GET", "/healthz").status == 200
            assert b'"event":"end"' in frames(response.read())[-1]
        assert server.process.wait(60) == 0
