"""Runs whose tools are at work: what is said meanwhile is told, and cancelling ends the work itself.

python tests/test_tools_at_work.py --measure 20      how long after the request to cancel it ends, for each kind of tool
"""

import http.client
import json
import os
import select
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest
from provider import Provider
from servers import Server, llm_chain, node, serving
from sites import SILENT, Answer, Site, Visit, said, site
from test_greedy_models import turn
from test_mcp import mcp_server
from test_tools import agent, asking
from upstream import Upstream, serve_in_thread
from waiting import eventually

BOUND = 10.0  # seconds, since other programs may keep the machine busy; docs/performance.md says what is usual
ALLOWED = {"HEADRACE_ALLOWED_HOSTS": "127.0.0.1"}


class World(NamedTuple):
    server: Server
    upstream: Upstream
    web: Site
    mcp: str


class Work(NamedTuple):
    """A flow and a question that keeps a tool busy; `begun` waits until it works, `ended` until it does not."""

    flow: str
    question: str
    begun: Callable[[], Any]
    ended: Callable[[], Any]


def request(world: World) -> Work:
    tool = node("requestsGet", "Tools", requestsGetUrl=f"{world.web.url}/silent")
    return Work(
        world.server.create_flow(agent(world.upstream.url, tool)), "/tool requests_get {}",
        lambda: eventually(lambda: world.web.visits), lambda: eventually(world.web.left.is_set),
    )  # fmt: skip


def waiting_script(world: World) -> Work:
    flow = scripted(world, f"return await (await fetch('{world.web.url}/silent')).text()")
    ended = [lambda: eventually(world.web.left.is_set)]
    return Work(flow, "/tool work {}", lambda: eventually(lambda: world.web.visits), ended[0])


def computing_script(world: World) -> Work:
    flow = scripted(world, f"await fetch('{world.web.url}/quick'); for (;;) {{}}")
    handles: list[int] = []

    def begun() -> None:
        eventually(lambda: world.web.visits)
        handles.extend(os.pidfd_open(pid) for pid in sandboxes(world.server))

    def ended() -> None:
        assert select.select(handles, [], [], BOUND)[0]
        for handle in handles:
            os.close(handle)

    return Work(flow, "/tool work {}", begun, ended)


def scripted(world: World, code: str) -> str:
    tool = world.server.send("POST", "/api/v1/tools", {"name": "work", "func": code, "schema": "[]"}, admin=True).json
    return world.server.create_flow(agent(world.upstream.url, node("customTool", "Tools", selectedTool=tool["id"])))


def sandboxes(server: Server) -> list[int]:
    """Ids of the server's processes for scripts."""
    main = Path(f"/proc/{server.process.pid}/task")
    children = {int(pid) for task in main.iterdir() for pid in (task / "children").read_text().split()}
    return [pid for pid in children if b"program.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def mcp_call(world: World) -> Work:
    left = world.server.folder / f"left-{time.monotonic_ns()}"
    tool = node("customMCP", "Tools (MCP)", mcpServerConfig=json.dumps({"url": world.mcp}))
    return Work(
        world.server.create_flow(agent(world.upstream.url, tool)), f"/tool wait {json.dumps({'path': str(left)})}",
        lambda: eventually(lambda: left.exists() and left.read_text() == "begun"),
        lambda: eventually(lambda: left.read_text() == "cancelled"),
    )  # fmt: skip


def nested_flow(world: World) -> Work:
    child = world.server.create_flow(llm_chain(world.upstream.url, "{text} | /pace 20"))
    return Work(
        asking(world.server, world.upstream.url, child), '/tool ask_child {"input": "/count 5000"}',
        lambda: world.upstream.wait_until(lambda requests: len(requests) == 2, BOUND),
        lambda: world.upstream.wait_until(lambda requests: requests[1].closed_by_peer_at_token is not None, BOUND),
    )  # fmt: skip


KINDS = (request, waiting_script, computing_script, mcp_call, nested_flow)


@contextmanager
def worlds(folder: Path) -> Generator[World]:
    with ExitStack() as stack:
        enter = stack.enter_context
        parts = enter(serving(folder / "data", **ALLOWED)), enter(serve_in_thread()), enter(site())
        yield World(*parts, enter(mcp_server("streamable-http")))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    with worlds(tmp_path_factory.mktemp("stops")) as world:
        yield world


def stopped(world: World, kind: Callable[[World], Work]) -> float:
    """Seconds from the request to cancel until the tool's work has ended."""
    world.upstream.reset()
    world.web.reset()
    world.web.paths["/silent"] = SILENT
    work = kind(world)
    run = world.server.ask(work.flow, work.question, background=True).json["id"]
    work.begun()
    began = time.perf_counter()
    assert world.server.send("POST", f"/api/v1/runs/{run}/cancel").status == 200
    work.ended()
    seconds = time.perf_counter() - began
    eventually(lambda: world.server.send("GET", f"/api/v1/runs/{run}").json["state"] == "cancelled")
    return seconds


@pytest.mark.skipif(sys.platform != "linux", reason="which processes a server has is read from /proc")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_cancelling_a_run_ends_what_its_tool_does(world: World, kind: Callable[[World], Work]) -> None:
    assert stopped(world, kind) < BOUND


def test_what_is_said_around_tools_is_told_while_they_work(world: World, provider: Provider) -> None:
    turns = [turn("Let me see. ", ("requests_get", "{}")), turn("Once more. ", ("requests_get", "{}")), turn("Done.")]
    provider.seen, provider.answer = [], lambda _: turns[len(provider.seen)]
    released = threading.Semaphore(0)

    def slow(visit: Visit) -> Answer:
        assert released.acquire(timeout=BOUND)
        return said("here")

    world.web.reset()
    world.web.default = slow
    tool = node("requestsGet", "Tools", requestsGetUrl=f"{world.web.url}/slow")
    flow = world.server.create_flow(agent(provider.url, tool))
    connection = http.client.HTTPConnection("127.0.0.1", world.server.port, timeout=BOUND)
    with closing(connection):
        body = json.dumps({"question": "go", "streaming": True})
        connection.request("POST", f"/api/v1/prediction/{flow}", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        for words, visits in (("Let me see. ", 1), ("Once more. ", 2)):
            while words.encode() not in response.readline():
                pass  # the tool does not go on before this has come
            eventually(lambda visits=visits: len(world.web.visits) == visits)
            released.release()
        rest = response.read().decode()
    assert "Done." in rest
    assert rest.count('"toolOutput"') == 2


def measure(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, worlds(Path(folder)) as world:
        for kind in KINDS:
            stopped(world, kind)
            times = sorted(stopped(world, kind) * 1000 for _ in range(rounds))
            print(f"{kind.__name__:18} median {median(times):5.1f} ms, longest {times[-1]:5.1f} ms of {rounds}")


if __name__ == "__main__":
    measure(int(sys.argv[2])) if sys.argv[1:2] == ["--measure"] else sys.exit(__doc__)
