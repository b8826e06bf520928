"""Flows and credentials are changed from the command line and over HTTP."""

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from agentflows import flow as agent_flow
from agentflows import llm, start
from servers import Server, chat_model, conversation, flow
from test_cli import FLOW, done, environment, flow_ids, headrace, refused, row, wrote
from upstream import Upstream

from headrace.engine.flow_credentials import with_credential
from headrace.errors import InvalidRequest
from headrace.nodes import built_in
from headrace.storage.storage import Storage


def exported(folder: Path, flow_id: str) -> dict[str, Any]:
    return json.loads(done(headrace(folder, "export", flow_id)))


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A data folder with the flow "One"."""
    wrote(tmp_path / "one.json", row("One", apiConfig='{"rateLimit": null}'))
    done(headrace(tmp_path / "data", "import", str(tmp_path / "one.json")))
    return tmp_path / "data"


def test_an_exported_flow_is_imported_again_in_its_own_place(one: Path, tmp_path: Path) -> None:
    (before,) = flow_ids(one)
    done(headrace(one, "export", "One", "--out", str(tmp_path / "saved.json")))
    saved = json.loads((tmp_path / "saved.json").read_text())
    assert saved["flowData"] == FLOW
    assert (saved["id"], saved["apiConfig"]) == (before, '{"rateLimit": null}')
    wrote(tmp_path / "saved.json", {**saved, "name": "Renamed elsewhere"})
    line = refused(headrace(one, "import", str(tmp_path / "saved.json")))
    assert "'One'" in line
    assert "--replace" in line
    assert "--new" in line
    assert flow_ids(one) == [before], "nothing is stored before that is decided"
    result = headrace(one, "import", "--replace", str(tmp_path / "saved.json"))
    assert result.returncode == 0, result.stderr
    assert "the flow 'One' was replaced" in result.stderr
    assert flow_ids(one) == [before]
    assert exported(one, before)["name"] == "Renamed elsewhere"
    done(headrace(one, "import", "--new", str(tmp_path / "saved.json")))
    assert len(flow_ids(one)) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals")
@pytest.mark.parametrize(("answer", "count"), [("y", 1), ("n", 2)])
def test_on_a_terminal_the_import_asks(one: Path, tmp_path: Path, answer: str, count: int) -> None:
    import pty

    main, child = pty.openpty()
    command = [sys.executable, "-m", "headrace", "--data-dir", str(one), "import", str(tmp_path / "one.json")]
    process = subprocess.Popen(
        command, stdin=child, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
    )
    with open(main, "w") as keys:
        keys.write(f"{answer}\n")
        keys.flush()
        _, asked = process.communicate(timeout=30)
    assert process.returncode == 0, asked
    assert b"Replace?" in asked
    assert len(flow_ids(one)) == count


def test_two_flows_with_one_id_in_a_file_do_not_replace_each_other(one: Path, tmp_path: Path) -> None:
    (flow_id,) = flow_ids(one)
    twins = {"ChatFlow": [row("First", id=flow_id), row("Second", id=flow_id)]}
    headrace(one, "import", "--replace", str(wrote(tmp_path / "twins.json", twins)))
    names = {exported(one, each)["name"] for each in flow_ids(one)}
    assert names == {"First", "Second"}


def test_a_flow_that_is_replaced_stays_as_closed_as_it_was(one: Path, tmp_path: Path) -> None:
    (flow_id,) = flow_ids(one)
    done(headrace(one, "keys", "add", "Bound"))
    listed = done(headrace(one, "keys"))
    (key,) = [word for word in listed.split() if len(word) == 36]
    wrote(tmp_path / "bound.json", {**row("Closed", apikeyid=key), "isPublic": False})
    headrace(one, "import", str(tmp_path / "bound.json"))
    (closed,) = [each for each in flow_ids(one) if each != flow_id]
    open_again = {**row("Closed"), "id": closed, "isPublic": True}
    headrace(one, "import", "--replace", str(wrote(tmp_path / "open.json", open_again)))
    assert exported(one, closed)["apikeyid"] == key
    assert exported(one, closed)["isPublic"] is False
    done(headrace(one, "replace", closed, str(tmp_path / "open.json")))
    assert exported(one, closed)["apikeyid"] == key


def test_a_flow_is_renamed_replaced_and_deleted_by_id_or_name(one: Path, tmp_path: Path) -> None:
    (flow_id,) = flow_ids(one)
    done(headrace(one, "rename", "One", "Two"))
    assert exported(one, "Two")["id"] == flow_id
    other = conversation("http://127.0.0.1:10/v1")
    done(headrace(one, "replace", "Two", str(wrote(tmp_path / "other.json", other))))
    kept = exported(one, flow_id)
    assert (kept["name"], kept["flowData"]) == ("Two", other)
    assert kept["apiConfig"] == '{"rateLimit": null}', "what the file does not say stays"
    assert "--yes" in refused(headrace(one, "delete", "Two"))
    assert flow_ids(one) == [flow_id]
    done(headrace(one, "delete", "Two", "--yes"))
    assert flow_ids(one) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rename", "One", " "], "needs a name"),
        (["rename", "Nothing", "X"], "there is no flow 'Nothing'"),
        (["export", "Nothing"], "there is no flow 'Nothing'"),
        (["delete", "Nothing", "--yes"], "there is no flow 'Nothing'"),
        (["export", "One", "--out", "/nowhere/x.json"], "cannot write '/nowhere/x.json'"),
    ],
)
def test_what_cannot_be_done_is_one_line(one: Path, arguments: list[str], told: str) -> None:
    assert told in refused(headrace(one, *arguments))


def test_a_file_with_several_flows_replaces_none(one: Path, tmp_path: Path) -> None:
    several = wrote(tmp_path / "several.json", {"ChatFlow": [row("A"), row("B")]})
    assert "holds 2 flows" in refused(headrace(one, "replace", "One", str(several)))


# Credentials


def secret(one: Path, credential: str) -> Any:
    import asyncio

    storage = Storage(one)
    try:
        return asyncio.run(storage.secrets(credential))
    finally:
        storage.close()


def test_a_credential_is_added_and_attached_to_a_node(one: Path) -> None:
    added = done(headrace(one, "credentials", "add", "Mine", "openAIApi", "--field", "openAIApiKey=sk-1=2")).strip()
    assert secret(one, added) == {"openAIApiKey": "sk-1=2"}
    listed = done(headrace(one, "credentials"))
    assert "Mine" in listed
    assert "sk-1" not in listed
    done(headrace(one, "credentials", "attach", "One", "OpenAI", "Mine"))
    (flow_id,) = flow_ids(one)
    stored = exported(one, flow_id)["flowData"]
    nodes = {node["id"]: node for node in stored["nodes"]}
    assert nodes["chatOpenAI_0"]["data"].pop("credential") == added
    assert stored == FLOW, "everything else stays as it was"


def test_a_field_without_a_value_is_read_from_standard_input(one: Path) -> None:
    command = [sys.executable, "-m", "headrace", "--data-dir", str(one), "credentials", "add", "In", "openAIApi"]
    result = subprocess.run(
        [*command, "--field", "openAIApiKey"],
        input="sk-typed\n",
        capture_output=True,
        text=True,
        timeout=30,
        env=environment(),
        check=True,
    )
    assert secret(one, result.stdout.strip()) == {"openAIApiKey": "sk-typed"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["add", "X", "nothingApi", "--field", "a=b"], "there are no credentials of the type 'nothingApi'"),
        (["add", "X", "openAIApi", "--field", "apiKey=b"], "apiKey"),
        (["add", "X", "openAIApi", "--field", "=b"], "'=b' is no field"),
        (["add", "X", "openAIApi", "--field", "openAIApiKey="], "the field 'openAIApiKey' is empty"),
        (["attach", "One", "OpenAI", "Nothing"], "there is no credential 'Nothing'"),
    ],
)
def test_credentials_that_nothing_could_use_are_refused(one: Path, arguments: list[str], told: str) -> None:
    assert told in refused(headrace(one, "credentials", *arguments))


TWICE = flow(chat_model("http://x"), chat_model("http://x", 1))
AGENTS = agent_flow(start(), llm("http://x"), arrows="start_0 llm_0")


def test_a_credential_goes_to_the_component_inside_that_takes_it() -> None:
    data = with_credential(json.dumps(AGENTS), "llmAgentflow_0", "c", "openAIApi", built_in())
    (node,) = [node for node in json.loads(data)["nodes"] if node["id"] == "llmAgentflow_0"]
    assert node["data"]["inputs"]["llmModelConfig"]["FLOWISE_CREDENTIAL_ID"] == "c"
    assert "credential" not in node["data"]


def test_a_node_of_an_unknown_type_gets_what_it_is_given() -> None:
    strange = {"nodes": [{"id": "a", "data": {"id": "a", "name": "theirOwn"}}], "edges": []}
    assert (
        json.loads(with_credential(json.dumps(strange), "a", "c", "any", built_in()))["nodes"][0]["data"]["credential"]
        == "c"
    )


@pytest.mark.parametrize(
    ("stored", "node", "told"),
    [
        (TWICE, "OpenAI", "several nodes are labelled 'OpenAI': use one of the ids chatOpenAI_0, chatOpenAI_1"),
        (TWICE, "chatOpenAI_2", "the flow has no node 'chatOpenAI_2': it has chatOpenAI_0, chatOpenAI_1"),
        ({"nodes": []}, "x", "it has none"),
        ([], "x", "it has none"),
        ({"nodes": [{"id": "x"}]}, "x", "no node 'x'"),
        (AGENTS, "startAgentflow_0", "takes no credential of the type 'awsApi' but none at all"),
        (TWICE, "chatOpenAI_0", "takes no credential of the type 'awsApi' but openAIApi"),
    ],
)
def test_a_node_that_cannot_take_the_credential_is_named(stored: Any, node: str, told: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        with_credential(json.dumps(stored), node, "c", "awsApi", built_in())
    assert told in str(refusal.value)


def test_over_http_a_node_uses_the_credential_that_it_was_given(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(conversation(upstream.url))
    made = {"name": "http", "credentialName": "openAIApi", "plainDataObj": {"openAIApiKey": "sk-attached"}}
    credential = server.send("POST", "/api/v1/credentials", made, admin=True).json["id"]
    path, body = f"/api/v1/chatflows/{flow_id}/credentials", {"node": "chatOpenAI_0", "credentialId": credential}
    assert server.send("POST", path, body).status == 401
    reply = server.send("POST", path, body, admin=True)
    assert reply.status == 200, reply.text
    assert reply.json["id"] == flow_id
    assert server.ask(flow_id, "/say hi").status == 200
    assert upstream.requests[-1].headers["authorization"] == "Bearer sk-attached"
    for wrong, status in (({**body, "node": "no"}, 400), ({**body, "credentialId": str(uuid.uuid4())}, 404)):
        assert server.send("POST", path, wrong, admin=True).status == status


def test_over_http_an_import_replaces_when_it_is_asked_to(server: Server) -> None:
    flow_id = server.create_flow(FLOW)
    path, again = "/api/v1/export-import/import", row("Again", id=flow_id)
    assert server.send("POST", f"{path}?existing=replace", again, admin=True).json["flows"][0]["id"] == flow_id
    assert server.send("GET", f"/api/v1/chatflows/{flow_id}", admin=True).json["name"] == "Again"
    assert server.send("POST", path, again, admin=True).json["flows"][0]["id"] != flow_id
    creator = {"keyName": "creator", "permissions": ["chatflows:create"]}
    key = server.send("POST", "/api/v1/apikey", creator, admin=True).json["apiKey"]
    headers = {"Authorization": f"Bearer {key}"}
    assert server.send("POST", f"{path}?existing=replace", again, headers).status == 403
    assert server.send("POST", path, again, headers).status == 200
