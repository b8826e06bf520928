"""What can go wrong between a client and its server, and what the client's user then gets: one table for all clients.

A scene sets up the other end, a real server or a scripted one, and names the flow to ask.
"""

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from clients import SyncDriver, counted
from proxy import Proxy, proxied
from scripted import BOUND, FRAMES, JSON, STARTING, UNAVAILABLE, Log, Reply, ScriptedServer, one_by_one, part, places
from servers import Server, conversation, serving
from upstream import Upstream


class Mortal:
    """A server that scenes end, and another one on the same data, which the next scene ends in turn."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._server: Server | None = None

    @property
    def server(self) -> Server:
        if self._server is None or self._server.process.poll() is not None:
            self._server = self._stack.enter_context(serving(self._folder, HEADRACE_SHUTDOWN_GRACE="0.1"))
        return self._server


@dataclass
class Stage:
    """A client and what it may meet; `stack` closes what a scene opened."""

    client: SyncDriver
    scripted: ScriptedServer
    server: Server
    upstream: Upstream
    mortal: Mortal
    stack: ExitStack
    proxy: Proxy | None = None

    @property
    def requests(self) -> list[str]:
        """The client's requests in turn, as "POST" or, with the number of the event to follow, "GET 7"."""
        seen = self.proxy.requests if self.proxy else places(self.scripted)
        return [f"{method} {last.rpartition(':')[2]}" if last else method for method, last in seen]

    def behind_a_proxy(self, port: int, events: int | None = None) -> Proxy:
        self.proxy = self.stack.enter_context(proxied(port, events))
        self.client.url = self.proxy.url
        return self.proxy


@dataclass(frozen=True)
class Case:
    """What a reader gets: the text, the kinds of events in order, then perhaps an error; and what that took."""

    name: str
    scene: Callable[[Stage], str]
    said: str
    kinds: str = "start token metadata end"
    error: str | None = None
    retryable: bool = True
    retry_after: float | None = None
    requests: Sequence[str] = ("POST",)
    waits: float = 0.0
    """Seconds that lie between the first two requests at least."""
    more: bool = False
    """True when the text goes on after `said`, for as long as it took: then requests are told without numbers."""


def cut_everywhere(stage: Stage) -> str:
    stage.client.question = "/count 97"
    stage.client.limits["attempts"] = 2  # counted anew once an event has come
    stage.behind_a_proxy(stage.server.port, events=1)
    return stage.server.create_flow(conversation(stage.upstream.url))


def restarted(stage: Stage, number: int) -> str:
    """The server is ended in mid-stream, and another one on the same data takes its place."""
    stage.client.question = "/count 2000 | /pace 5"
    stage.client.limits |= {"attempts": 2, "read_timeout": STARTING}
    first = stage.mortal.server
    proxy = stage.behind_a_proxy(first.port)

    def restart() -> None:
        assert proxy.spoken.wait(BOUND)
        proxy.up.clear()
        first.stop(number)
        proxy.port = stage.mortal.server.port
        proxy.up.set()

    pool = stage.stack.enter_context(ThreadPoolExecutor(1))
    stage.stack.callback(pool.submit(restart).result, STARTING)
    return first.create_flow(conversation(stage.upstream.url))


def restarted_after_the_run(stage: Stage) -> str:
    """The stream is cut, the run ends without a reader, and another server has its log."""
    stage.client.question = "/count 40 | /pace 2"
    stage.client.limits["read_timeout"] = STARTING
    first = stage.mortal.server
    proxy = stage.behind_a_proxy(first.port, events=3)
    proxy.holds = True

    def restart() -> None:
        assert stage.upstream.wait_until(lambda seen: bool(seen and seen[-1].finished))
        first.stop(signal.SIGTERM)
        proxy.port, proxy.events = stage.mortal.server.port, None
        proxy.up.set()

    pool = stage.stack.enter_context(ThreadPoolExecutor(1))
    stage.stack.callback(pool.submit(restart).result, STARTING)
    return first.create_flow(conversation(stage.upstream.url))


def answered(*replies: Reply, **limits: float) -> Callable[[Stage], str]:
    """A flow that answers with a reply for each request in turn, and a run that has every event."""

    def scene(stage: Stage) -> str:
        stage.client.limits |= limits
        stage.scripted.followed(Log("r", FRAMES))
        return stage.scripted.asked(one_by_one(*replies))

    return scene


