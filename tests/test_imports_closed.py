"""Imported flows are no more open than they were: what closed a door there closes it here, whichever way they came."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from admin import call, ok
from refusals import refused
from servers import KEY, Server, conversation, serving
from upstream import Upstream

OLD_KEY = "6a0c1f7e-2d0b-4c55-9a51-1b1e3a9f0c11"


def row(upstream: Upstream, **more: Any) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "name": f"Bound {uuid.uuid4()}",
        "flowData": json.dumps(conversation(upstream.url)),
        "type": "CHATFLOW",
        **more,
    }


Door = Callable[[Server, dict[str, Any], Path], dict[str, Any]]


def by_command(server: Server, content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The command beside a running server; its output in the shape of the route's answer."""
    file = folder / "ExportData.json"
    file.write_text(json.dumps(content))
    command = [sys.executable, "-m", "headrace", "--data-dir", str(server.folder), "import", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = [line for line in done.stdout.split("\n") if line.startswith("API key ")]
    keys = [{"apiKey": line.rpartition(": ")[2]} for line in lines]
    return {"keys": keys, "notes": done.stderr.strip().split("\n")}


def by_route(server: Server, content: dict[str, Any], _: Path) -> dict[str, Any]:
    return ok(call(server, "POST", "export-import/import", content))


DOORS: dict[str, Door] = {"command": by_command, "route": by_route}
SHAPES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "an export": lambda flow: {"ChatFlow": [flow]},
    "a stored row": lambda flow: flow,
    "an export of agent flows": lambda flow: {"AgentFlow": [flow]},
}


def named(server: Server, name: str) -> dict[str, Any]:
    (found,) = [flow for flow in ok(call(server, "GET", "chatflows")) if flow["name"] == name]
    return found


def opened(server: Server, flow_id: str, key: str = "") -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return server.send("POST", f"/api/v1/prediction/{flow_id}", {"question": "/say Hi"}, headers).status


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("door", DOORS)
def test_a_flow_that_was_bound_to_a_key_stays_bound(
    server: Server, upstream: Upstream, tmp_path: Path, door: str, shape: str
) -> None:
    flow = row(upstream, apikeyid=str(uuid.uuid4()))
    done = DOORS[door](server, SHAPES[shape](flow), tmp_path)
    stored = named(server, flow["name"])
    (key,) = done["keys"]
    assert [opened(server, stored["id"]), opened(server, stored["id"], KEY)] == [401, 401]
    assert opened(server, stored["id"], key["apiKey"]) == 200
    (note,) = [note for note in done["notes"] if flow["name"] in note]
    assert "was bound to an API key and is locked" in note
    # The new key opens this and nothing else.
    reply = server.send("GET", "/api/v1/chatflows", headers={"Authorization": f"Bearer {key['apiKey']}"})
    refused(reply, 403, "forbidden")


@pytest.mark.parametrize("apikeyid", ["not-a-uuid", " ", 7])
def test_a_key_id_of_another_form_closes_a_flow_as_well(server: Server, upstream: Upstream, apikeyid: Any) -> None:
    flow = row(upstream, apikeyid=apikeyid)
    (key,) = by_route(server, {"ChatFlow": [flow]}, Path())["keys"]
    stored = named(server, flow["name"])
    assert (opened(server, stored["id"]), opened(server, stored["id"], key["apiKey"])) == (401, 200)


@pytest.mark.parametrize("apikeyid", ["", None])
def test_a_flow_without_a_key_is_as_open_as_it_was(server: Server, upstream: Upstream, apikeyid: Any) -> None:
    flow = row(upstream, apikeyid=apikeyid)
    assert by_route(server, {"ChatFlow": [flow]}, Path())["keys"] == []
    assert opened(server, named(server, flow["name"])["id"]) == 200


