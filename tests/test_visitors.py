"""What visitors of a chat leave: ratings of answers, and how to reach them."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from refusals import refused
from servers import Reply, Server, conversation
from test_access import UNKNOWN, bearer, limited, new_key, preflight
from upstream import Upstream

SHOP = "https://shop.example"
EVIL = "https://evil.example"


def answered(server: Server, flow: str, chat: str, question: str = "/say Hi") -> str:
    """Asks, and returns the answer's message id."""
    return server.ask(flow, question, chatId=chat).json["chatMessageId"]


def rate(server: Server, flow: str, message: str, rating: str = "THUMBS_UP", **more: Any) -> Reply:
    body = {"chatflowid": flow, "messageId": message, "rating": rating, "content": "", **more}
    return server.send("POST", f"/api/v1/feedback/{flow}", body)


def ratings(server: Server, flow: str, query: str = "") -> list[dict[str, Any]]:
    return server.send("GET", f"/api/v1/feedback/{flow}?{query}", admin=True).json


def messages(server: Server, flow: str, query: str) -> list[dict[str, Any]]:
    return server.send("GET", f"/api/v1/chatmessage/{flow}?{query}", admin=True).json


def test_a_rating_is_stored_changed_and_read(server: Server, chat: str) -> None:
    message = answered(server, chat, "a")
    reply = rate(server, chat, message, chatId="a")
    assert reply.status == 200
    stored = reply.json
    assert {**stored, "id": "", "createdDate": ""} == {
        "chatflowid": chat, "chatId": "a", "messageId": message, "rating": "THUMBS_UP", "content": "",
        "id": "", "createdDate": "",
    }  # fmt: skip
    changed = server.send("PUT", f"/api/v1/feedback/{stored['id']}", {"content": "meh"})
    assert (changed.status, changed.json) == (200, {"status": "OK"})
    assert ratings(server, chat) == [{**stored, "content": "meh"}]
    server.send("PUT", f"/api/v1/feedback/{stored['id']}", {"rating": "THUMBS_DOWN", "messageId": UNKNOWN})
    assert ratings(server, chat) == [{**stored, "content": "meh", "rating": "THUMBS_DOWN"}]


def test_an_answer_has_one_rating_the_last(server: Server, chat: str) -> None:
    message = answered(server, chat, "a")
    first = rate(server, chat, message).json
    again = rate(server, chat, message, "THUMBS_DOWN", content="no").json
    assert again == {**first, "rating": "THUMBS_DOWN", "content": "no"}
    assert ratings(server, chat) == [again]


def test_ratings_are_read_by_chat_date_and_order(server: Server, chat: str) -> None:
    one, two = (rate(server, chat, answered(server, chat, name)).json for name in "ab")
    assert ratings(server, chat) == [one, two]
    assert ratings(server, chat, "order=DESC") == [two, one]
    assert ratings(server, chat, "chatId=b") == [two]
    assert ratings(server, chat, f"startDate={one['createdDate']}&endDate=2999-01-01") == [one, two]
    assert ratings(server, chat, "endDate=2020-01-01") == []


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"rating": "THUMBS_UP"}, 400, "messageId"),
        ({"messageId": UNKNOWN}, 400, "rating"),
        ({"messageId": UNKNOWN, "rating": "FIVE_STARS"}, 400, "FIVE_STARS"),
        ({"messageId": UNKNOWN, "rating": "THUMBS_UP"}, 404, UNKNOWN),
        ({"messageId": "{own}", "rating": "THUMBS_UP", "chatId": "other"}, 400, "'other'"),
        ({"messageId": "{own}", "rating": "THUMBS_UP", "chatflowid": UNKNOWN}, 400, UNKNOWN),
        ({"messageId": "{own}", "rating": "THUMBS_UP", "content": "x" * 10_001}, 400, "10000"),
        ({"messageId": "{foreign}", "rating": "THUMBS_UP"}, 404, "this flow has no message"),
    ],
)
def test_a_rating_belongs_to_an_answer_of_its_flow(
    server: Server, upstream: Upstream, chat: str, body: dict[str, Any], status: int, reason: str
) -> None:
    other = server.create_flow(conversation(upstream.url))
    ids = {"{own}": answered(server, chat, "a"), "{foreign}": answered(server, other, "a")}
    sent = {**body, **({"messageId": ids[key]} if (key := body.get("messageId")) in ids else {})}
    kind = "not_found" if status == 404 else "invalid_request"
    assert reason in refused(server.send("POST", f"/api/v1/feedback/{chat}", sent), status, kind)
    assert ratings(server, chat) == ratings(server, other) == []


def test_a_rating_goes_with_its_message(server: Server, chat: str) -> None:
    stored = rate(server, chat, answered(server, chat, "a")).json
    server.send("DELETE", f"/api/v1/chatmessage/{chat}?chatId=a", admin=True)
    assert ratings(server, chat) == []
    refused(server.send("PUT", f"/api/v1/feedback/{stored['id']}", {"content": "x"}), 404, "not_found")


def test_messages_come_with_their_ratings_when_these_are_asked_for(server: Server, chat: str) -> None:
    up, down, none = (answered(server, chat, name) for name in ("a", "a", "b"))
    good, bad = rate(server, chat, up).json, rate(server, chat, down, "THUMBS_DOWN").json
    assert all("feedback" not in message for message in messages(server, chat, ""))
    found = messages(server, chat, "feedback=true")
    assert [message["feedback"] for message in found] == [None, good, None, bad, None, None]
    assert [m["id"] for m in messages(server, chat, "feedback=true&feedbackType=THUMBS_DOWN")] == [
        message["id"] for message in found[2:4]
    ]
    both = quote(json.dumps(["THUMBS_UP", "THUMBS_DOWN"]))
    turned = messages(server, chat, f"feedback=true&order=DESC&feedbackType={both}")
    assert [message["id"] for message in turned] == [message["id"] for message in found[3::-1]]
    assert [m["id"] for m in messages(server, chat, f"feedback=true&messageId={none}")] == [none]


