"""The server does what its OpenAPI document says, asked with requests that the document allows and forbids.

Schemathesis makes them up. It looks at statuses, media types, bodies against their schemas, refused mistakes, keys that
are asked for, methods and `Allow`.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from admin import call, ok
from refusals import refused
from servers import KEY, Server, conversation, serving
from upstream import Upstream

ABSENT = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("own") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def document(own: Server) -> dict[str, Any]:
    return own.send("GET", "/docs/openapi.json").json


def things(server: Server, upstream: Upstream) -> dict[str, str]:
    """One of each of what paths name, by the parameter's name."""
    flow = server.create_flow(conversation(upstream.url), isPublic=True)
    answer = server.ask(flow, "/say Hi")
    feedback = {"chatflowid": flow, "messageId": answer.json["chatMessageId"], "rating": "THUMBS_UP"}
    server.send("POST", "/api/v1/feedback", feedback)
    store = ok(call(server, "POST", "document-store/store", {"name": "s"}))["id"]
    loader = {"storeId": store, "loaderId": "plainText", "loaderConfig": {"text": "A text."}}
    credential = {"name": "c", "credentialName": "openAIApi", "plainDataObj": {"openAIApiKey": "sk"}}
    return {
        "flow_id": flow,
        "run_id": str(answer.headers["X-Run-Id"]),
        "chat_id": answer.json["chatId"],
        "key_id": ok(call(server, "POST", "apikey", {"keyName": "k", "permissions": []}))["id"],
        "tool_id": ok(call(server, "POST", "tools", {"name": "t"}))["id"],
        "variable_id": ok(call(server, "POST", "variables", {"name": "v"}))["id"],
        "credential_id": ok(call(server, "POST", "credentials", credential))["id"],
        "store_id": store,
        "loader_id": ok(call(server, "POST", "document-store/loader/save", loader))["id"],
    }


def test_the_server_does_what_its_document_says(own: Server, endpoint: Upstream, tmp_path: Path) -> None:
    ids = things(own, endpoint)
    lines = [f'"path.{name}" = "{value}"' for name, value in ids.items()]
    gone = ", ".join(f'"path.{name}" = "{ABSENT}"' for name in ids)  # deleting what the others ask for
    config = tmp_path / "schemathesis.toml"
    deleting = f'[[operations]]\ninclude-method = "DELETE"\nparameters = {{ {gone} }}\n'
    config.write_text("\n".join(["[parameters]", *lines, "", deleting]))
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"),
        *(f"{own.url}/docs/openapi.json", "--header", f"Authorization: Bearer {KEY}"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "2", "--generation-deterministic"),
        *("--exclude-checks", "positive_data_acceptance"),  # what a flow's text must be, no schema can say
        "--no-color",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-20_000:]
    assert "Traceback" not in own.output.read_text()


def test_no_two_paths_are_the_same(document: dict[str, Any]) -> None:
    shapes = Counter(
        "/".join("{}" if part[:1] == "{" else part for part in path.split("/")) for path in document["paths"]
    )
    assert [shape for shape, count in shapes.items() if count > 1] == []


def test_every_answer_is_described(document: dict[str, Any]) -> None:
    vague: list[str] = []
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            answers = {status: one for status, one in about["responses"].items() if status.startswith("2")}
            assert answers, path
            assert {"400", "429", "5XX"} <= set(about["responses"]), path
            vague += [
                f"{method.upper()} {path}"
                for one in answers.values()
                for content in one.get("content", {}).values()
                if not content.get("schema")
            ]
    assert vague == ["POST /api/v1/node-custom-function"]  # a script returns what it likes