def test_flows_that_shared_a_key_share_one_and_a_second_import_makes_none(server: Server, upstream: Upstream) -> None:
    flows = [row(upstream, apikeyid=OLD_KEY) for _ in range(2)]
    first = by_route(server, {"ChatFlow": flows}, Path())
    (key,) = first["keys"]
    assert [opened(server, flow["id"], key["apiKey"]) for flow in first["flows"]] == [200, 200]
    again = by_route(server, {"ChatFlow": flows}, Path())
    assert again["keys"] == []
    assert all("here already" in note for note in again["notes"])
    assert [opened(server, flow["id"]) for flow in again["flows"]] == [401, 401]
    assert [opened(server, flow["id"], key["apiKey"]) for flow in again["flows"]] == [200, 200]


def test_creating_or_changing_a_flow_with_a_key_that_is_not_here_is_refused(server: Server, upstream: Upstream) -> None:
    unknown = row(upstream, apikeyid=str(uuid.uuid4()))
    assert "no API key" in refused(call(server, "POST", "chatflows", unknown), 400, "invalid_request")
    bound = by_route(server, {"ChatFlow": [row(upstream, apikeyid=str(uuid.uuid4()))]}, Path())["flows"][0]
    changed = {"apikeyid": str(uuid.uuid4())}
    refused(call(server, "PUT", f"chatflows/{bound['id']}", changed), 400, "invalid_request")
    ok(call(server, "PUT", f"chatflows/{bound['id']}", {"name": bound["name"]}))
    assert opened(server, bound["id"]) == 401


OTHER_DOORS: dict[str, tuple[dict[str, Any], int, str]] = {
    "a rate limit": ({"apiConfig": {"rateLimit": {"limitMax": 0.5, "limitDuration": 60}}}, 422, ""),
    "a rate limit of texts": ({"apiConfig": {"rateLimit": {"limitMax": "1", "limitDuration": "60"}}}, 429, ""),
    "allowed origins": ({"chatbotConfig": {"allowedOrigins": ["https://shop.example"]}}, 403, "https://other.example"),
    "unreadable origins": ({"chatbotConfig": {"allowedOrigins": "https://shop.example"}}, 422, "https://other.example"),
    "an unreadable configuration": ({"chatbotConfig": "{"}, 422, ""),
}


@pytest.mark.parametrize("as_text", [True, False], ids=["text", "object"])
@pytest.mark.parametrize(("columns", "status", "origin"), OTHER_DOORS.values(), ids=OTHER_DOORS.keys())
def test_limits_and_origins_come_along(
    server: Server, upstream: Upstream, columns: dict[str, Any], status: int, origin: str, as_text: bool
) -> None:
    given = {k: json.dumps(v) if as_text and not isinstance(v, str) else v for k, v in columns.items()}
    flow = row(upstream, **given)
    (stored,) = by_route(server, {"ChatFlow": [flow]}, Path())["flows"]
    path, headers = f"/api/v1/prediction/{stored['id']}", {"Origin": origin} if origin else {}
    replies = [server.send("POST", path, {"question": "/say Hi"}, headers).status for _ in range(2)]
    assert replies[-1] == status


def test_what_callers_may_override_comes_along(server: Server, upstream: Upstream) -> None:
    allowed = {"overrideConfig": {"status": True, "nodes": {"OpenAI": [{"name": "modelName", "enabled": True}]}}}
    for config, model in ((allowed, "theirs"), ({"overrideConfig": {"status": False}}, None), (None, None)):
        (stored,) = by_route(server, {"ChatFlow": [row(upstream, apiConfig=config)]}, Path())["flows"]
        server.ask(stored["id"], "/say Hi", overrideConfig={"modelName": "theirs"})
        assert (upstream.requests[-1].body["model"] == "theirs") is (model is not None)


