"""Runs that go on when their process is killed: one stream without a gap, and nothing done twice that was finished."""

import json
import random
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from agentflows import Flow, flow, llm, node, reply, start
from servers import Reply, Server, serving
from sites import Site, said
from test_agentflow_tools import agent, chosen, custom
from test_executions import executions
from test_soak import only_with_soak
from upstream import Upstream
from waiting import eventually

RUN = "{{ $flow.state.run }}"
SURVIVES = {"type": "AGENTFLOW", "apiConfig": json.dumps({"showInternals": True, "onCrash": "continue"})}
WORDS = ("one", "two", "three")
DEEDS = (*WORDS, "first", "http", "second")
"""Everything that a run does to the world, once each."""


def ten_nodes(server: Server, upstream: Upstream, web: Site) -> str:
    """A flow of ten nodes with two tools and a question to a person; its question names the run."""
    tools = [
        custom(server, name, f"await fetch('{web.url}/{name}?run=' + $run); return 'used'",
               schema=json.dumps([{"property": "run", "type": "string", "description": "r", "required": True}]))
        for name in ("first", "second")
    ]  # fmt: skip

    def word(number: int, run: str = RUN, **rest: Any) -> Flow:
        told = [{"role": "user", "content": f"/say {WORDS[number]} | {run}"}]
        return llm(upstream.url, number, llmMessages=told, llmEnableMemory=False, **rest)

    given = [{"inputArgName": "run", "inputArgValue": RUN}]
    drawn = flow(
        start(),
        word(0, "{{ question }}",
            llmUpdateState=[{"key": "run", "value": "{{ question }}"}]),
        node("tool", toolAgentflowSelectedTool="customTool",
             toolAgentflowSelectedToolConfig={"selectedTool": tools[0]}, toolInputArgs=given),
        node("http", method="GET", url=f"{web.url}/http?run={RUN}"),
        node("humanInput", humanInputDescription="Go on?"),
        word(1),
        agent(upstream.url, chosen("customTool", selectedTool=tools[1]), agentEnableMemory=False,
              agentMessages=[{"role": "user", "content": f'/tool second {{"run": "{RUN}"}} | /say used | {RUN}'}]),
        node("customFunction", customFunctionJavascriptFunction="return 'between'"),
        word(2),
        reply(f"Done with {RUN}."),
        arrows="start_0 llm_0, llm_0 tool_0, tool_0 http_0, http_0 humanInput_0, humanInput_0:0 llm_1, llm_1 agent_0, "
        "agent_0 customFunction_0, customFunction_0 llm_2, llm_2 directReply_0",
    )  # fmt: skip
    return server.create_flow(drawn, **SURVIVES)


class World:
    """What runs have done outside of the server."""

    def __init__(self, upstream: Upstream, web: Site) -> None:
        self._upstream, self._web = upstream, web

    @property
    def size(self) -> int:
        return len(self._upstream.requests) + len(self._web.visits)

    def done(self) -> Counter[tuple[str, str]]:
        """How often each run did each thing; an agent's second word belongs to its tool."""
        found: Counter[tuple[str, str]] = Counter()
        for visit in self._web.visits:
            found[visit.query["run"], visit.path.strip("/")] += 1
        for request in self._upstream.requests:
            text = str(request.body["messages"][-1]["content"])
            for name in WORDS:
                if text.startswith(f"/say {name}"):
                    found[text.rsplit("| ", 1)[1], name] += 1
        return found

    def until(self, size: int) -> None:
        eventually(lambda: self.size >= size, every=0.0005)


def followed(server: Server, run: str) -> Reply:
    return server.send("GET", f"/api/v1/runs/{run}/events")


def said_by(told: Reply) -> list[str]:
    return [event["data"] for event in told.events if event["event"] == "token"]


def check_stream(told: Reply, asked: str, *, ends: str) -> None:
    """One stream without a gap, one end, and no node that is finished twice."""
    heads = [frame.partition("\ndata:")[0] for frame in told.text.split("\n\n") if "\ndata:" in frame]
    ids = [int(head.rpartition("id:")[2].partition("\n")[0].rpartition(":")[2]) for head in heads]
    assert ids == list(range(1, len(told.events) + 1)), asked
    kinds = [event["event"] for event in told.events]
    assert (kinds.count("end"), kinds[-1], kinds.count("metadata")) == (1, "end", 1), (asked, kinds)
    assert not {"error", "abort"} & set(kinds), (asked, told.events[-2])
    states = [event["data"] for event in told.events if event["event"] == "agentFlowEvent"]
    assert (states[0], states[-1], states.count("INPROGRESS")) == ("INPROGRESS", ends, 1), asked
    ended = [
        e["data"]["nodeId"] for e in told.events if e["event"] == "nextAgentFlow" and e["data"]["status"] == "FINISHED"
    ]
    assert len(set(ended)) == len(ended), asked


