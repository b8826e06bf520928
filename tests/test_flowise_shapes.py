"""Answers of the administration in the shapes that Flowise's clients expect: pages, changes, deletions, flags."""

import json
import uuid
from collections.abc import Generator
from typing import Any

import pytest
from admin import call, ok
from refusals import refused
from servers import KEY, Server, conversation, serving
from upstream import Upstream


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("own") / "data") as server:
        yield server


def unique(text: str) -> str:
    return f"{text} {uuid.uuid4()}"


MADE: dict[str, dict[str, Any]] = {
    "variables": {"name": "", "value": "1"},
    "tools": {"name": "", "description": "d", "func": "return 1"},
    "apikey": {"keyName": "", "permissions": ["chatflows:view"]},
    "credentials": {"name": "", "credentialName": "openAIApi", "plainDataObj": {"openAIApiKey": "sk"}},
    "chatflows": {"name": "", "flowData": '{"nodes": [], "edges": []}'},
    "document-store/store": {"name": "", "description": "d"},
}


def made(server: Server, path: str) -> dict[str, Any]:
    body = {key: unique("x") if key in ("name", "keyName") else value for key, value in MADE[path].items()}
    return ok(call(server, "POST", path, body))


@pytest.mark.parametrize("path", MADE)
def test_lists_are_paged_when_page_and_limit_are_given(own: Server, path: str) -> None:
    for _ in range(3):
        made(own, path)
    every = ok(call(own, "GET", path))
    assert len(every) >= 3
    pages = [ok(call(own, "GET", f"{path}?page={page}&limit=2")) for page in range(1, len(every) // 2 + 3)]
    assert {page["total"] for page in pages} == {len(every)}
    ids = [row["id"] for row in every]
    assert [row["id"] for page in pages for row in page["data"]] == ids
    for query in ("?page=1", "?limit=1", "?page=0&limit=1", "?page=1&limit=-1"):
        assert [row["id"] for row in ok(call(own, "GET", f"{path}{query}"))] == ids
    refused(call(own, "GET", f"{path}?page=x&limit=1"), 400, "invalid_request")


@pytest.mark.parametrize("path", [path for path in MADE if path != "document-store/store"])
def test_deletions_say_raw_and_affected(own: Server, path: str) -> None:
    row = made(own, path)
    assert ok(call(own, "DELETE", f"{path}/{row['id']}")) == {"raw": [], "affected": 1}
    assert call(own, "DELETE", f"{path}/{row['id']}").status == 404


CHANGES = [
    ("variables", {"value": "2"}),
    ("variables", {"value": None}),
    ("variables", {"type": "runtime"}),
    ("tools", {"description": "other"}),
    ("apikey", {"keyName": "renamed"}),
    ("apikey", {"permissions": []}),
    ("credentials", {"name": "renamed"}),
    ("chatflows", {"category": "a;b"}),
    ("document-store/store", {"description": "other"}),
    *((path, {}) for path in MADE),
]


@pytest.mark.parametrize(("path", "change"), CHANGES, ids=[f"{path} {json.dumps(change)}" for path, change in CHANGES])
def test_a_change_names_only_what_changes(own: Server, path: str, change: dict[str, Any]) -> None:
    row = made(own, path)
    (before,) = [one for one in ok(call(own, "GET", path)) if one["id"] == row["id"]]
    ok(call(own, "PUT", f"{path}/{row['id']}", change))
    (after,) = [one for one in ok(call(own, "GET", path)) if one["id"] == row["id"]]
    assert {**after, "updatedDate": ""} == {**before, **change, "updatedDate": ""}


def test_a_partial_change_keeps_a_credentials_secret(own: Server, upstream: Upstream) -> None:
    body = {"name": "x", "credentialName": "openAIApi", "plainDataObj": {"openAIApiKey": "sk-kept"}}
    credential = ok(call(own, "POST", "credentials", body))
    ok(call(own, "PUT", f"credentials/{credential['id']}", {"name": "renamed"}))
    flow = conversation(upstream.url)
    flow["nodes"][0]["data"]["credential"] = credential["id"]
    assert own.ask(own.create_flow(flow), "/say Hi").status == 200
    assert upstream.requests[-1].headers["authorization"] == "Bearer sk-kept"


def test_a_credential_takes_numbers_and_booleans(own: Server) -> None:
    fields = {"redisCachePort": 5432, "redisCacheSslEnabled": False, "redisCacheHost": "h", "redisCacheUser": None}
    body = {"name": "x", "credentialName": "redisCacheApi", "plainDataObj": fields}
    credential = ok(call(own, "POST", "credentials", body))
    shown = ok(call(own, "GET", f"credentials/{credential['id']}"))
    assert set(shown["plainDataObj"]) == set(fields) - {"redisCacheUser"}
    refused(call(own, "POST", "credentials", {**body, "plainDataObj": {"a": {"b": 1}}}), 400, "invalid_request")


def test_flags_of_flows_are_booleans(own: Server) -> None:
    for flags in ({}, {"deployed": None, "isPublic": None}):
        row = ok(call(own, "POST", "chatflows", {"name": "x", "flowData": {"nodes": [], "edges": []}, **flags}))
        assert (row["deployed"], row["isPublic"]) == (False, False)
    on = ok(call(own, "PUT", f"chatflows/{row['id']}", {"deployed": True}))
    assert (on["deployed"], on["isPublic"]) == (True, False)
    off = ok(call(own, "PUT", f"chatflows/{row['id']}", {"deployed": None}))
    assert off["deployed"] is False


def test_a_key_shows_its_flows_and_never_itself_again(own: Server) -> None:
    key = made(own, "apikey")
    flow = made(own, "chatflows")
    ok(call(own, "PUT", f"chatflows/{flow['id']}", {"apikeyid": key["id"], "category": "a;b"}))
    (shown,) = [row for row in ok(call(own, "GET", "apikey")) if row["id"] == key["id"]]
    assert "apiKey" not in shown
    assert [(bound["flowName"], bound["category"]) for bound in shown["chatFlows"]] == [(flow["name"], ["a", "b"])]
    ok(call(own, "PUT", f"apikey/{key['id']}", {"keyName": "renamed"}))
    assert own.send("GET", f"/api/v1/verify/apikey/{key['apiKey']}").json == "OK"
    refused(own.send("GET", "/api/v1/verify/apikey/hr_nothing"), 401, "unauthorized")


def test_a_key_can_be_changed_only_within_what_the_caller_may(own: Server) -> None:
    weak = ok(call(own, "POST", "apikey", {"keyName": "w", "permissions": ["apikeys:update", "chatflows:view"]}))
    headers = {"Authorization": f"Bearer {weak['apiKey']}"}
    strong = ok(call(own, "POST", "apikey", {"keyName": "s", "permissions": ["chatflows:delete"]}))
    for key_id, body, status in (
        (weak["id"], {"permissions": ["*"]}, 403),
        (weak["id"], {"permissions": ["chatflows:delete"]}, 403),
        (strong["id"], {"keyName": "taken"}, 403),
        (strong["id"], {"permissions": []}, 403),
        (weak["id"], {"permissions": ["chatflows:view"]}, 200),
    ):
        assert own.send("PUT", f"/api/v1/apikey/{key_id}", body, headers).status == status
    refused(call(own, "PUT", f"apikey/{weak['id']}", {"keyName": " "}), 400, "invalid_request")
    refused(call(own, "PUT", f"apikey/{uuid.uuid4()}", {"keyName": "x"}), 404, "not_found")


def test_feedback_finds_its_flow_in_the_body(server: Server, chat: str) -> None:
    answer = server.ask(chat, "/say Hi").json
    body = {"messageId": answer["chatMessageId"], "rating": "THUMBS_UP", "chatId": answer["chatId"]}
    reply = server.send("POST", "/api/v1/feedback", {**body, "chatflowid": chat})
    assert (reply.status, reply.json["chatflowid"]) == (200, chat)
    refused(server.send("POST", "/api/v1/feedback", body), 400, "invalid_request")
    refused(server.send("POST", "/api/v1/feedback", {**body, "chatflowid": str(uuid.uuid4())}), 404, "flow_not_found")


@pytest.mark.parametrize("path", ["ping", "version", "chatflows", "variables", "public-chatbotConfig/{chat}"])
def test_head_is_answered_wherever_get_is(server: Server, chat: str, path: str) -> None:
    whole = call(server, "GET", path.format(chat=chat))
    head = call(server, "HEAD", path.format(chat=chat))
    assert (head.status, head.body) == (whole.status, b"")
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]
    assert call(server, "HEAD", f"chatflows/{uuid.uuid4()}").status == 404
    assert server.send("HEAD", "/api/v1/chatflows").status == 401


def test_head_of_a_run_neither_waits_for_it_nor_ends_it(server: Server, upstream: Upstream) -> None:
    settings = {"onDisconnect": "cancel"}
    flow = server.create_flow(conversation(upstream.url), apiConfig=json.dumps(settings))
    run = server.ask(flow, "/wait 600000", background=True, streaming=True, onDisconnect="continue").json["id"]
    head = server.send("HEAD", f"/api/v1/runs/{run}/events")
    assert (head.status, head.headers["Content-Type"], head.headers["X-Run-Id"]) == (200, "text/event-stream", run)
    assert server.send("GET", f"/api/v1/runs/{run}").json["state"] == "running"
    server.send("POST", f"/api/v1/runs/{run}/cancel")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "ping", {"GET", "HEAD", "OPTIONS"}),
        ("PATCH", "chatflows/x", {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}),
        ("GET", "prediction/x", {"POST", "OPTIONS"}),
        ("HEAD", "prediction/x", {"POST", "OPTIONS"}),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(server: Server, method: str, path: str, allowed: set[str]) -> None:
    reply = call(server, method, path)
    assert reply.status == 405
    assert set(str(reply.headers["Allow"]).split(", ")) == allowed