def test_mistakes_are_told_in_words_of_json_with_their_place(own: Server, document: dict[str, Any]) -> None:
    """Every field of every body of the administration, as a list in a list, which none of them takes."""
    tried = 0
    for method, path, schema in json_bodies(document):
        if isinstance(schema["type"], list):  # a prediction's body, which is read with tolerance
            continue
        for name in schema.get("properties", {}):
            given = dict.fromkeys(schema.get("required", ()), "x") | {name: [[5]]}
            reply = own.send(method, path, given, admin=True)
            if reply.status in (401, 404):  # asked for before the body is read
                continue
            message = refused(reply, 400, "invalid_request")
            assert re.search(rf" at \$\.({'|'.join(given)})(\[0\])?$", message), message
            assert not re.search(r"`(str|int|float|bool|array|object)`|Object|Expected|Invalid", message), message
            tried += 1
    assert tried > 100


ODD = "%ED%A0%80"
"""Half of a character as UTF-8 would write it, in an address."""
HALF = r'"a \ud800 b"'
INNER = [  # JSON in a text, with the half in there
    (
        "POST",
        "chatflows",
        {"name": "x", "flowData": '{"nodes": [{"id": "\\ud800", "data": {"id": "a", "name": "b"}}]}'},
    ),
    ("POST", "chatflows", {"name": "x", "flowData": '{"nodes": []}', "chatbotConfig": '{"title": "\\ud800"}'}),
    ("POST", "chatflows", {"name": "x", "flowData": '{"nodes": []}', "apiConfig": '{"a": "\\ud800"}'}),
    ("POST", "tools", {"name": "x", "schema": '[{"property": "\\ud800"}]', "func": "return '\\ud800'"}),
    ("POST", "document-store/store", {"name": "x", "vectorStoreConfig": '{"name": "\\ud800", "config": {}}'}),
    ("POST", "node-custom-function", {"javascriptFunction": "return '\\ud800'"}),
    ("POST", "node-custom-function", {"javascriptFunction": "return $a", "functionInputVariables": '{"a": "\\ud800"}'}),
    ("POST", "export-import/import", {"ChatFlow": [{"name": "x", "flowData": '{"nodes": [], "x": "\\ud800"}'}]}),
]


def test_half_of_a_character_is_no_fault_of_the_server(own: Server, document: dict[str, Any]) -> None:
    """In every field of every JSON body, in JSON inside of texts, in paths and in queries."""
    tried = 0
    for method, path, schema in json_bodies(document):
        for name in (*schema.get("properties", {}), "more"):
            for value in ("half", {"k": "half", "half": 1}, ["half"]):
                text = json.dumps({**dict.fromkeys(schema.get("required", ()), "half"), name: value})
                reply = own.send(method, path, text.replace('"half"', HALF).encode(), admin=True)
                assert reply.status < 500, (path, text)
                tried += 1
    assert tried > 400
    for path, methods in document["paths"].items():
        for method in methods:
            for address in (re.sub(r"\{\w+\}", ODD, path), f"{filled(path)}?page={ODD}&chatId={ODD}&chatType={ODD}"):
                assert own.send(method.upper(), address, b"{}", admin=True).status < 500, address
    for method, path, inner in INNER:
        assert call(own, method, path, inner).status < 500, inner
        assert call(own, "GET", path).status in (200, 405)
    assert "Traceback" not in own.output.read_text()


def json_bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and schema of everything that takes JSON; paths lead to what there is not."""
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            content = about.get("requestBody", {}).get("content", {})
            if schema := content.get("application/json", {}).get("schema"):
                name = schema.get("$ref", "").rpartition("/")[2]
                yield method.upper(), filled(path), document["components"]["schemas"].get(name, schema)


def filled(path: str) -> str:
    return re.sub(r"\{\w+\}", ABSENT, path)


def test_keys_and_permissions_are_described(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    flows, asking = document["paths"]["/api/v1/chatflows"], document["paths"]["/api/v1/prediction/{flow_id}"]["post"]
    assert flows["post"]["security"] == [{"apiKey": []}]
    assert flows["post"]["x-permissions"] == [["chatflows:create"]]
    assert asking["security"] == [{}, {"apiKey": []}]
    assert set(asking["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert document["paths"]["/api/v1/ping"]["get"]["security"] == []
