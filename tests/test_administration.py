"""Flows, credentials, variables, API keys and messages over HTTP, and the page that describes it all."""

import json
import stat
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from admin import call, ok
from refusals import refused
from servers import Server, conversation, node, serving
from upstream import Upstream
from waiting import within

import headrace
from headrace.server import app
from headrace.server.credentials import HIDDEN
from headrace.storage.database import Database

SECRET = "sk-very-secret-indeed-0123456789"
COLUMNS = {
    *("id", "name", "flowData", "type", "workspaceId", "deployed", "isPublic", "apikeyid", "chatbotConfig"),
    *("apiConfig", "analytic", "speechToText", "textToSpeech", "followUpPrompts", "category", "mcpServerConfig"),
    *("createdDate", "updatedDate", "webhookSecretConfigured", "coverage"),
}
FLOW = {"nodes": [], "edges": []}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server that no other module fills."""
    with serving(tmp_path_factory.mktemp("own") / "data", TESTED_TOWN="Tromsø") as server:
        yield server


# Flows


def test_a_flow_lives_from_creation_to_deletion(server: Server) -> None:
    made = ok(call(server, "POST", "chatflows", {"name": "mine", "flowData": json.dumps(FLOW)}))
    assert set(made) == COLUMNS
    assert (made["name"], made["type"], made["flowData"]) == ("mine", "CHATFLOW", json.dumps(FLOW))
    path = f"chatflows/{made['id']}"
    assert ok(call(server, "GET", path)) == made
    changed = ok(call(server, "PUT", path, {"name": "ours", "deployed": True, "category": "a;b"}))
    assert changed["updatedDate"] >= made["updatedDate"]
    same = made | {"name": "ours", "deployed": True, "category": "a;b", "updatedDate": changed["updatedDate"]}
    assert changed == same
    assert ok(call(server, "DELETE", path)) == {"raw": [], "affected": 1}
    for method, body in (("GET", None), ("PUT", {"name": "x"}), ("DELETE", None)):
        refused(call(server, method, path, body), 404, "flow_not_found")


def test_a_flow_may_bring_its_own_id_once(server: Server) -> None:
    record = {"id": "0b9a9d2e-3f70-4c67-8ad6-6e3c5e3a1f11", "name": "x", "flowData": FLOW}
    assert ok(call(server, "POST", "chatflows", record))["id"] == record["id"]
    assert "already" in refused(call(server, "POST", "chatflows", record), 400, "invalid_request")


def test_flows_are_listed_by_type_and_page(own: Server) -> None:
    types = ["CHATFLOW", "AGENTFLOW", "MULTIAGENT", "ASSISTANT", "CHATFLOW"]
    for n, kind in enumerate(types):
        ok(call(own, "POST", "chatflows", {"name": f"flow {n}", "flowData": FLOW, "type": kind}))
    every = ok(call(own, "GET", "chatflows"))
    assert {row["name"] for row in every} == {f"flow {n}" for n in range(5)}
    assert every == sorted(every, key=lambda row: row["updatedDate"], reverse=True)
    assert {row["name"] for row in ok(call(own, "GET", "chatflows?type=CHATFLOW"))} == {"flow 0", "flow 4"}
    assert ok(call(own, "GET", "chatflows?type=OTHER")) == []
    pages = [ok(call(own, "GET", f"chatflows?page={page}&limit=2")) for page in (1, 2, 3, 4)]
    assert [page["total"] for page in pages] == [5] * 4
    assert [len(page["data"]) for page in pages] == [2, 2, 1, 0]
    assert [row for page in pages for row in page["data"]] == every


@pytest.mark.parametrize("column", ["chatbotConfig", "apiConfig", "analytic", "speechToText", "followUpPrompts"])
def test_configurations_may_come_as_text_or_object_and_are_kept_as_text(server: Server, column: str) -> None:
    config = {"status": True, "nested": {"a": [1, None, "é"]}}
    by_text = ok(call(server, "POST", "chatflows", {"name": "x", "flowData": FLOW, column: json.dumps(config)}))
    by_object = ok(call(server, "POST", "chatflows", {"name": "x", "flowData": FLOW, column: config}))
    assert by_text[column] == json.dumps(config)
    assert json.loads(by_object[column]) == config
    cleared = ok(call(server, "PUT", f"chatflows/{by_text['id']}", {column: None}))
    assert cleared[column] is None


def test_null_leaves_alone_what_a_flow_cannot_be_without(server: Server, chat: str) -> None:
    before = ok(call(server, "GET", f"chatflows/{chat}"))
    after = ok(call(server, "PUT", f"chatflows/{chat}", {"name": None, "flowData": None, "type": None}))
    assert {**after, "updatedDate": ""} == {**before, "updatedDate": ""}


def test_a_deleted_flow_takes_its_messages_along(server: Server, chat: str) -> None:
    server.ask(chat, "/say Hi")
    record = {**ok(call(server, "GET", f"chatflows/{chat}")), "name": "again"}
    call(server, "DELETE", f"chatflows/{chat}")
    refused(call(server, "GET", f"chatmessage/{chat}"), 404, "flow_not_found")
    again = ok(call(server, "POST", "chatflows", {name: record[name] for name in ("id", "name", "flowData")}))
    assert again["id"] == chat
    assert ok(call(server, "GET", f"chatmessage/{chat}")) == []


# Credentials


def credential(server: Server, **fields: str) -> dict[str, Any]:
    record = {"name": "mine", "credentialName": "openAIApi", "plainDataObj": fields}
    return ok(call(server, "POST", "credentials", record))


def key_that_arrives(server: Server, upstream: Upstream, credential_id: str) -> str:
    described = conversation(upstream.url)
    described["nodes"][0]["data"]["credential"] = credential_id
    assert server.ask(server.create_flow(described), "/say Hi").json["text"] == "Hi"
    return upstream.requests[-1].headers["authorization"].removeprefix("Bearer ")


def test_a_credential_is_used_but_never_shown(server: Server, upstream: Upstream) -> None:
    made = credential(server, openAIApiKey=SECRET)
    assert set(made) == {"id", "name", "credentialName", "createdDate", "updatedDate"}
    assert key_that_arrives(server, upstream, made["id"]) == SECRET
    read = ok(call(server, "GET", f"credentials/{made['id']}"))
    assert read == {**made, "plainDataObj": {"openAIApiKey": HIDDEN}}
    assert made in ok(call(server, "GET", "credentials"))
    every = [path.read_bytes() for path in server.folder.rglob("*") if path.is_file()] + [server.output.read_bytes()]
    assert all(SECRET.encode() not in content for content in every)


def test_a_hidden_field_sent_back_keeps_its_value(server: Server, upstream: Upstream) -> None:
    made = credential(server, openAIApiKey=SECRET)
    path = f"credentials/{made['id']}"
    fields = {"openAIApiKey": HIDDEN}
    changed = ok(call(server, "PUT", path, {"name": "ours", "credentialName": "openAIApi", "plainDataObj": fields}))
    assert changed["name"] == "ours"
    assert key_that_arrives(server, upstream, made["id"]) == SECRET
    ok(call(server, "PUT", path, {"name": "ours", "credentialName": "x", "plainDataObj": {"openAIApiKey": "sk-new"}}))
    assert key_that_arrives(server, upstream, made["id"]) == "sk-new"


def test_a_credential_that_is_gone_is_gone(server: Server) -> None:
    made = credential(server, openAIApiKey=SECRET)
    assert ok(call(server, "DELETE", f"credentials/{made['id']}")) == {"raw": [], "affected": 1}
    for method, body in (("GET", None), ("PUT", {"name": "x", "credentialName": "y"}), ("DELETE", None)):
        refused(call(server, method, f"credentials/{made['id']}", body), 404, "not_found")


def test_secrets_need_their_key_file(tmp_path: Path, upstream: Upstream) -> None:
    folder = tmp_path / "data"
    with serving(folder) as first:
        assert stat.S_IMODE((folder / "secret.key").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        made = credential(first, openAIApiKey=SECRET)
        described = conversation(upstream.url)
        described["nodes"][0]["data"]["credential"] = made["id"]
        flow_id = first.create_flow(described)
        first.stop()
    (folder / "secret.key").write_text("00" * 32)
    with serving(folder) as second:
        message = refused(second.ask(flow_id, "Hi"), 503, "storage_error")
        assert "sealed under another key: restore secret.key or enter it again" in message
        assert SECRET not in message
        again = {"name": "mine", "credentialName": "openAIApi", "plainDataObj": {"openAIApiKey": SECRET}}
        refused(call(second, "GET", f"credentials/{made['id']}"), 503, "storage_error")
        hidden = {**again, "plainDataObj": {"openAIApiKey": HIDDEN}}
        refused(call(second, "PUT", f"credentials/{made['id']}", hidden), 503, "storage_error")
        ok(call(second, "PUT", f"credentials/{made['id']}", again))
        assert second.ask(flow_id, "/say Hi").json["text"] == "Hi"


# Variables


def test_a_variable_lives_from_creation_to_deletion(server: Server) -> None:
    made = ok(call(server, "POST", "variables", {"name": "lives", "value": "a"}))
    assert set(made) == {"id", "name", "value", "type", "createdDate", "updatedDate"}
    assert made["type"] == "static"
    path = f"variables/{made['id']}"
    assert ok(call(server, "PUT", path, {"name": "lives on", "value": "b"}))["value"] == "b"
    assert "already" in refused(
        call(server, "POST", "variables", {"name": "lives on", "value": "c"}), 400, "invalid_request"
    )
    other = ok(call(server, "POST", "variables", {"name": "other"}))
    assert "taken" in refused(
        call(server, "PUT", f"variables/{other['id']}", {"name": "lives on"}), 400, "invalid_request"
    )
    assert {"lives on", "other"} <= {row["name"] for row in ok(call(server, "GET", "variables"))}
    assert ok(call(server, "DELETE", path)) == {"raw": [], "affected": 1}
    refused(call(server, "DELETE", path), 404, "not_found")
    refused(call(server, "PUT", path, {"name": "x"}), 404, "not_found")


def test_a_runtime_variable_reads_the_servers_environment(own: Server, upstream: Upstream) -> None:
    for name in ("TESTED_TOWN", "TESTED_NOTHING"):
        ok(call(own, "POST", "variables", {"name": name, "value": "ignored", "type": "runtime"}))
    text = "[{{$vars.TESTED_TOWN}}] [{{$vars.TESTED_NOTHING}}] [{{$vars.HEADRACE_ADMIN_KEY}}]"
    own.ask(own.create_flow(conversation(upstream.url, systemMessagePrompt=text)), "/say Hi")
    # Only what an administrator named is read; anything else stays as it stands (and loses its outer braces).
    assert upstream.requests[-1].body["messages"][0]["content"] == "[Tromsø] [] [{$vars.HEADRACE_ADMIN_KEY}]"


# API keys


def stored(server: Server, statement: str) -> list[tuple[Any, ...]]:
    with closing(Database(server.place)) as database:
        return [tuple(row) for row in within(database.read(lambda c: c.exec_driver_sql(statement).all()))]


def test_a_key_is_shown_once_and_only_its_hash_is_stored(server: Server) -> None:
    made = ok(call(server, "POST", "apikey", {"keyName": "mine", "permissions": ["chatflows:view"]}))
    assert set(made) == {"id", "keyName", "permissions", "createdDate", "updatedDate", "chatFlows", "apiKey"}
    assert made["apiKey"].startswith("hr_")
    listed = {row["id"]: row for row in ok(call(server, "GET", "apikey"))}
    assert listed[made["id"]] == {name: value for name, value in made.items() if name != "apiKey"}
    files = [path.read_bytes() for path in server.folder.rglob("*") if path.is_file()]
    assert all(made["apiKey"].encode() not in content for content in files)
    assert len({token for (token,) in stored(server, "SELECT hash FROM api_key")}) == len(listed)


def test_a_key_that_a_flow_is_bound_to_cannot_be_deleted(server: Server, upstream: Upstream) -> None:
    made = ok(call(server, "POST", "apikey", {"keyName": "bound"}))
    assert made["permissions"] == ["*"]
    flow_id = server.create_flow(conversation(upstream.url), apikeyid=made["id"])
    message = refused(call(server, "DELETE", f"apikey/{made['id']}"), 400, "invalid_request")
    assert message == "a flow is bound to this key: take the key off the flow first"
    call(server, "DELETE", f"chatflows/{flow_id}")
    assert ok(call(server, "DELETE", f"apikey/{made['id']}")) == {"raw": [], "affected": 1}
    refused(call(server, "DELETE", f"apikey/{made['id']}"), 404, "not_found")


def test_a_rotated_key_is_the_same_key_with_another_secret(server: Server, upstream: Upstream) -> None:
    made = ok(call(server, "POST", "apikey", {"keyName": "rotated", "permissions": ["chatflows:view"]}))
    flow_id = server.create_flow(conversation(upstream.url), apikeyid=made["id"])
    again = ok(call(server, "POST", f"apikey/{made['id']}/rotate"))
    assert again["apiKey"] != made["apiKey"]
    assert (again["id"], again["permissions"]) == (made["id"], ["chatflows:view"])
    assert [flow["flowName"] for flow in again["chatFlows"]] == ["test"]
    path = f"/api/v1/prediction/{flow_id}"
    statuses = [
        server.send("POST", path, {"question": "/say Hi"}, headers={"Authorization": f"Bearer {secret}"}).status
        for secret in (made["apiKey"], again["apiKey"])
    ]
    assert statuses == [401, 200]
    refused(call(server, "POST", "apikey/nobody/rotate"), 404, "not_found")


def test_the_last_use_of_a_key_is_told_and_kept(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        made = ok(call(server, "POST", "apikey", {"keyName": "used"}))
        assert "lastUsedDate" not in {**made}
        header = {"Authorization": f"Bearer {made['apiKey']}"}
        (own, other) = sorted(server.send("GET", "/api/v1/apikey", headers=header).json, key=lambda row: row["keyName"])
        assert own["createdDate"] < own["lastUsedDate"] <= other["lastUsedDate"]
        last = other["lastUsedDate"]
        server.stop()
    with serving(tmp_path / "data") as server:
        found = {row["id"]: row for row in ok(call(server, "GET", "apikey"))}
        assert found[made["id"]]["lastUsedDate"] == last
        ok(call(server, "DELETE", f"apikey/{made['id']}"))
        assert stored(server, f"SELECT * FROM key_use WHERE key = '{made['id']}'") == []


def test_the_last_key_with_all_permissions_is_not_deleted(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        ok(call(server, "POST", "apikey", {"keyName": "less", "permissions": ["apikeys:view", "apikeys:delete"]}))
        (own,) = [row for row in ok(call(server, "GET", "apikey")) if row["permissions"] == ["*"]]
        refused(call(server, "DELETE", f"apikey/{own['id']}"), 409, "conflict")
        another = ok(call(server, "POST", "apikey", {"keyName": "another"}))
        assert ok(call(server, "DELETE", f"apikey/{own['id']}")) == {"raw": [], "affected": 1}
        header = {"Authorization": f"Bearer {another['apiKey']}"}
        assert len(server.send("GET", "/api/v1/apikey", headers=header).json) == 2


def test_the_operators_key_may_change_between_starts(tmp_path: Path) -> None:
    keys = ["the-first-key-of-one", "the-second-key-of-one", "the-second-key-of-one"]
    opens: list[list[int]] = []
    for key in keys:
        with serving(tmp_path / "data", HEADRACE_ADMIN_KEY=key) as server:
            tried = {name: {"Authorization": f"Bearer {name}"} for name in keys}
            opens.append([server.send("GET", "/api/v1/apikey", headers=header).status for header in tried.values()])
            names = [row["keyName"] for row in server.send("GET", "/api/v1/apikey", headers=tried[key]).json]
            assert names == ["HEADRACE_ADMIN_KEY"]
            server.stop()
    assert opens == [[200, 401], [401, 200], [401, 200]]


# Messages


@pytest.fixture
def spoken(server: Server, chat: str) -> str:
    """A flow with three chats of two messages."""
    for n in (1, 2):
        server.ask(chat, f"/say answer {n}", chatId=f"c{n}", leadEmail="a@b.example" if n == 1 else None)
    server.ask(chat, "/say answer 3", chatId="c3", overrideConfig={"sessionId": "s"})
    return chat


def contents(server: Server, flow_id: str, query: str = "") -> list[str]:
    return [row["content"] for row in ok(call(server, "GET", f"chatmessage/{flow_id}{query}"))]


def test_messages_are_listed_in_order_in_flowises_shape(server: Server, spoken: str) -> None:
    rows = ok(call(server, "GET", f"chatmessage/{spoken}"))
    assert [row["content"] for row in rows] == [f"{mark} {n}" for n in (1, 2, 3) for mark in ("/say answer", "answer")]
    asked, answered = rows[:2]
    assert set(asked) == {
        *("id", "role", "chatflowid", "executionId", "execution", "content", "sourceDocuments", "usedTools"),
        *("fileAnnotations", "agentReasoning", "reasonContent", "fileUploads", "artifacts", "action"),
        *("aborted", "chatType"),
        *("chatId", "memoryType", "sessionId", "createdDate", "leadEmail", "followUpPrompts"),
    }
    assert (asked["role"], answered["role"]) == ("userMessage", "apiMessage")
    assert (asked["leadEmail"], answered["leadEmail"]) == ("a@b.example", None)
    assert (asked["chatType"], asked["memoryType"], asked["chatflowid"]) == ("EXTERNAL", "Memory", spoken)
    assert asked["createdDate"] <= answered["createdDate"]
    assert contents(server, spoken, "?order=DESC") == [row["content"] for row in reversed(rows)]


def test_messages_are_found_by_what_the_query_names(server: Server, spoken: str) -> None:
    third = ["/say answer 3", "answer 3"]
    assert contents(server, spoken, "?chatId=c3") == contents(server, spoken, "?sessionId=s") == third
    assert contents(server, spoken, "?chatId=c3&sessionId=other") == []
    assert len(contents(server, spoken, "?memoryType=Memory")) == 6
    assert contents(server, spoken, "?memoryType=Other") == []
    for query in ("?chatType=EXTERNAL", '?chatType=["EXTERNAL","INTERNAL"]', "?chatType=INTERNAL&chatType=EXTERNAL"):
        assert len(contents(server, spoken, query.replace('"', "%22"))) == 6
    assert contents(server, spoken, "?chatType=INTERNAL") == []
    rows = ok(call(server, "GET", f"chatmessage/{spoken}"))
    assert contents(server, spoken, f"?messageId={rows[3]['id']}") == ["answer 2"]
    assert len(contents(server, spoken, f"?startDate={rows[0]['createdDate']}&endDate={rows[-1]['createdDate']}")) == 6
    assert contents(server, spoken, "?endDate=2000-01-01T00:00:00.000Z") == []
    assert contents(server, spoken, "?startDate=2100-01-01T00:00:00.000Z") == []


def test_messages_are_deleted_by_what_the_query_names(server: Server, spoken: str, upstream: Upstream) -> None:
    path = f"chatmessage/{spoken}"
    assert ok(call(server, "DELETE", f"{path}?chatId=c1")) == {"raw": [], "affected": 2}
    assert ok(call(server, "DELETE", f"{path}?chatId=c1"))["affected"] == 0
    server.ask(spoken, "/say again", chatId="c1")
    assert len(upstream.requests[-1].body["messages"]) == 2  # the deleted turn is forgotten
    assert ok(call(server, "DELETE", path))["affected"] == 6
    assert contents(server, spoken) == []


# What the widget reads


def test_the_public_configuration_has_no_secrets(server: Server, upstream: Upstream) -> None:
    described = conversation(upstream.url, model={"allowImageUploads": True, "openAIApiKey": SECRET})
    model = described["nodes"][0]["data"]
    model["credential"] = "c-1"
    model["inputParams"] = [{"name": "openAIApiKey", "type": "password"}, {"label": "no name", "type": "password"}]
    config: dict[str, Any] = {
        "llmConfig": {"FLOWISE_CREDENTIAL_ID": "c-2", "headers": SECRET, "kept": 1},
        "authorization": SECRET,
    }
    described["nodes"].append(node("note", "Utilities", **config))
    chatbot = {
        "starterPrompts": {"0": {"prompt": "Hi"}},
        "followUpPrompts": {"status": True, "openAI": {"credentialId": SECRET}},
        "allowedOrigins": ["x"], "allowedOriginsError": "no", "isTTSEnabled": True,
    }  # fmt: skip
    columns = {"analytic": {"secret": SECRET}, "apiConfig": {"overrideConfig": {"status": True}}, "isPublic": True}
    flow_id = server.create_flow(described, chatbotConfig=chatbot, **columns)
    reply = server.send("GET", f"/api/v1/public-chatbotConfig/{flow_id}")
    assert SECRET not in reply.text
    assert set(reply.json) == {"starterPrompts", "followUpPrompts", "uploads", "flowData", "isTTSEnabled"}
    assert reply.json["followUpPrompts"] == {"status": True}
    assert reply.json["isTTSEnabled"] is False
    shared = server.send("GET", f"/api/v1/public-chatflows/{flow_id}")
    assert SECRET not in shared.text
    assert (shared.json["id"], shared.json["isPublic"]) == (flow_id, True)
    assert set(json.loads(shared.json["chatbotConfig"])) == {"starterPrompts", "followUpPrompts"}
    assert shared.json["flowData"] == reply.json["flowData"]
    assert not {"apikeyid", "analytic", "apiConfig"} & set(shared.json)
    nodes = {item["id"]: item["data"] for item in json.loads(reply.json["flowData"])["nodes"]}
    assert "credential" not in nodes["chatOpenAI_0"]
    assert nodes["chatOpenAI_0"]["inputs"] == nodes["note_0"]["inputs"] == {}
    assert reply.json["uploads"]["isImageUploadAllowed"] is True
    assert server.send("GET", f"/api/v1/chatflows-uploads/{flow_id}").json == reply.json["uploads"]


def test_a_flow_without_a_configuration_has_one_for_the_widget(server: Server, chat: str) -> None:
    refused(server.send("GET", f"/api/v1/public-chatflows/{chat}"), 401, "unauthorized")
    config = server.send("GET", f"/api/v1/public-chatbotConfig/{chat}").json
    assert set(config) == {"uploads", "flowData", "isTTSEnabled"}
    assert config["uploads"]["isImageUploadAllowed"] is False


# Its description


def test_every_route_is_described_with_its_body(server: Server) -> None:
    described = server.send("GET", "/docs/openapi.json").json
    routes = app.ROUTES
    expected = {
        (method.lower(), path.replace(":str}", "}"))
        for route in routes
        for path in route.paths
        for method in route.http_methods
        if method != "OPTIONS" and route.include_in_schema is not False
    }
    found = {(method, path): about for path, item in described["paths"].items() for method, about in item.items()}
    assert set(found) == expected
    for (method, path), about in found.items():
        assert about["summary"], path
        many = method == "delete" and path.endswith(("/executions", "/trigger-logs"))
        bodiless = not many and (
            method not in ("post", "put", "patch")
            or path.endswith(("/cancel", "/stop", "/refresh", "/rotate", "/webhook-secret"))
            or "/abort/" in path
        )
        takes_any_body = "/webhook/" in path
        assert takes_any_body or ("requestBody" in about) is not bodiless, path


@pytest.mark.parametrize("path", ["prediction", "predictions"])
def test_the_body_of_a_prediction_is_described(server: Server, path: str) -> None:
    described = server.send("GET", "/docs/openapi.json").json["paths"][f"/api/v1/{path}/{{flow_id}}"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    assert schema["title"] == "PredictionRequest"
    assert {"question", "streaming", "chatId", "overrideConfig", "history", "uploads"} <= set(schema["properties"])
    items = schema["properties"]["history"]["anyOf"][0]["items"]
    assert set(items["properties"]) == {"role", "content", "type", "message"}
    assert "$ref" not in json.dumps(schema)
    assert "200" in described["responses"]


def test_the_description_is_a_page_that_needs_no_other_host(server: Server) -> None:
    page = server.send("GET", "/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    for text in (
        "/api/v1/prediction/{flow_id}",
        "Body: <code>PredictionRequest</code>",
        "Body: <code>FlowInput</code>",
    ):
        assert text in page.text
    assert "<script" not in page.text
    assert "http://" not in page.text.replace(server.url, "")
    assert "https://" not in page.text


def test_the_version_is_that_of_the_package(server: Server) -> None:
    assert server.send("GET", "/api/v1/version").json == {"version": headrace.__version__}