@pytest.mark.parametrize(("given", "shown"), [(True, True), (1, True), (False, False), (0, False), (None, False)])
def test_a_flow_is_public_only_if_it_was(server: Server, upstream: Upstream, given: Any, shown: bool) -> None:
    (stored,) = by_route(server, {"ChatFlow": [row(upstream, isPublic=given, deployed=given)]}, Path())["flows"]
    assert (stored["isPublic"], stored["deployed"]) == (shown, shown)
    assert server.send("GET", f"/api/v1/public-chatflows/{stored['id']}").status == (200 if shown else 401)


def test_what_does_not_work_here_is_told_for_each_flow(server: Server, upstream: Upstream) -> None:
    settings: dict[str, Any] = {
        "analytic": '{"langFuse": {"status": true}}',
        "speechToText": '{"openAIWhisper": {"status": true}}',
        "textToSpeech": '{"openai": {"status": true}}',
        "mcpServerConfig": '{"enabled": true}',
        "webhookSecretConfigured": True,
        "apikeyid": None,
    }
    off = {"analytic": '{"langFuse": {"status": false}}', "speechToText": None, "apikeyid": None}
    loud, quiet = row(upstream, **settings), row(upstream, **off)
    variables = [
        {"id": "1", "name": f"blank {uuid.uuid4()}", "value": "", "type": "static"},
        {"id": "2", "name": f"runtime {uuid.uuid4()}", "value": "", "type": "runtime"},
    ]
    notes = by_route(server, {"ChatFlow": [loud, quiet], "Variable": variables}, Path())["notes"]
    assert sum(loud["name"] in note for note in notes) == 5
    assert sum(variables[0]["name"] in note for note in notes) == 1
    assert len(notes) == 6


def test_an_export_without_settings_says_that_they_are_missing(server: Server, upstream: Upstream) -> None:
    (note,) = by_route(server, {"ChatFlow": [row(upstream)]}, Path())["notes"]
    assert "API key" in note
    assert by_route(server, {"ChatFlow": [row(upstream, apikeyid=None)]}, Path())["notes"] == []


def test_dates_come_along(server: Server, upstream: Upstream) -> None:
    dates = {"createdDate": "2024-03-01T10:00:00.000Z", "updatedDate": "2025-03-01T10:00:00.000Z"}
    variable = {"id": "1", "name": f"dated {uuid.uuid4()}", "value": "x", "type": "static", **dates}
    tool = {"name": f"dated_{uuid.uuid4().hex}", "func": "return 1", **dates}
    content = {"ChatFlow": [row(upstream, apikeyid=None, **dates)], "Variable": [variable], "Tool": [tool]}
    done = by_route(server, content, Path())
    rows = [
        done["flows"][0],
        *(one for one in ok(call(server, "GET", "variables")) if one["name"] == variable["name"]),
        *(one for one in ok(call(server, "GET", "tools")) if one["name"] == tool["name"]),
    ]
    assert [{name: row[name] for name in dates} for row in rows] == [dates] * 3


def test_importing_needs_the_permission_to_create_what_the_file_holds(tmp_path: Path, upstream: Upstream) -> None:
    tool = {"name": "twice", "func": "return 2"}
    with serving(tmp_path / "data") as server:
        tries: list[tuple[list[str], dict[str, Any], int]] = [
            (["chatflows:create"], {"ChatFlow": [row(upstream)]}, 200),
            (["chatflows:create"], {"ChatFlow": [row(upstream)], "Tool": [tool]}, 403),
            (["chatflows:view"], {"ChatFlow": [row(upstream)]}, 403),
            (["workspace:import"], {"ChatFlow": [row(upstream)], "Tool": [tool]}, 200),
        ]
        for permissions, content, status in tries:
            made = ok(call(server, "POST", "apikey", {"keyName": "k", "permissions": permissions}))
            headers = {"Authorization": f"Bearer {made['apiKey']}"}
            assert server.send("POST", "/api/v1/export-import/import", content, headers).status == status
        assert server.send("POST", "/api/v1/export-import/import", {"ChatFlow": []}).status == 401
        assert len(ok(call(server, "GET", "chatflows"))) == 2
