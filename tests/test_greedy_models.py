"""Models that ask for more tools, or more of them, than anybody wants, over HTTP: bounded, told to them, no crash."""

import json
import re
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from provider import Answer, Provider, Seen
from servers import Server, node, serving
from sites import HUGE, Site
from test_tools import agent

MIB = 2**20


@pytest.fixture(scope="module")
def reaching(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("greedy") / "data", HEADRACE_ALLOWED_HOSTS="127.0.0.1") as server:
        yield server


def turn(text: str, *calls: tuple[str, str]) -> Answer:
    """A turn of the model in one chunk."""
    asked = [
        {"index": number, "id": f"c{number}", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(calls)
    ]
    chunk = {"choices": [{"index": 0, "delta": {"content": text, "tool_calls": asked}, "finish_reason": "stop"}]}
    return Answer([f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()])


def asked(server: Server, provider: Provider, tool: dict[str, Any], first: Sequence[tuple[str, str]]) -> Any:
    """The answer of an agent whose model asks for this at first, and then says what it was told."""

    def answer(seen: Seen) -> Answer:
        return turn("I see.") if seen.body["messages"][-1]["role"] == "tool" else turn("", *first)

    provider.seen, provider.answer = [], answer
    peak = peak_of(server)
    reply = server.ask(server.create_flow(agent(provider.url, tool)), "go")
    assert reply.status == 200, reply.text[:500]
    assert peak_of(server) - peak < 200 * MIB
    assert reply.json["text"] == "I see."
    return reply.json


def peak_of(server: Server) -> int:
    """The most memory that the server's process has had, in bytes; 0 where nobody tells."""
    status = Path(f"/proc/{server.process.pid}/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else 0


def told(provider: Provider) -> list[str]:
    return [message["content"] for message in provider.seen[-1].body["messages"] if message["role"] == "tool"]


CALCULATOR = node("calculator", "Tools")


def test_a_thousand_tools_in_one_turn(reaching: Server, provider: Provider) -> None:
    answer = asked(reaching, provider, CALCULATOR, [("calculator", '{"input": "1+1"}')] * 1000)
    assert len(answer["usedTools"]) == 64
    assert told(provider)[:64] == ["2"] * 64
    assert set(told(provider)[64:]) == {"Too many tools at once: only the first 64 calls were carried out."}


def test_the_same_tool_for_ever(reaching: Server, provider: Provider) -> None:
    provider.always(turn("Again. ", ("calculator", '{"input": "1+1"}')))
    answer = reaching.ask(reaching.create_flow(agent(provider.url, CALCULATOR)), "go").json
    assert answer["text"] == "Agent stopped due to max iterations."
    assert len(provider.seen) == len(answer["usedTools"]) == 15


@pytest.mark.parametrize("arguments", ['{"input": "%s"}', '["%s"]', '"%s"', "%s"])
def test_arguments_of_five_megabytes(reaching: Server, provider: Provider, arguments: str) -> None:
    asked(reaching, provider, CALCULATOR, [("calculator", arguments % ("x" * 5 * MIB))])
    assert told(provider) == ["The arguments are longer than 1000000 characters: use shorter ones."]
    assert len(provider.seen[-1].raw) < 10_000


def test_a_page_of_fifty_megabytes(reaching: Server, provider: Provider, web: Site) -> None:
    web.default = HUGE
    tool = node("requestsGet", "Tools", requestsGetUrl=f"{web.url}/huge")
    (used,) = asked(reaching, provider, tool, [("requests_get", "{}")])["usedTools"]
    assert "larger than" in used["error"]
    assert told(provider) == [used["error"]]


def test_a_script_that_returns_fifty_megabytes(reaching: Server, provider: Provider) -> None:
    row = {"name": "dump", "func": "return 'x'.repeat(5e7)", "schema": "[]"}
    stored = reaching.send("POST", "/api/v1/tools", row, admin=True).json
    tool = node("customTool", "Tools", selectedTool=stored["id"])
    (used,) = asked(reaching, provider, tool, [("dump", "{}")])["usedTools"]
    assert "limit 'output'" in used["error"] or "limit 'memory'" in used["error"]
    assert told(provider) == [used["error"]]


def test_a_flow_that_answers_with_fifty_megabytes(reaching: Server, provider: Provider) -> None:
    function = node("customFunction", "Utilities", output="EndingNode", javascriptFunction="return 'x'.repeat(4e6)")
    child = reaching.create_flow({"nodes": [function], "edges": []})
    tool = node("ChatflowTool", "Tools", selectedChatflow=child, name="child")
    (used,) = asked(reaching, provider, tool, [("child", '{"input": "x"}')])["usedTools"]
    assert len(used["toolOutput"]) < 201_000
    assert told(provider) == [used["toolOutput"]]
