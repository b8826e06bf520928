"""The lists that builders load for inputs, what may be overridden of a node, and scripts that are tried out."""

import json
import uuid
from collections.abc import Generator
from typing import Any

import pytest
from admin import call, ok
from refusals import refused
from servers import Server, conversation, serving
from upstream import MODELS, Upstream

from headrace.engine.description import described
from headrace.nodes import built_in
from headrace.server.choices import _LISTS  # pyright: ignore[reportPrivateUsage]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("own") / "data", HEADRACE_ALLOWED_HOSTS="127.0.0.1") as server:
        yield server


def choices(server: Server, node: str, method: str, **fields: Any) -> dict[str, str]:
    rows = ok(call(server, "POST", f"node-load-method/{node}", {"loadMethod": method, **fields}))
    return {row["name"]: row["label"] for row in rows}


def test_every_list_that_a_node_names_is_made() -> None:
    def named(inputs: Any) -> set[str]:
        return {one.loadMethod for one in inputs if one.loadMethod}.union(*(named(one.array) for one in inputs))

    wanted = set[str]().union(*(named(described(kind).inputs) for kind in built_in().values()))
    assert wanted <= set(_LISTS)


def test_models_are_those_of_the_account(own: Server, upstream: Upstream) -> None:
    made = {"name": "x", "credentialName": "openAIApi", "plainDataObj": {"openAIApiKey": "sk-account"}}
    credential = ok(call(own, "POST", "credentials", made))["id"]
    inputs = {"basepath": upstream.url}
    for chosen, key in ((credential, "sk-account"), (str(uuid.uuid4()), "sk-tests")):
        found = choices(own, "chatOpenAI", "listModels", inputs=inputs, credential=chosen)
        assert set(found) == set(MODELS)
        assert upstream.requests[-1].headers["authorization"] == f"Bearer {key}"


@pytest.mark.parametrize(
    ("node", "begins"),
    [("chatAnthropic", "claude-"), ("chatGoogleGenerativeAI", "gemini-"), ("chatCohere", "command")],
)
def test_without_a_key_the_known_models_are_offered(own: Server, node: str, begins: str) -> None:
    found = choices(own, node, "listModels")
    assert any(name.startswith(begins) for name in found)


def test_embeddings_offer_no_chat_models(own: Server) -> None:
    assert all("embed" in name for name in choices(own, "openAIEmbeddings", "listModels"))


def test_agent_flows_choose_their_parts_by_node(own: Server) -> None:
    models = choices(own, "llmAgentflow", "listModels")
    assert models["chatOpenAI"] == "OpenAI"
    assert "calculator" in choices(own, "agentAgentflow", "listTools")
    assert "openAIEmbeddings" in choices(own, "agentAgentflow", "listEmbeddings")
    assert "memoryVectorStore" in choices(own, "agentAgentflow", "listVectorStores")
    assert "calculator" not in models


def test_what_is_stored_here_is_offered_by_id(own: Server, upstream: Upstream) -> None:
    tool = ok(call(own, "POST", "tools", {"name": "mine", "description": "d", "func": "return 1"}))
    assert choices(own, "customTool", "listTools") == {tool["id"]: "mine"}
    store = ok(call(own, "POST", "document-store/store", {"name": "docs", "description": "d"}))
    assert choices(own, "documentStore", "listStores") == {store["id"]: "docs"}
    assert choices(own, "agentAgentflow", "listStores") == {f"{store['id']}:docs": "docs"}
    flow = own.create_flow(conversation(upstream.url))
    agent = ok(
        call(own, "POST", "chatflows", {"name": "a", "type": "AGENTFLOW", "flowData": '{"nodes":[],"edges":[]}'})
    )
    assert flow in choices(own, "ChatflowTool", "listChatflows")
    assert agent["id"] not in choices(own, "ChatflowTool", "listChatflows")
    assert list(choices(own, "agentAsTool", "listAgentflows")) == [agent["id"]]