def test_with_ratings_messages_come_by_pages_of_sessions(server: Server, chat: str) -> None:
    for name in ("a", "b", "a", "c"):
        answered(server, chat, name)

    def sessions(query: str) -> list[str]:
        return [message["sessionId"] for message in messages(server, chat, f"feedback=true&limit=2&{query}")]

    assert sessions("page=1") == ["a", "a", "b", "b", "a", "a"]
    assert sessions("page=2") == ["c", "c"]
    assert sessions("page=1&order=DESC") == ["c", "c", "a", "a", "a", "a"]
    assert sessions("page=3") == []


# Leads


def leave(server: Server, **body: Any) -> Reply:
    return server.send("POST", "/api/v1/leads/", body)


def test_a_lead_is_stored_and_read_with_a_key_only(server: Server, chat: str) -> None:
    reply = leave(server, chatflowid=chat, chatId="a", name="Eve", email="eve@example.com")
    assert reply.status == 200
    lead = reply.json
    assert (lead["chatflowid"], lead["chatId"], lead["name"], lead["email"]) == (chat, "a", "Eve", "eve@example.com")
    nameless = leave(server, chatflowid=chat, phone="123").json
    assert nameless["chatId"]
    assert server.send("GET", f"/api/v1/leads/{chat}", admin=True).json == [lead, nameless]
    refused(server.send("GET", f"/api/v1/leads/{chat}"), 401, "unauthorized")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"chatflowid": "x"}, 400, "invalid_request"),
        ({"chatflowid": UNKNOWN}, 404, "flow_not_found"),
        ({"chatflowid": UNKNOWN, "name": 1}, 400, "invalid_request"),
        ({"chatflowid": UNKNOWN, "email": "x" * 1001}, 400, "invalid_request"),
    ],
)
def test_a_lead_belongs_to_a_flow(server: Server, body: dict[str, Any], status: int, code: str) -> None:
    assert refused(leave(server, **body), status, code)


def test_leads_have_the_flows_rate_limit_for_themselves(server: Server, upstream: Upstream) -> None:
    flow = limited(server, upstream.url)
    assert server.ask(flow, "/say Hi").status == 200
    assert [leave(server, chatflowid=flow).status for _ in range(3)] == [200, 200, 429]
    assert server.ask(flow, "/say Hi").status == 200


def test_leads_go_with_their_flow(server: Server, chat: str) -> None:
    leave(server, chatflowid=chat, name="Eve")
    server.send("DELETE", f"/api/v1/chatflows/{chat}", admin=True)
    assert chat in refused(server.send("GET", f"/api/v1/leads/{chat}", admin=True), 404, "flow_not_found")


# Who may


def test_visitors_of_a_flow_with_a_key_leave_nothing_without_it(server: Server, upstream: Upstream) -> None:
    made = new_key(server)
    flow = server.create_flow(conversation(upstream.url), apikeyid=made["id"])
    message = server.send(
        "POST", f"/api/v1/prediction/{flow}", {"question": "/say Hi"}, bearer(made["apiKey"])
    ).json["chatMessageId"]  # fmt: skip
    body = {"messageId": message, "rating": "THUMBS_UP", "chatflowid": flow}
    refused(server.send("POST", f"/api/v1/feedback/{flow}", body), 401, "unauthorized")
    refused(leave(server, chatflowid=flow, name="Eve"), 401, "unauthorized")
    stored = server.send("POST", f"/api/v1/feedback/{flow}", body, bearer(made["apiKey"]))
    assert stored.status == 200
    refused(server.send("PUT", f"/api/v1/feedback/{stored.json['id']}", {"content": "x"}), 401, "unauthorized")


def test_only_pages_of_the_flows_sites_leave_something(server: Server, upstream: Upstream) -> None:
    flow = server.create_flow(conversation(upstream.url), chatbotConfig={"allowedOrigins": [SHOP]})
    message = answered(server, flow, "a")
    rating = {"messageId": message, "rating": "THUMBS_UP"}
    stored = server.send("POST", f"/api/v1/feedback/{flow}", rating, {"Origin": SHOP})
    assert (stored.status, stored.headers["Access-Control-Allow-Origin"]) == (200, SHOP)
    path = f"/api/v1/feedback/{stored.json['id']}"
    lead = {"chatflowid": flow, "name": "Eve"}
    kept = server.send("POST", "/api/v1/leads/", lead, {"Origin": SHOP})
    assert (kept.status, kept.headers["Access-Control-Allow-Origin"]) == (200, SHOP)
    for method, where, body in (
        ("POST", f"/api/v1/feedback/{flow}", rating), ("PUT", path, {"content": "x"}), ("POST", "/api/v1/leads/", lead),
    ):  # fmt: skip
        assert preflight(server, where, SHOP).headers["Access-Control-Allow-Origin"] == SHOP
        refused(server.send(method, where, body, {"Origin": EVIL}), 403, "origin_refused")
    for where in (f"/api/v1/feedback/{flow}", path):
        assert preflight(server, where, EVIL).headers["Access-Control-Allow-Origin"] is None