class Crashes:
    """Two processes on one data folder, of which one is killed again and again."""

    def __init__(self, heir: Server, key: str, upstream: Upstream, web: Site, seed: int) -> None:
        self.heir, self.key = heir, key
        self._upstream, self._web, self._chance = upstream, web, random.Random(seed)

    def round(self, names: list[str]) -> None:
        """Asks once for each name, and answers what the flow asks then; both times the process is killed."""
        self._upstream.requests.clear()
        self._web.visits.clear()

        def ask(victim: Server, name: str) -> str:
            body = {"question": name, "chatId": name, "background": True}
            return victim.send("POST", f"/api/v1/prediction/{self.key}", body).json["id"]

        for name, told in self._killed(ask, names, 3):
            check_stream(told, name, ends="STOPPED")
        rows = {row["sessionId"]: row["id"] for row in executions(self.heir, f"{self._mine}&state=STOPPED")}
        assert set(rows) == set(names)

        def answer(victim: Server, name: str) -> str:
            path, body = f"/api/v1/executions/{rows[name]}/answer", {"type": "proceed", "background": True}
            return victim.send("POST", path, body, admin=True).json["id"]

        for name, told in self._killed(answer, names, 5):
            check_stream(told, name, ends="FINISHED")
            assert said_by(told)[-1] == f"Done with {name}."
        self._check_deeds(names)
        for name in names:
            self._check_stored(name)

    def _killed(self, begin: Callable[[Server, str], str], names: list[str], deeds: int) -> list[tuple[str, Reply]]:
        """Begins runs on a process, kills it at some moment, and reads them to their end on the other one.

        Each run does so many deeds; the moment is that of any of them all.
        """
        world = World(self._upstream, self._web)
        moment = world.size + self._chance.randrange(1, deeds * len(names))
        with serving(self.heir.folder, HEADRACE_ALLOWED_HOSTS="127.0.0.1") as victim, ThreadPoolExecutor(32) as pool:
            runs = [begin(victim, name) for name in names]
            readers = [pool.submit(followed, self.heir, run) for run in runs]
            world.until(moment)
            victim.stop(signal.SIGKILL)
            told = [reader.result() for reader in readers]
        for run, live in zip(runs, told, strict=True):
            assert followed(self.heir, run).events == live.events
        return list(zip(names, told, strict=True))

    @property
    def _mine(self) -> str:
        return f"agentflowId={self.key}&limit=500"

    def _check_deeds(self, names: list[str]) -> None:
        done = World(self._upstream, self._web).done()
        for name in names:
            counts = [done[name, deed] for deed in DEEDS]
            assert min(counts) >= 1, (name, counts)
            assert max(counts) <= 2, (name, counts)
            assert sum(counts) <= len(counts) + 2, (name, counts)  # the node in progress, at each of both kills

    def _check_stored(self, name: str) -> None:
        (row,) = executions(self.heir, f"{self._mine}&sessionId={name}")
        entries = json.loads(row["executionData"])
        assert (row["state"], [entry["status"] for entry in entries]) == ("FINISHED", ["FINISHED"] * 10)
        messages = self.heir.send("GET", f"/api/v1/chatmessage/{self.key}?chatId={name}", admin=True).json
        assert len(messages) == 4


@pytest.mark.parametrize(("rounds", "at_once"), [(1, 5), pytest.param(10, 10, marks=pytest.mark.soak)])
def test_a_killed_process_leaves_runs_that_go_on_elsewhere(
    tmp_path: Path, upstream: Upstream, web: Site, rounds: int, at_once: int, request: pytest.FixtureRequest
) -> None:
    if rounds > 1:
        only_with_soak(request)
    web.default = said("here")
    seed = random.randrange(2**32)
    print("seed", seed)  # shown when it fails
    with serving(tmp_path / "data", HEADRACE_ALLOWED_HOSTS="127.0.0.1") as heir:
        crashes = Crashes(heir, ten_nodes(heir, upstream, web), upstream, web, seed)
        for number in range(rounds):
            crashes.round([f"r{number}-{one}" for one in range(at_once)])
