"""Who may call what: API keys and their permissions, web origins, CORS, rate limits."""

import json
from collections.abc import Generator
from typing import Any

import pytest
from refusals import nothing_stored, refused
from servers import KEY, Reply, Server, conversation, serving
from upstream import Upstream

BOTH = pytest.mark.parametrize("streaming", [False, True], ids=["json", "streaming"])
UNKNOWN = "11111111-1111-4111-8111-111111111111"
ADMIN = [
    ("GET", "chatflows", "chatflows:view"),
    ("POST", "chatflows", "chatflows:create"),
    ("GET", f"chatflows/{UNKNOWN}", "chatflows:view"),
    ("PUT", f"chatflows/{UNKNOWN}", "chatflows:update"),
    ("DELETE", f"chatflows/{UNKNOWN}", "chatflows:delete"),
    ("GET", f"chatmessage/{UNKNOWN}", "chatflows:view"),
    ("DELETE", f"chatmessage/{UNKNOWN}", "chatflows:delete"),
    ("GET", "credentials", "credentials:view"),
    ("POST", "credentials", "credentials:create"),
    ("GET", "credentials/x", "credentials:view"),
    ("PUT", "credentials/x", "credentials:update"),
    ("DELETE", "credentials/x", "credentials:delete"),
    ("GET", "variables", "variables:view"),
    ("POST", "variables", "variables:create"),
    ("PUT", "variables/x", "variables:update"),
    ("DELETE", "variables/x", "variables:delete"),
    ("GET", "apikey", "apikeys:view"),
    ("POST", "apikey", "apikeys:create"),
    ("DELETE", "apikey/x", "apikeys:delete"),
    ("POST", "vector/upsert/x", "chatflows:update"),
    ("GET", "upsert-history/x", "chatflows:view"),
    ("PATCH", "upsert-history", "chatflows:update"),
    ("GET", f"feedback/{UNKNOWN}", "chatflows:view"),
    ("GET", f"leads/{UNKNOWN}", "chatflows:view"),
]
PUBLIC = ["ping", "version", "chatflows-streaming/{}", "public-chatbotConfig/{}", "chatflows-uploads/{}", "widget.js"]


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server behind a proxy on this machine, which one web site may call everywhere."""
    settings = {"HEADRACE_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.9", "HEADRACE_CORS_ORIGINS": "https://ops.example"}
    with serving(tmp_path_factory.mktemp("behind") / "data", **settings) as server:
        yield server


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def new_key(server: Server, *permissions: str) -> dict[str, Any]:
    return server.send("POST", "/api/v1/apikey", {"keyName": "k", "permissions": permissions}, admin=True).json


def ask(server: Server, flow_id: str, streaming: bool, headers: dict[str, str]) -> Reply:
    body = {"question": "/say Hi", "streaming": streaming}
    return server.send("POST", f"/api/v1/prediction/{flow_id}", body, headers)


# Keys


@pytest.mark.parametrize(("method", "path", "permission"), ADMIN, ids=[f"{m} {p}" for m, p, _ in ADMIN])
def test_administration_needs_a_key_with_the_permission(
    server: Server, method: str, path: str, permission: str
) -> None:
    body = {"name": "x"} if method in ("POST", "PUT") else None
    address = f"/api/v1/{path}"
    without = refused(server.send(method, address, body), 401, "unauthorized")
    assert "Authorization: Bearer <key>" in without
    for wrong in ("Bearer wrong", f"Bearer {KEY}x", "Bearer ", "Basic x", f"Bearer {KEY[:-1]}"):
        assert refused(server.send(method, address, body, {"Authorization": wrong}), 401, "unauthorized") == without
    others = {"tools:view", "chatflows:view", "chatflows:update"} - {permission}
    other = new_key(server, *others)["apiKey"]
    message = refused(server.send(method, address, body, bearer(other)), 403, "forbidden")
    assert repr(permission) in message
    fitting = new_key(server, permission)["apiKey"]
    assert server.send(method, address, body, bearer(fitting)).status in (200, 400, 404)


def test_a_key_is_taken_without_the_word_bearer_too(server: Server) -> None:
    assert server.send("GET", "/api/v1/variables", headers={"Authorization": KEY}).status == 200


def test_a_deleted_key_opens_nothing(server: Server) -> None:
    made = new_key(server, "*")
    assert server.send("GET", "/api/v1/variables", headers=bearer(made["apiKey"])).status == 200
    server.send("DELETE", f"/api/v1/apikey/{made['id']}", admin=True)
    refused(server.send("GET", "/api/v1/variables", headers=bearer(made["apiKey"])), 401, "unauthorized")


@pytest.mark.parametrize("path", PUBLIC)
def test_what_the_published_clients_ask_first_needs_no_key(server: Server, chat: str, path: str) -> None:
    assert server.send("GET", f"/api/v1/{path.format(chat)}").status == 200


@BOTH
def test_a_flow_bound_to_a_key_answers_only_with_that_key(server: Server, upstream: Upstream, streaming: bool) -> None:
    made, other = new_key(server), new_key(server, "*")
    flow_id = server.create_flow(conversation(upstream.url), apikeyid=made["id"])
    for headers in ({}, bearer("wrong"), bearer(other["apiKey"]), bearer(KEY)):
        message = refused(ask(server, flow_id, streaming, headers), 401, "unauthorized")
        assert "this flow needs its API key" in message
    assert nothing_stored(server, flow_id)
    assert upstream.requests == []
    reply = ask(server, flow_id, streaming, bearer(made["apiKey"]))
    assert reply.status == 200
    assert (reply.kinds[-1] if streaming else reply.json["text"]) == ("end" if streaming else "Hi")
    assert server.send("GET", f"/api/v1/chatflows-streaming/{flow_id}").json == {"isStreaming": True}


@pytest.mark.parametrize("nobody", ["", None])
def test_a_flow_is_bound_and_freed_without_a_restart(server: Server, chat: str, nobody: str | None) -> None:
    made = new_key(server)
    server.send("PUT", f"/api/v1/chatflows/{chat}", {"apikeyid": made["id"]}, admin=True)
    refused(ask(server, chat, False, {}), 401, "unauthorized")
    server.send("PUT", f"/api/v1/chatflows/{chat}", {"apikeyid": nobody}, admin=True)
    assert ask(server, chat, False, {}).status == 200


# Origins

SITES = {"allowedOrigins": ["https://shop.example", "http://localhost:8080"], "allowedOriginsError": "Wrong shop!"}


@pytest.mark.parametrize("origin", ["https://shop.example", "http://shop.example", "http://localhost:8080", None])
@BOTH
def test_sites_that_the_flow_names_and_callers_without_a_site_may_ask(
    server: Server, upstream: Upstream, origin: str | None, streaming: bool
) -> None:
    flow_id = server.create_flow(conversation(upstream.url), chatbotConfig=json.dumps(SITES))
    reply = ask(server, flow_id, streaming, {"Origin": origin} if origin else {})
    assert reply.status == 200
    assert reply.headers["Access-Control-Allow-Origin"] == origin
    assert reply.headers["Vary"] == ("Origin" if origin else None)
    assert (reply.headers["Access-Control-Expose-Headers"] or "").startswith("X-Run-Id") is bool(origin)


@pytest.mark.parametrize("origin", ["https://evil.example", "https://shop.example.evil", "http://localhost", "null"])
def test_other_sites_are_refused_as_json_and_as_text_when_a_stream_was_asked_for(
    server: Server, upstream: Upstream, origin: str
) -> None:
    flow_id = server.create_flow(conversation(upstream.url), chatbotConfig=json.dumps(SITES))
    reply = ask(server, flow_id, False, {"Origin": origin})
    assert refused(reply, 403, "origin_refused") == "Wrong shop!"
    assert reply.headers["Access-Control-Allow-Origin"] is None
    streamed = ask(server, flow_id, True, {"Origin": origin})
    assert (streamed.status, streamed.text) == (403, "Wrong shop!")
    assert streamed.headers["Content-Type"].startswith("text/plain")
    assert nothing_stored(server, flow_id)
    assert upstream.requests == []


@pytest.mark.parametrize("sites", [None, [], [""]])
def test_a_flow_that_names_no_site_is_open_to_all(server: Server, upstream: Upstream, sites: list[str] | None) -> None:
    flow_id = server.create_flow(conversation(upstream.url), chatbotConfig={"allowedOrigins": sites})
    reply = ask(server, flow_id, True, {"Origin": "https://any.example"})
    assert reply.kinds[-1] == "end"
    assert reply.headers["Access-Control-Allow-Origin"] == "https://any.example"


def preflight(server: Server, path: str, origin: str) -> Reply:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,authorization"}
    return server.send("OPTIONS", path, headers={"Origin": origin, **asked})


@pytest.mark.parametrize("path", ["prediction", "predictions", "public-chatbotConfig", "chatflows-streaming"])
def test_a_preflight_is_answered_as_the_flow_allows(server: Server, upstream: Upstream, path: str) -> None:
    flow_id = server.create_flow(conversation(upstream.url), chatbotConfig=SITES)
    allowed = preflight(server, f"/api/v1/{path}/{flow_id}", "https://shop.example")
    assert (allowed.status, allowed.body) == (204, b"")
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert allowed.headers["Access-Control-Allow-Methods"] == "POST"
    assert allowed.headers["Access-Control-Allow-Headers"] == "content-type,authorization"
    denied = preflight(server, f"/api/v1/{path}/{flow_id}", "https://evil.example")
    assert denied.headers["Access-Control-Allow-Origin"] is None
    assert denied.headers["Access-Control-Allow-Methods"] is None


@pytest.mark.parametrize("path", [f"prediction/{UNKNOWN}", "prediction/x", "chatflows", "apikey"])
def test_no_site_gets_permission_where_no_flow_gives_it(server: Server, path: str) -> None:
    assert preflight(server, f"/api/v1/{path}", "https://any.example").headers["Access-Control-Allow-Origin"] is None
    reply = server.send("GET", f"/api/v1/{path}", headers={"Origin": "https://any.example"}, admin=True)
    assert reply.headers["Access-Control-Allow-Origin"] is None


def test_a_flows_sites_may_call_what_belongs_to_its_runs(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(conversation(upstream.url), chatbotConfig=SITES)
    run = server.ask(flow_id, "Hi", background=True).json
    about = f"runs?flowId={flow_id}&chatId={run['chatId']}"
    paths = [f"runs/{run['id']}", f"runs/{run['id']}/events", f"runs/{run['id']}/cancel", about]
    for path in [*paths, f"chatmessage/abort/{flow_id}/{run['chatId']}"]:
        allowed = preflight(server, f"/api/v1/{path}", "https://shop.example")
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://shop.example", path
        denied = preflight(server, f"/api/v1/{path}", "https://evil.example")
        assert denied.headers["Access-Control-Allow-Origin"] is None, path
    events = server.send("GET", f"/api/v1/{paths[1]}", headers={"Origin": "https://shop.example"})
    assert (events.headers["Access-Control-Allow-Origin"], events.kinds[-1]) == ("https://shop.example", "end")
    assert server.send("GET", f"/api/v1/{paths[1]}", headers={"Origin": "https://evil.example"}).status == 403


def test_any_page_may_hear_that_a_run_is_unknown(server: Server) -> None:
    reply = server.send("GET", f"/api/v1/runs/{'0' * 32}", headers={"Origin": "https://any.example"})
    assert refused(reply, 404, "run_not_found")
    assert reply.headers["Access-Control-Allow-Origin"] == "https://any.example"


def test_the_operators_sites_may_call_every_endpoint(behind: Server) -> None:
    ours = {"Origin": "https://ops.example"}
    reply = behind.send("GET", "/api/v1/chatflows", headers=ours, admin=True)
    assert reply.headers["Access-Control-Allow-Origin"] == "https://ops.example"
    assert preflight(behind, "/api/v1/apikey", "https://ops.example").headers["Access-Control-Allow-Methods"] == "POST"
    unauthorized = behind.send("GET", "/api/v1/chatflows", headers=ours)
    assert unauthorized.headers["Access-Control-Allow-Origin"] == "https://ops.example"
    assert preflight(behind, "/api/v1/apikey", "https://other.example").headers["Access-Control-Allow-Origin"] is None


# Rate limits


def limited(server: Server, base: str, **more: Any) -> str:
    limit = {"limitDuration": 60, "limitMax": 2, "limitMsg": "Slow down, please", **more}
    return server.create_flow(conversation(base), apiConfig={"rateLimit": limit})


@BOTH
def test_a_caller_over_the_rate_limit_hears_the_flows_message_and_when_to_come_back(
    server: Server, upstream: Upstream, streaming: bool
) -> None:
    flow_id = limited(server, upstream.url)
    assert [ask(server, flow_id, streaming, {}).status for _ in range(2)] == [200, 200]
    over = ask(server, flow_id, streaming, {})
    assert (over.status, over.text) == (429, "Slow down, please")
    assert 1 <= int(over.headers["Retry-After"]) <= 60
    assert len(upstream.requests) == 2


def test_limits_count_each_flow_by_itself_and_may_be_texts(server: Server, upstream: Upstream) -> None:
    first = limited(server, upstream.url, limitMax="1", limitDuration="60", limitMsg="")
    second = limited(server, upstream.url, limitMax="1")
    assert [ask(server, first, False, {}).status for _ in range(2)] == [200, 429]
    assert ask(server, first, False, {}).text == "too many requests: try again later"
    assert ask(server, second, False, {}).status == 200


@pytest.mark.parametrize("more", [{"status": False}, {"limitMax": None}, {"limitDuration": ""}, {"limitMax": 0}])
def test_a_limit_that_is_off_or_not_whole_limits_nothing(
    server: Server, upstream: Upstream, more: dict[str, Any]
) -> None:
    flow_id = limited(server, upstream.url, **more)
    assert [ask(server, flow_id, False, {}).status for _ in range(4)] == [200] * 4


def test_a_refused_request_counts_too(server: Server, upstream: Upstream) -> None:
    flow_id = limited(server, upstream.url)
    for _ in range(2):
        assert server.send("POST", f"/api/v1/prediction/{flow_id}", b"{").status == 400
    assert ask(server, flow_id, False, {}).status == 429


def test_a_caller_cannot_evade_the_limit_with_a_forwarding_header(server: Server, upstream: Upstream) -> None:
    flow_id = limited(server, upstream.url)
    statuses = [ask(server, flow_id, False, {"X-Forwarded-For": f"1.2.3.{n}"}).status for n in range(4)]
    assert statuses == [200, 200, 429, 429]


def test_behind_a_trusted_proxy_each_caller_has_a_limit_of_its_own(behind: Server, upstream: Upstream) -> None:
    flow_id = limited(behind, upstream.url)

    def status(forwarded: str) -> int:
        return ask(behind, flow_id, False, {"X-Forwarded-For": forwarded}).status

    assert [status("1.2.3.4") for _ in range(3)] == [200, 200, 429]
    assert status("1.2.3.5") == 200
    # What stands left of the first address that no trusted proxy wrote, the caller may have made up.
    assert status("9.9.9.9, 1.2.3.4") == 429
    assert status("9.9.9.9, 1.2.3.4, 10.0.0.9") == 429
