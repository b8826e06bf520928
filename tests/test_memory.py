"""Memories: summaries that grow turn by turn, and sessions that a Redis keeps."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from calls import context, texts
from servers import Server, chat_model, flow, free_port, node, until_connected
from test_agent import Script
from test_tools import agent
from upstream import Upstream

from headrace.engine.chat import ModelMessage, TextDelta
from headrace.engine.chatflow import exchanged
from headrace.nodes.memory import SummarisedTurns, tokens
from headrace.schema import MemoryMessage


def talk(base: str, memory: str, credential: str = "", **inputs: Any) -> dict[str, Any]:
    """A conversation with this memory."""
    if memory.startswith("conversation"):
        inputs["model"] = "{{chatOpenAI_0.data.instance}}"
    remembering = node(memory, "Memory", label="Memory", **inputs)
    remembering["data"]["credential"] = credential
    wires = {"model": "{{chatOpenAI_0.data.instance}}", "memory": f"{{{{{memory}_0.data.instance}}}}"}
    chain = node("conversationChain", "Chains", **wires, systemMessagePrompt="Be brief.")
    return flow(chat_model(base), remembering, chain)


def asked(upstream: Upstream) -> list[list[str]]:
    """The texts of each conversation that the model read."""
    return [[message["content"] for message in request.body["messages"]] for request in upstream.requests]


def test_a_summary_grows_by_what_was_said_since(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(talk(upstream.url, "conversationSummaryMemory"))
    for question in ("/say one", "/say two", "/say three"):
        assert server.ask(flow_id, question, chatId="c").json["memoryType"] == "Memory"
    first, summary, second, longer, third = asked(upstream)
    assert first == ["Be brief.", "/say one"]
    assert "nothing yet" in summary[0]
    assert "user: /say one\nassistant: one" in summary[0]
    assert second[0] == "Be brief."
    assert second[1].endswith("summarised: one")
    assert second[2:] == ["/say two"]
    assert "The summary so far:\none\n" in longer[0]
    assert "user: /say one" not in longer[0]  # it is in the summary
    assert "user: /say two\nassistant: two" in longer[0]
    assert third[1].endswith("summarised: two")
    usage = server.send("GET", f"/api/v1/chatmessage/{flow_id}?chatId=c", admin=True).json
    assert [row["content"] for row in usage[1::2]] == ["one", "two", "three"]


def remembering(base: str, memory: str = "bufferMemory", ending: str = "toolAgent", **inputs: Any) -> dict[str, Any]:
    """An agent, or a chain, on a memory with these inputs."""
    drawn = agent(base, node("calculator", "Tools"))
    for each in drawn["nodes"]:
        if each["data"]["category"] == "Memory":
            each["data"] |= {"name": memory, "inputs": inputs}
        if each["data"]["name"] == "toolAgent":
            each["data"] |= {"name": ending, "category": "Agents" if ending == "toolAgent" else "Chains"}
    return drawn


USES = '/tool calculator {"input": "6*7"} && calculator {"input": 1} | /say forty-two'


@pytest.mark.parametrize("memory", ["bufferMemory", "bufferWindowMemory"])
def test_an_agent_reads_again_what_its_tools_gave_where_its_memory_keeps_that(
    server: Server, upstream: Upstream, memory: str
) -> None:
    flow_id = server.create_flow(remembering(upstream.url, memory, rememberTools=True, k="3"))
    server.ask(flow_id, USES, chatId="c")
    server.ask(flow_id, "/say What was that?", chatId="c")
    system, asked, called, first, second, answer, question = upstream.requests[-1].body["messages"]
    assert [m["role"] for m in (system, asked, answer, question)] == ["system", "user", "assistant", "user"]
    ids = [call["id"] for call in called["tool_calls"]]
    assert [call["function"] for call in called["tool_calls"]] == [
        {"name": "calculator", "arguments": '{"input":"6*7"}'},
        {"name": "calculator", "arguments": '{"input":1}'},
    ]
    assert [first["tool_call_id"], second["tool_call_id"]] == ids
    assert all(len(each) == 9 and each.isalnum() for each in ids)
    assert first["content"] == "42"
    assert "did not match expected schema" in second["content"]
    assert "forty-two" in answer["content"]


def test_a_summary_takes_in_what_tools_gave(server: Server, upstream: Upstream) -> None:
    model = "{{chatOpenAI_0.data.instance}}"
    kept = remembering(upstream.url, "conversationSummaryBufferMemory", rememberTools=True, model=model)
    flow_id = server.create_flow(kept)
    server.ask(flow_id, USES, chatId="c")
    server.ask(flow_id, "/say What was that?", chatId="c")
    roles = [message["role"] for message in upstream.requests[-1].body["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]
    short = remembering(upstream.url, "conversationSummaryMemory", rememberTools=True, model=model)
    server.send("PUT", f"/api/v1/chatflows/{flow_id}", {"flowData": json.dumps(short)}, admin=True)
    server.ask(flow_id, "/say And now?", chatId="c")
    assert "the tool calculator: 42\n" in upstream.requests[-2].body["messages"][0]["content"]


@pytest.mark.parametrize(("ending", "inputs"), [("toolAgent", {}), ("conversationChain", {"rememberTools": True})])
def test_what_tools_gave_is_for_agents_that_want_it(
    server: Server, upstream: Upstream, ending: str, inputs: dict[str, Any]
) -> None:
    flow_id = server.create_flow(remembering(upstream.url))
    server.ask(flow_id, USES, chatId="c")
    changed = json.dumps(remembering(upstream.url, ending=ending, **inputs))
    server.send("PUT", f"/api/v1/chatflows/{flow_id}", {"flowData": changed}, admin=True)
    server.ask(flow_id, "/say What was that?", chatId="c")
    roles = [message["role"] for message in upstream.requests[-1].body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


def test_a_remembered_result_is_cut_and_a_turn_remembers_not_every_use() -> None:
    uses = [{"tool": "dump", "toolInput": "no object", "toolOutput": "x" * 100_000}] * 500
    called, *results, answer = exchanged([MemoryMessage("apiMessage", "done", tools=uses)])
    assert len(called.calls) == len(results) == 100
    assert len({call.id for call in called.calls}) == 100
    assert all(len(result.text) < 21_000 for result in results)
    assert called.calls[0].arguments == '{"input":"no object"}'
    assert (answer.role, answer.text, answer.calls) == ("assistant", "done", ())


def test_turns_within_the_limit_stay_word_for_word(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(talk(upstream.url, "conversationSummaryBufferMemory", maxTokenLimit="30"))
    for question in ("/say one", "/say two", "/say three", "/say four"):
        server.ask(flow_id, question, chatId="c")
    *_, summary, last = asked(upstream)
    assert len(upstream.requests) == 5  # four answers, and one summary when the first turn had to go
    assert "user: /say one\nassistant: one" in summary[0]
    assert "/say two" not in summary[0]
    assert last[1].endswith("summarised: one")
    assert last[2:] == ["/say two", "two", "/say three", "three", "/say four"]


def test_deleting_a_session_deletes_its_summary(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(talk(upstream.url, "conversationSummaryMemory"))
    for question in ("/say one", "/say two"):
        server.ask(flow_id, question, chatId="c")
    assert server.send("DELETE", f"/api/v1/chatmessage/{flow_id}?chatId=c", admin=True).status == 200
    for question in ("/say new", "/say newer", "/say newest"):
        server.ask(flow_id, question, chatId="c")
    assert "nothing yet" in asked(upstream)[4][0]
    assert not any("/say one" in text for conversation in asked(upstream)[3:] for text in conversation)


def summarised(model: Script, rows: Sequence[MemoryMessage], most: int, notes: Mapping[str, str]) -> list[ModelMessage]:
    async def history(*, tools: bool = False) -> Sequence[MemoryMessage]:
        return rows

    async def run() -> list[ModelMessage]:
        ctx = context()
        ctx.history, ctx.prior = history, [ModelMessage("user", "sent along")]
        for name, text in notes.items():
            await ctx.notes.put(name, text)
        return await SummarisedTurns(ctx, model, "s", most).messages()

    return asyncio.run(run())


ROWS = [MemoryMessage("userMessage" if n % 2 == 0 else "apiMessage", f"message {n} {'x' * 4000}") for n in range(40)]


def test_a_long_session_is_summarised_in_portions_that_a_model_can_read() -> None:
    model = Script([TextDelta("short")])
    found = summarised(model, ROWS, 2 * tokens(ROWS[0].content), {})
    assert len(model.requests) == 5
    assert all(tokens(texts(request.messages)[0]) < 11_000 for request in model.requests)
    assert [message.role for message in found] == ["system", "user", "user", "assistant"]
    assert found[2].text == ROWS[-2].content


def test_a_summary_of_more_turns_than_there_are_is_begun_anew() -> None:
    model = Script([TextDelta("short")])
    summarised(model, ROWS[:2], 0, {"s": '{"text": "of a session that is gone", "turns": 8}'})
    assert "nothing yet" in model.requests[0].messages[0].text


def test_what_is_left_beside_a_summary_begins_with_a_question() -> None:
    found = summarised(Script([TextDelta("short")]), ROWS[:4], tokens(ROWS[0].content) + 10, {})
    assert [message.text for message in found[2:]] == []
    assert found[0].text.endswith("short")


needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Generator[int]:
    """The port of a Redis that wants a password."""
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    options = ["--bind", "127.0.0.1", "--save", "", "--requirepass", "open:sesame", "--dir", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["redis-server", "--port", str(port), *options], stdout=log, stderr=log)
    try:
        until_connected(port)
        yield port
    finally:
        process.kill()
        process.wait(10)


def command(port: int, *words: str) -> str:
    line = ["redis-cli", "-p", str(port), "--no-auth-warning", "-a", "open:sesame", *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=20, check=True).stdout.strip()


def credential(server: Server, kind: str, **fields: str) -> str:
    record = {"name": kind, "credentialName": kind, "plainDataObj": fields}
    return server.send("POST", "/api/v1/credentials", record, admin=True).json["id"]


@pytest.fixture
def key(server: Server, redis: int) -> str:
    return credential(server, "redisCacheUrlApi", redisUrl=f"redis://:open%3Asesame@127.0.0.1:{redis}")


@needs_redis
def test_a_session_in_redis_is_continued_from_what_another_server_wrote(
    server: Server, upstream: Upstream, redis: int, key: str
) -> None:
    for kind, text in (("human", "My name is Ada."), ("ai", "Hello Ada.")):
        command(redis, "LPUSH", "r-1", json.dumps({"type": kind, "data": {"content": text, "additional_kwargs": {}}}))
    flow_id = server.create_flow(talk(upstream.url, "RedisBackedChatMemory", key, sessionTTL="500"))
    server.ask(flow_id, "/say Ada", chatId="r-1")
    assert asked(upstream)[0] == ["Be brief.", "My name is Ada.", "Hello Ada.", "/say Ada"]
    newest = json.loads(command(redis, "LINDEX", "r-1", "0"))
    assert newest == {"type": "ai", "data": {"content": "Ada"}}
    assert command(redis, "LLEN", "r-1") == "4"
    assert 0 < int(command(redis, "TTL", "r-1")) <= 500
    server.ask(flow_id, "/say again", chatId="r-1")
    assert asked(upstream)[1][3:] == ["/say Ada", "Ada", "/say again"]


@needs_redis
def test_a_session_in_redis_keeps_what_tools_gave_where_the_flow_wants_that(
    server: Server, upstream: Upstream, redis: int, key: str
) -> None:
    kept = remembering(upstream.url, "RedisBackedChatMemory", rememberTools=True)
    for each in kept["nodes"]:
        each["data"]["credential"] = key if each["data"]["category"] == "Memory" else ""
    flow_id = server.create_flow(kept)
    server.ask(flow_id, USES, chatId="r-3")
    server.ask(flow_id, "/say What was that?", chatId="r-3")
    system, _, called, first, *_ = upstream.requests[-1].body["messages"]
    assert system["role"] == "system"
    assert called["tool_calls"][0]["function"]["arguments"] == '{"input":"6*7"}'
    assert first["content"] == "42"


@needs_redis
def test_a_window_reads_the_newest_turns(server: Server, upstream: Upstream, redis: int) -> None:
    fields = {"redisCacheHost": "127.0.0.1", "redisCachePort": str(redis), "redisCachePwd": "open:sesame"}
    parts = credential(server, "redisCacheApi", **fields)
    flow_id = server.create_flow(talk(upstream.url, "RedisBackedChatMemory", parts, windowSize="1"))
    for question in ("/say one", "/say two", "/say three"):
        server.ask(flow_id, question, chatId="r-2")
    assert asked(upstream)[-1] == ["Be brief.", "/say two", "two", "/say three"]
    assert command(redis, "TTL", "r-2") == "-1"


@needs_redis
def test_a_key_with_something_else_is_left_alone(server: Server, upstream: Upstream, redis: int, key: str) -> None:
    flow_id = server.create_flow(talk(upstream.url, "RedisBackedChatMemory", key))
    command(redis, "LPUSH", "jobs", "a job")
    reply = server.ask(flow_id, "/say x", chatId="jobs")
    assert (reply.status, reply.json["code"]) == (422, "flow_error")
    command(redis, "SET", "text", "a text")
    reply = server.ask(flow_id, "/say x", chatId="text")
    assert (reply.status, reply.json["code"]) == (503, "storage_error")
    assert command(redis, "LLEN", "jobs") == "1"
    assert not upstream.requests


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"redisUrl": "redis://:sesame@127.0.0.1:1"}, "storage_error"),
        ({"redisUrl": "redis://:sesame@127.0.0.1:sesame"}, "flow_error"),
        ({"redisUrl": "http://sesame"}, "flow_error"),
    ],
)
def test_a_redis_that_cannot_be_reached_is_told_without_its_password(
    server: Server, upstream: Upstream, fields: dict[str, str], code: str
) -> None:
    wrong = credential(server, "redisCacheUrlApi", **fields)
    reply = server.ask(server.create_flow(talk(upstream.url, "RedisBackedChatMemory", wrong)), "/say x")
    assert reply.json["code"] == code
    assert "sesame" not in reply.text
    assert not upstream.requests


def test_a_memory_in_redis_needs_a_credential(server: Server, upstream: Upstream) -> None:
    reply = server.ask(server.create_flow(talk(upstream.url, "RedisBackedChatMemory")), "/say x")
    assert "connect one" in reply.json["message"]


@needs_redis
def test_an_answer_is_kept_when_its_redis_has_gone(server: Server, upstream: Upstream, tmp_path: Path) -> None:
    port = free_port()
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(["redis-server", "--port", str(port), "--save", ""], stdout=log, stderr=log)
    until_connected(port)
    kept = credential(server, "redisCacheUrlApi", redisUrl=f"redis://127.0.0.1:{port}")
    flow_id = server.create_flow(talk(upstream.url, "RedisBackedChatMemory", kept))
    run = server.ask(flow_id, "/say done | /wait 300", chatId="g", background=True).json
    upstream.wait_until(lambda requests: bool(requests))  # it has read its memory
    process.kill()
    process.wait(10)
    log.close()
    events = server.send("GET", f"/api/v1/runs/{run['id']}/events")
    assert events.kinds[-2:] == ["metadata", "end"]
    stored = server.send("GET", f"/api/v1/chatmessage/{flow_id}?chatId=g", admin=True).json
    assert stored[-1]["content"] == "done"