def test_programs_ask_about_a_flow(server: Server, chat: str, upstream: Upstream) -> None:
    answer = server.ask(chat, "/say Hi").json
    server.send("POST", "/api/v1/feedback", {
        "chatflowid": chat, "messageId": answer["chatMessageId"], "rating": "THUMBS_DOWN",
    })  # fmt: skip
    numbers = ok(call(server, "GET", f"stats/{chat}"))
    assert numbers == {"totalMessages": 2, "totalSessions": 1, "totalFeedback": 1, "positiveFeedback": 0}
    date = ok(call(server, "GET", f"chatflows/{chat}"))["updatedDate"]
    path = f"chatflows/has-changed/{chat}"
    assert ok(call(server, "GET", f"{path}/{date}")) == {"hasChanged": False}
    assert ok(call(server, "GET", f"{path}/2020-01-01T00:00:00.000Z")) == {"hasChanged": True}
    refused(call(server, "GET", f"{path}/yesterday"), 400, "invalid_request")
    flow = conversation(upstream.url)
    flow["nodes"][0]["data"]["inputParams"] = [
        {"label": "Model", "name": "modelName", "type": "string"},
        {"label": "Key", "name": "openAIApiKey", "type": "password"},
    ]
    inputs = server.send("GET", f"/api/v1/flow-config/{server.create_flow(flow)}").json
    assert [(one["node"], one["name"]) for one in inputs] == [("OpenAI", "modelName")]
    assert server.send("GET", "/api/v1/settings").json == {"PLATFORM_TYPE": "open source"}