def test_a_loop_goes_back_to_a_node_before_it(own: Server) -> None:
    before = [{"id": "llm_0", "label": "Writer"}, {"id": "start_0"}, {}]
    found = choices(own, "loopAgentflow", "listPreviousNodes", previousNodes=before)
    assert found == {"llm_0-Writer": "Writer", "start_0-start_0": "start_0"}


def test_state_keys_are_those_that_the_flow_begins_with(own: Server) -> None:
    start = {"inputs": {"startState": [{"key": "count", "value": "0"}, {"key": "", "value": ""}]}}
    found = choices(own, "llmAgentflow", "listRuntimeStateKeys", previousNodes=[start, {"inputs": {}}, {}])
    assert found == {"count": "count"}


def test_regions_are_the_providers(own: Server) -> None:
    assert "eu-central-1" in choices(own, "awsChatBedrock", "listRegions")
    assert "europe-west4" in choices(own, "chatGoogleVertexAI", "listRegions")


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("node-load-method/chatOpenAI", {"loadMethod": "unheardOf"}, 400, "'unheardOf' at $.loadMethod"),
        ("node-load-method/chatOpenAI", {}, 400, "loadMethod"),
        ("node-load-method/unheardOf", {"loadMethod": "listModels"}, 404, "'unheardOf'"),
        ("node-load-method/customMCP", {"loadMethod": "listActions"}, 400, "mcpServerConfig"),
        ("node-config", {"name": "unheardOf"}, 404, "'unheardOf'"),
        ("node-custom-function", {}, 400, "javascriptFunction"),
        ("node-custom-function", {"javascriptFunction": "1", "functionInputVariables": "[1]"}, 400, "JSON object"),
        ("node-custom-function", {"javascriptFunction": "throw new Error('no luck')"}, 422, "no luck"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused(own: Server, path: str, body: Any, status: int, words: str) -> None:
    reply = call(own, "POST", path, body)
    assert reply.status == status, reply.text
    assert words in reply.json["message"]


def test_the_config_of_a_node_lists_its_values_and_no_connections(own: Server) -> None:
    rows = ok(call(own, "POST", "node-config", {"name": "conversationChain", "id": "conversationChain_3"}))
    assert {row["nodeId"] for row in rows} == {"conversationChain_3"}
    names = {row["name"]: row["type"] for row in rows}
    assert "systemMessagePrompt" in names
    assert not {"model", "memory"} & set(names)


def test_a_script_is_tried_out_in_the_sandbox(own: Server) -> None:
    def tried(script: str, values: Any) -> Any:
        body = {"javascriptFunction": script, "functionInputVariables": values}
        return ok(call(own, "POST", "node-custom-function", body))

    assert tried("return {sum: $a + $b}", {"a": 1, "b": 2}) == {"sum": 3}
    assert tried("return $a.length", json.dumps({"a": "four"})) == 4
    assert tried("return typeof process", "") == "undefined"


def test_a_key_sees_variables_only_with_that_right(own: Server) -> None:
    ok(call(own, "POST", "variables", {"name": "hidden", "value": "secret"}))
    body = {"javascriptFunction": "return String($vars.hidden)"}
    for rights, wanted in ((["chatflows:update"], "undefined"), (["chatflows:update", "variables:view"], "secret")):
        key = ok(call(own, "POST", "apikey", {"keyName": str(uuid.uuid4()), "permissions": rights}))
        headers = {"Authorization": f"Bearer {key['apiKey']}"}
        assert own.send("POST", "/api/v1/node-custom-function", body, headers).json == wanted
    viewer = ok(call(own, "POST", "apikey", {"keyName": "viewer", "permissions": ["chatflows:view"]}))
    headers = {"Authorization": f"Bearer {viewer['apiKey']}"}
    for path, asked in (("node-custom-function", body), ("node-load-method/chatOpenAI", {"loadMethod": "listModels"})):
        refused(own.send("POST", f"/api/v1/{path}", asked, headers), 403, "forbidden")