def silent_for_good(stage: Stage) -> str:
    flow = answered(part(*FRAMES[:3], ending="open"), read_timeout=0.5, attempts=2)(stage)
    stage.scripted.followed(one_by_one(part(ending="open")))
    return flow


def nowhere(host: str) -> Callable[[Stage], str]:
    def scene(stage: Stage) -> str:
        stage.client.url = f"http://{host}:3000"
        stage.client.limits["attempts"] = 2
        return "flow"

    return scene


SAID = "".join(f"wörd{number} " for number in range(57))
WHOLE = part(*FRAMES, ending="whole")
SLOW_DOWN = Reply([b"slow down"], {"Retry-After": "1"}, 429)
MUCH_SLOWER = Reply([b"slow down"], {"Retry-After": "61"}, 429)
WEATHER = b'id:r:4\nmessage:\ndata:{"event":"weather","data":{"sky":"clear"}}\n\n'
NO_JSON = b"id:r:4\nmessage:\ndata:{oops\n\n"
EMPTY: dict[str, Any] = {"said": "", "kinds": ""}
BEGUN: dict[str, Any] = {"said": "wörd0 wörd1 ", "kinds": "start token"}
INTERRUPTED: dict[str, Any] = {"said": "w1 w2 w3", "kinds": "start token error:interrupted end", "more": True}

CASES = [
    Case(
        "cut after every event of a hundred",
        cut_everywhere,
        counted(97),
        requests=["POST", *(f"GET {number}" for number in range(1, 100))],
    ),
    Case(
        "killed and started anew in mid-stream",
        partial(restarted, number=signal.SIGKILL),
        **INTERRUPTED,
        requests=["POST", "GET"],
    ),
    Case("stopped and started anew in mid-stream", partial(restarted, number=signal.SIGTERM), **INTERRUPTED),
    Case("started anew when the run was over", restarted_after_the_run, counted(40), requests=["POST", "GET 3"]),
    Case("429 with Retry-After", answered(SLOW_DOWN, WHOLE), SAID, requests=["POST"] * 2, waits=1),
    Case("429 for too long", answered(MUCH_SLOWER), **EMPTY, error="rate_limited", retry_after=61),
    Case("503 twice, then fine", answered(UNAVAILABLE, UNAVAILABLE, WHOLE), SAID, requests=["POST"] * 3),
    Case(
        "503 for ever",
        answered(UNAVAILABLE, attempts=3),
        **EMPTY,
        error="interrupted",
        retry_after=0,
        requests=["POST"] * 3,
    ),
    Case("no such host", nowhere("no-such-host.invalid"), **EMPTY, error="connection_failed", requests=()),
    Case("a host name too long to be one", nowhere("a" * 64), **EMPTY, error="connection_failed", requests=()),
    Case(
        "silent from the beginning",
        answered(Reply([], ending="mute"), read_timeout=0.2, attempts=2),
        **EMPTY,
        error="connection_failed",
        requests=["POST"] * 2,
    ),
    Case(
        "silent in mid-stream",
        answered(part(*FRAMES[:3], ending="open"), read_timeout=0.5),
        SAID,
        requests=["POST", "GET 3"],
    ),
    Case("silent for good", silent_for_good, **BEGUN, error="connection_failed", requests=["POST", "GET 3"]),
    Case(
        "a frame that is not JSON",
        answered(part(*FRAMES[:3], NO_JSON, *FRAMES[4:], ending="whole")),
        **BEGUN,
        error="connection_failed",
        retryable=False,
    ),
    Case(
        "an event of an unknown kind",
        answered(part(*FRAMES[:3], WEATHER, *FRAMES[4:], ending="whole")),
        SAID.replace("wörd2 ", ""),
        "start token weather token metadata end",
    ),
    Case(
        "an error status", answered(Reply([b'{"message":"x"}'], JSON, 500)), **EMPTY, error="internal", retryable=False
    ),
]


@dataclass(frozen=True)
class Departure:
    """Who leaves after the first event, and what becomes of the run."""

    name: str
    way: Literal["leave", "drop"]
    policy: Literal["continue", "cancel"]
    state: Literal["finished", "cancelled"]


DEPARTURES = [
    Departure("break, and the run goes on", "drop", "continue", "finished"),
    Departure("break, and the run ends", "drop", "cancel", "cancelled"),
    Departure("out of the block, and the run goes on", "leave", "continue", "finished"),
    Departure("out of the block, and the run ends", "leave", "cancel", "cancelled"),
]
