"""A key gives away only what it has, and touches no key above itself."""

import json
from typing import Any

import pytest
from servers import KEY, Reply, Server, conversation
from upstream import Upstream


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def made(server: Server, *permissions: str, by: str = KEY) -> Reply:
    body = {"keyName": "k", "permissions": permissions}
    return server.send("POST", "/api/v1/apikey", body, bearer(by))


def key(server: Server, *permissions: str) -> dict[str, Any]:
    reply = made(server, *permissions)
    assert reply.status == 200, reply.text
    return reply.json


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ([], 200),
        (["apikeys:create"], 200),
        (["tools:view", "apikeys:create"], 200),
        (["*"], 403),
        (["tools:delete"], 403),
        (["tools:view", "*"], 403),
    ],
)
def test_a_key_gives_only_permissions_that_it_has(server: Server, asked: list[str], status: int) -> None:
    maker = key(server, "apikeys:create", "tools:view")["apiKey"]
    reply = made(server, *asked, by=maker)
    assert reply.status == status
    if status == 403:
        assert reply.json["code"] == "forbidden"


def test_a_key_that_names_no_permissions_would_have_all_and_needs_all(server: Server) -> None:
    maker = key(server, "apikeys:create")["apiKey"]
    assert server.send("POST", "/api/v1/apikey", {"keyName": "root"}, bearer(maker)).status == 403


@pytest.mark.parametrize("unknown", ["chatflows:views", "everything", "", "* ", "chatflows:*", "Chatflows:view"])
def test_a_permission_that_nothing_asks_for_is_refused(server: Server, unknown: str) -> None:
    reply = made(server, "tools:view", unknown)
    assert (reply.status, reply.json["code"]) == (400, "invalid_request")
    assert repr(unknown) in reply.json["message"]
    assert "tools:view" in reply.json["message"]


def test_a_key_deletes_no_key_above_itself(server: Server) -> None:
    above, beside = key(server, "*"), key(server, "apikeys:delete")
    deleter = key(server, "apikeys:delete")["apiKey"]
    assert server.send("DELETE", f"/api/v1/apikey/{above['id']}", headers=bearer(deleter)).status == 403
    assert server.send("GET", "/api/v1/apikey", headers=bearer(above["apiKey"])).status == 200
    assert server.send("DELETE", f"/api/v1/apikey/{beside['id']}", headers=bearer(deleter)).status == 200
    assert server.send("DELETE", "/api/v1/apikey/none", headers=bearer(deleter)).status == 404


def test_a_key_binds_flows_to_no_key_above_itself_and_frees_none_from_one(server: Server, upstream: Upstream) -> None:
    above, below = key(server, "*"), key(server)
    editor = bearer(key(server, "chatflows:create", "chatflows:update", "chatflows:view")["apiKey"])
    row = {"name": "x", "flowData": json.dumps(conversation(upstream.url))}
    assert server.send("POST", "/api/v1/chatflows", {**row, "apikeyid": above["id"]}, editor).status == 403
    own = server.send("POST", "/api/v1/chatflows", {**row, "apikeyid": below["id"]}, editor)
    assert own.status == 200
    path = f"/api/v1/chatflows/{own.json['id']}"
    assert server.send("PUT", path, {"apikeyid": above["id"]}, editor).status == 403
    assert server.send("PUT", path, {"apikeyid": above["id"]}, admin=True).status == 200
    for freed in (None, "", below["id"]):
        assert server.send("PUT", path, {"apikeyid": freed}, editor).status == 403
    whole = server.send("PUT", path, {"name": "y", "apikeyid": above["id"]}, editor)  # as builders send it back
    assert (whole.status, whole.json["apikeyid"]) == (200, above["id"])