def test_a_key_in_the_path_lists_the_flows_that_are_bound_to_it(server: Server, upstream: Upstream) -> None:
    weak = ok(call(server, "POST", "apikey", {"keyName": "weak", "permissions": []}))
    path = f"/api/v1/chatflows/apikey/{weak['apiKey']}"
    refused(server.send("GET", path), 404, "flow_not_found")
    secret = conversation(upstream.url, model={"openAIApiKey": "sk-secret-secret"})
    secret["nodes"][0]["data"]["inputParams"] = [{"name": "openAIApiKey", "type": "password"}]
    bound = server.create_flow(secret, apikeyid=weak["id"])
    shown = server.send("GET", path)
    assert [row["id"] for row in shown.json] == [bound]
    assert "sk-secret-secret" not in shown.text
    refused(server.send("GET", "/api/v1/chatflows/apikey/hr_none"), 401, "unauthorized")


@pytest.mark.parametrize("name", ["prediction", "predictions", "internal-prediction"])
def test_a_prediction_has_three_names(server: Server, chat: str, name: str) -> None:
    assert server.send("POST", f"/api/v1/{name}/{chat}", {"question": "/say Hi"}).json["text"] == "Hi"
    stored = ok(call(server, "GET", f"internal-chatmessage/{chat}"))
    assert stored == ok(call(server, "GET", f"chatmessage/{chat}"))
    assert {row["chatType"] for row in stored} == {"INTERNAL" if name.startswith("internal") else "EXTERNAL"}
    assert KEY not in json.dumps(stored)
