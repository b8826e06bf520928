"""Bad input over HTTP: each with its status, its code, a message that says what to do, and nothing left of it."""

import contextlib
import json
import socket
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pytest
from refusals import nothing_stored, refused
from servers import KEY, Reply, Server, chat_model, conversation, flow, llm_chain, node, serving
from upstream import Upstream

UNKNOWN = "11111111-1111-4111-8111-111111111111"
BOTH = pytest.mark.parametrize("streaming", [False, True], ids=["json", "streaming"])

UNREADABLE = {
    "comma too many": (b'{"question": "x",}', "not valid JSON", "at position 17"),
    "truncated": (b'{"question": "x"', "truncated", "at position 16"),
    "text after the end": (b'{"question": "x"} x', "trailing", "at position 19"),
    "not a number": (b'{"question": NaN}', "not valid JSON", "at position 13"),
    "byte order mark": (b'\xef\xbb\xbf{"question": "x"}', "not valid JSON", "at position 0"),
    "not UTF-8": (b'{"question": "\xff"}', "not valid UTF-8", "at position 14"),
    "not UTF-8 after an escape": (b'{"question": "\\u0041\xe9"}', "not valid UTF-8", "at position 20"),
    "not UTF-8 in a key": (b'{"qu\xffestion": "x"}', "not valid UTF-8", "at position 4"),
    "nested without end": (b"[" * 100_000, "nested too deeply", ""),
    "nested too deeply": (b'{"question": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "nested too deeply", ""),
    "a text": (b'"x"', "must be a JSON object", '{"question"'),
    "a number": (b"5", "must be a JSON object", '{"question"'),
    "null": (b"null", "must be a JSON object", '{"question"'),
}

WRONG_TYPES: dict[str, tuple[dict[str, Any], str]] = {
    "chat id": ({"chatId": 42}, "$.chatId"),
    "streaming": ({"streaming": 5}, "$.streaming"),
    "history item": ({"history": [{}, "x"]}, "$.history[1]"),
    "history role": ({"history": [{"role": 5}]}, "$.history[0].role"),
    "history content": ({"history": [{"role": "userMessage", "content": ["x"]}]}, "$.history[0].content"),
    "upload item": ({"uploads": ["x"]}, "$.uploads[0]"),
    "upload without a type": ({"uploads": [{"name": "a"}]}, "$.uploads[0]"),
    "upload type": ({"uploads": [{"type": 5}]}, "$.uploads[0].type"),
    "upload data": ({"uploads": [{"type": "file", "data": 5}]}, "$.uploads[0].data"),
    "session id": ({"overrideConfig": {"sessionId": 5}}, "$.overrideConfig.sessionId"),
    "lead": ({"leadEmail": 5}, "$.leadEmail"),
    "form": ({"form": []}, "$.form"),
    "action": ({"action": "x"}, "$.action"),
    "human input": ({"humanInput": "x"}, "$.humanInput"),
}

TOLERATED: dict[str, dict[str, Any]] = {
    "nulls": dict.fromkeys(("overrideConfig", "chatId", "history", "uploads", "streaming", "leadEmail")),
    "history of another type": {"history": "x"},
    "uploads of another type": {"uploads": {"a": 1}},
    "overrideConfig of another type": {"overrideConfig": [1]},
    "fields that nobody knows": {"chatflowId": "x", "socketIOClientId": 5, "zzz": {}},
    "empty chat id": {"chatId": ""},
    "streaming as another text": {"streaming": "yes"},
    "history items without a role": {"history": [{}, {"role": None, "content": None}, {"role": "system"}]},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server that takes bodies of up to one MiB."""
    with serving(tmp_path_factory.mktemp("small") / "data", HEADRACE_MAX_BODY_MB="1") as server:
        yield server


def post(server: Server, flow_id: str, body: Any, kind: str = "application/json") -> Reply:
    return server.send("POST", f"/api/v1/prediction/{flow_id}", body, {"Content-Type": kind})


@pytest.mark.parametrize(("body", "reason", "place"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_body_is_refused_with_its_position(
    server: Server, chat: str, upstream: Upstream, body: bytes, reason: str, place: str
) -> None:
    message = refused(post(server, chat, body), 400, "invalid_request")
    assert reason in message
    assert place in message
    assert nothing_stored(server, chat)
    assert upstream.requests == []


@BOTH
@pytest.mark.parametrize(("fields", "path"), WRONG_TYPES.values(), ids=WRONG_TYPES.keys())
def test_a_wrong_type_is_refused_with_its_json_path(
    server: Server, chat: str, upstream: Upstream, fields: dict[str, Any], path: str, streaming: bool
) -> None:
    message = refused(post(server, chat, {"question": "x", "streaming": streaming, **fields}), 400, "invalid_request")
    assert message.endswith(f" at {path}")
    assert nothing_stored(server, chat)
    assert upstream.requests == []


@pytest.mark.parametrize("fields", TOLERATED.values(), ids=TOLERATED.keys())
def test_what_clients_send_beside_the_question_is_tolerated(server: Server, chat: str, fields: dict[str, Any]) -> None:
    assert server.ask(chat, "/say fine", **fields).json["text"] == "fine"


@pytest.mark.parametrize("half", [b"\\ud800", b"\\uDFFF", b"\\ud800\\ud800"], ids=["first", "second", "twice"])
def test_half_a_surrogate_pair_is_a_character_that_is_missing(
    server: Server, chat: str, upstream: Upstream, half: bytes
) -> None:
    assert post(server, chat, b'{"question": "/say a' + half + b'b"}').json["text"].strip("\ufffd") != ""
    asked = upstream.requests[-1].body["messages"][-1]["content"]
    assert asked.replace("\ufffd", "") == "/say ab"
    assert "\ufffd" in asked


@pytest.mark.parametrize(
    "body", [b"", b" \n", b"{}", b"[]", b'["x"]'], ids=["empty", "blank", "object", "array", "list"]
)
def test_a_body_without_a_question_asks_nothing(server: Server, chat: str, upstream: Upstream, body: bytes) -> None:
    reply = post(server, chat, body)
    assert reply.status == 200
    assert "question" not in reply.json
    assert upstream.requests[-1].body["messages"][-1] == {"role": "user", "content": "undefined"}


@pytest.mark.parametrize(
    ("question", "read"), [(5, "5"), (True, "true"), ({"a": [1, None]}, '{"a":[1,null]}'), ("", "")]
)
def test_a_question_that_is_no_text_reaches_the_model_as_json(
    server: Server, chat: str, upstream: Upstream, question: Any, read: str
) -> None:
    assert post(server, chat, {"question": question}).json["question"] == question
    assert upstream.requests[-1].body["messages"][-1]["content"] == read


def test_a_form_may_carry_the_question(server: Server, chat: str) -> None:
    reply = post(server, chat, b"question=%2Fsay+two+words&chatId=c", "application/x-www-form-urlencoded")
    assert (reply.json["text"], reply.json["chatId"]) == ("two words", "c")
    streamed = post(server, chat, b"question=%2Fsay+Hi&streaming=true", "application/x-www-form-urlencoded")
    assert streamed.kinds[-1] == "end"


@pytest.mark.parametrize("kind", ["text/plain", "", "application/octet-stream"])
def test_a_body_of_another_kind_is_refused(server: Server, chat: str, kind: str) -> None:
    message = refused(post(server, chat, b"hello", kind), 412, "body_missing")
    assert "Content-Type: application/json" in message
    assert nothing_stored(server, chat)


def test_json_under_another_name_is_json(server: Server, chat: str) -> None:
    body = b'{"question": "/say fine"}'
    form = "application/x-www-form-urlencoded"  # what curl says of it, unless it is told otherwise
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.chat+json", form):
        assert post(server, chat, body, kind).json["text"] == "fine"


@BOTH
def test_an_unknown_flow_is_named(server: Server, streaming: bool) -> None:
    message = refused(server.ask(UNKNOWN, "x", streaming=streaming), 404, "flow_not_found")
    assert UNKNOWN in message


@BOTH
def test_what_is_no_flow_id_is_refused_with_advice(server: Server, streaming: bool) -> None:
    message = refused(server.ask("my-flow", "x", streaming=streaming), 400, "invalid_request")
    assert message == "'my-flow' is not a flow id: `headrace flows` lists them"


@pytest.mark.parametrize("resource", ["chatflows-streaming", "public-chatbotConfig", "chatflows-uploads"])
def test_public_endpoints_refuse_unknown_flows_too(server: Server, resource: str) -> None:
    assert UNKNOWN in refused(server.send("GET", f"/api/v1/{resource}/{UNKNOWN}"), 404, "flow_not_found")
    assert refused(server.send("GET", f"/api/v1/{resource}/x"), 400, "invalid_request")


def test_an_unknown_path_is_not_found_as_json(server: Server) -> None:
    for path in ("/static/nope", "/nope", "/api/v1/nope", "/api/v1/prediction/", "/API/v1/ping"):
        assert "/docs" in refused(server.send("GET", path), 404, "not_found")


def test_a_wrong_method_is_refused_as_json(server: Server, chat: str) -> None:
    for method, path in (
        ("GET", f"/api/v1/prediction/{chat}"),
        ("PATCH", "/api/v1/ping"),
        ("PUT", "/api/v1/chatflows"),
    ):
        assert refused(server.send(method, path), 405, "method_not_allowed")


# The body's size


def raw(server: Server, head: str, parts: Iterable[bytes]) -> bytes:
    """Sends bytes as they are and reads until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        received = b""
        try:
            client.sendall(f"{head}\r\nHost: x\r\nConnection: close\r\n".encode())
            for part in parts:
                client.sendall(part)
        except OSError:
            pass  # the server refused before it had read everything
        with contextlib.suppress(ConnectionResetError):  # and may say so after its answer
            while data := client.recv(65536):
                received += data
        return received


def check_over_the_limit(server: Server, path: str, *headers: str, parts: Iterable[bytes]) -> None:
    """Sends a body that is too large. The refusal may come before all is sent, so this is no job for urllib."""
    lines = [f"POST {path} HTTP/1.1", "Content-Type: application/json", *headers]
    answer = raw(server, "\r\n".join(lines), [b"\r\n", *parts])
    assert answer.startswith(b"HTTP/1.1 413 ")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    refusal = json.loads(body)
    assert (refusal["statusCode"], refusal["success"], refusal["code"]) == (413, False, "body_too_large")
    assert "1 MiB that this server takes (HEADRACE_MAX_BODY_MB)" in refusal["message"]


def test_a_body_under_the_limit_is_read(small: Server, upstream: Upstream) -> None:
    flow_id = small.create_flow(conversation(upstream.url))
    assert post(small, flow_id, {"question": "x" * 1_000_000}).status == 200


@pytest.mark.parametrize("way", ["sent", "announced", "in chunks"])
def test_a_body_over_the_limit_is_refused(small: Server, upstream: Upstream, way: str) -> None:
    flow_id = small.create_flow(conversation(upstream.url))
    chunk = b"%x\r\n%b\r\n" % (65536, b"x" * 65536)
    headers, parts = {
        "sent": ("Content-Length: 1114112", [b"x" * 65536] * 17),
        "announced": ("Content-Length: 99999999", []),
        "in chunks": ("Transfer-Encoding: chunked", [*[chunk] * 17, b"0\r\n\r\n"]),
    }[way]
    check_over_the_limit(small, f"/api/v1/prediction/{flow_id}", headers, parts=parts)
    assert nothing_stored(small, flow_id)


def test_administration_has_the_same_limit(small: Server) -> None:
    headers = (f"Authorization: Bearer {KEY}", "Content-Length: 1114112")
    check_over_the_limit(small, "/api/v1/variables", *headers, parts=[b"x" * 65536] * 17)


# Flows that cannot run


def stranger(base: str, **more: Any) -> dict[str, Any]:
    """A conversation whose memory this server does not have."""
    return conversation(base, memory="zepMemory", **more)


@BOTH
def test_a_flow_with_unknown_nodes_is_stored_and_names_them_when_it_is_asked(
    server: Server, upstream: Upstream, streaming: bool
) -> None:
    record = {"name": "strange", "flowData": json.dumps(stranger(upstream.url))}
    stored = server.send("POST", "/api/v1/chatflows", record, admin=True)
    assert stored.status == 200
    report = stored.json["coverage"]
    assert report["runs"] == ["chatOpenAI", "conversationChain"]
    assert report["missing"] == ["zepMemory"]
    assert [(one["node"], one["kind"], one["stops"]) for one in report["findings"]] == [("zepMemory_0", "node", True)]
    message = refused(server.ask(stored.json["id"], "x", streaming=streaming), 422, "unknown_nodes")
    assert "'zepMemory'" in message
    assert "install a package" in message
    assert nothing_stored(server, stored.json["id"])
    assert upstream.requests == []


def test_an_unknown_node_that_nothing_needs_does_not_hinder(server: Server, upstream: Upstream) -> None:
    drawn = conversation(upstream.url)
    drawn["nodes"].append(node("faiss", "Vector Stores"))
    drawn["nodes"].append({"id": "note_0", "type": "stickyNote", "data": node("stickyNote", "Utilities")["data"]})
    assert server.ask(server.create_flow(drawn), "/say fine").json["text"] == "fine"


def circle(base: str) -> dict[str, Any]:
    looped = llm_chain(base, "{x}", '{"x": "{{llmChain_0.data.instance}}"}')["nodes"]
    return flow(*looped, node("llmChain", "Chains", 1, prompt="{{llmChain_0.data.instance}}"))


def as_prediction(base: str) -> dict[str, Any]:
    drawn = llm_chain(base, "{x}")
    drawn["nodes"][2]["data"]["outputs"] = {"output": "outputPrediction"}
    return drawn


def unconnected(base: str) -> dict[str, Any]:
    return flow(chat_model(base), node("conversationChain", "Chains", memory="{{chatOpenAI_0.data.instance}}"))


CANNOT_RUN = {
    "a circle": (circle, "circle"),
    "no ending node": (lambda base: flow(chat_model(base), node("bufferMemory", "Memory")), "no ending node"),
    "nothing at all": (lambda _: flow(), "no ending node"),
    "an ending that cannot end": (lambda base: flow(chat_model(base)), "cannot end a flow"),
    "an ending that is a prediction": (as_prediction, "its output must be 'llmChain'"),
    "a port that is not connected": (unconnected, "conversationChain_0"),
    "two open variables": (lambda base: llm_chain(base, "{a} {b}"), "a, b"),
}


@pytest.mark.parametrize(("draw", "reason"), CANNOT_RUN.values(), ids=CANNOT_RUN.keys())
def test_a_flow_that_cannot_run_says_why(server: Server, upstream: Upstream, draw: Any, reason: str) -> None:
    flow_id = server.create_flow(draw(upstream.url))
    assert reason in refused(server.ask(flow_id, "x"), 422, "flow_error")
    assert reason in refused(server.ask(flow_id, "x", streaming=True), 422, "flow_error")
    assert nothing_stored(server, flow_id)
    assert upstream.requests == []


# Bodies of the administration

ADMIN_BODIES: dict[str, tuple[str, Any, str]] = {
    "truncated": ("chatflows", b'{"name":', "at position 8"),
    "not UTF-8": ("chatflows", b'{"name": "\xff"}', "at position 10"),
    "nested too deeply": ("chatflows", b"[" * 100_000, "nested too deeply"),
    "no body": ("chatflows", b"", "expected a JSON body at $"),
    "a text": ("chatflows", "x", "at $"),
    "name of a flow": ("chatflows", {"name": 5}, "at $.name"),
    "no name": ("chatflows", {"flowData": '{"nodes": []}'}, "at $.name"),
    "no flow data": ("chatflows", {"name": "x"}, "at $.flowData"),
    "flow data that is no JSON": ("chatflows", {"name": "x", "flowData": "{"}, "the flow is not valid JSON"),
    "flow data that is no flow": ("chatflows", {"name": "x", "flowData": {"nodes": [{"id": 5}]}}, "$.nodes[0].id"),
    "flow type": ("chatflows", {"name": "x", "flowData": '{"nodes": []}', "type": "CHAT"}, "CHATFLOW, AGENTFLOW"),
    "id": ("chatflows", {"name": "x", "flowData": '{"nodes": []}', "id": "mine"}, "at $.id"),
    "config": ("chatflows", {"name": "x", "flowData": '{"nodes": []}', "apiConfig": "{"}, "apiConfig cannot be read"),
    "config that is a list": ("chatflows", {"name": "x", "flowData": '{"nodes": []}', "apiConfig": "[]"}, "apiConfig"),
    "config value": (
        "chatflows",
        {"name": "x", "flowData": '{"nodes": []}', "apiConfig": {"rateLimit": {"limitMax": "many"}}},
        "$.rateLimit.limitMax",
    ),
    "key of a flow": ("chatflows", {"name": "x", "flowData": '{"nodes": []}', "apikeyid": "zz"}, "no API key"),
    "variable type": ("variables", {"name": "x", "type": "zz"}, "at $.type"),
    "variable without a name": ("variables", {"value": "x"}, "`name` is missing at $"),
    "credential field": (
        "credentials",
        {"name": "x", "credentialName": "y", "plainDataObj": {"a": [5]}},
        "plainDataObj",
    ),
    "permissions": ("apikey", {"keyName": "x", "permissions": "all"}, "at $.permissions"),
    "key without a name": ("apikey", {"keyName": "  "}, "at $.keyName"),
}


@pytest.mark.parametrize(("resource", "body", "reason"), ADMIN_BODIES.values(), ids=ADMIN_BODIES.keys())
def test_administration_refuses_what_it_cannot_read(server: Server, resource: str, body: Any, reason: str) -> None:
    path = f"/api/v1/{resource}"

    def rows() -> list[Any]:  # each request uses a key, which says so
        found = server.send("GET", path, admin=True).json
        return [{name: value for name, value in row.items() if name != "lastUsedDate"} for row in found]

    before = rows()
    assert reason in refused(server.send("POST", path, body, admin=True), 400, "invalid_request")
    assert rows() == before


def test_a_refused_change_leaves_the_flow_as_it_was(server: Server, chat: str) -> None:
    path = f"/api/v1/chatflows/{chat}"
    before = server.send("GET", path, admin=True).json
    for body in ({"name": "new", "flowData": "{"}, {"name": "new", "type": "X"}, {"name": "new", "apikeyid": "zz"}):
        refused(server.send("PUT", path, body, admin=True), 400, "invalid_request")
    assert server.send("GET", path, admin=True).json == before
    assert server.ask(chat, "/say still").json["text"] == "still"


@pytest.mark.parametrize(
    ("query", "reason"),
    [("chatType=%5B", "chatType"), ("chatType=%5B5%5D", "chatType"), ("order=UP", "order")],
)
def test_a_query_that_cannot_be_read_is_refused(server: Server, chat: str, query: str, reason: str) -> None:
    reply = server.send("GET", f"/api/v1/chatmessage/{chat}?{query}", headers={"Authorization": f"Bearer {KEY}"})
    assert reason in refused(reply, 400, "invalid_request")


def test_no_bad_request_left_a_traceback_in_the_log(server: Server, small: Server) -> None:
    for log in (Path(server.output), Path(small.output)):
        assert "Traceback" not in log.read_text()
