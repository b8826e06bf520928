"""`overrideConfig` over HTTP: what a caller may set of a flow, and to what."""

import json
from typing import Any

import pytest
from servers import Server, chat_model, conversation, flow, llm_chain, node
from upstream import Upstream

MODEL, CHAIN = "OpenAI", "Conversation Chain"


def rules(*, status: bool = True, variables: tuple[str, ...] = (), **nodes: tuple[str, ...]) -> dict[str, Any]:
    """An `apiConfig` that lets callers set these inputs, by node label (`_` for a blank in it)."""
    listed = {
        label.replace("_", " "): [{"label": name, "name": name, "type": "string", "enabled": True} for name in names]
        for label, names in nodes.items()
    }
    allowed = [{"id": name, "name": name, "type": "static", "enabled": True} for name in variables]
    return {"apiConfig": {"overrideConfig": {"status": status, "nodes": listed, "variables": allowed}}}


def open_flow(server: Server, upstream: Upstream, *inputs: str, **model: Any) -> str:
    """A conversation of whose model these inputs may be set."""
    return server.create_flow(conversation(upstream.url, model=model), **rules(OpenAI=inputs))


def sent(server: Server, upstream: Upstream, flow_id: str, **override: Any) -> dict[str, Any]:
    """What the model received for a question with this override."""
    reply = server.ask(flow_id, "/say Hi", overrideConfig=override)
    assert reply.json.get("text") == "Hi", reply.text
    return upstream.requests[-1].body


@pytest.mark.parametrize(
    "config",
    [
        {},
        rules(status=False, OpenAI=("temperature",)),
        rules(OpenAI=("topP",)),
        rules(Other=("temperature",)),
        {"apiConfig": {"overrideConfig": {"status": True, "nodes": {MODEL: [{"name": "temperature"}]}}}},
    ],
    ids=["no configuration", "switched off", "another input", "another node", "listed but not enabled"],
)
@pytest.mark.parametrize("value", [0.1, "0.1", {"chatOpenAI_0": 0.1}, {"any": 0.1}, [0.1]], ids=str)
def test_nothing_may_be_set_unless_the_flow_says_so(
    server: Server, upstream: Upstream, config: dict[str, Any], value: Any
) -> None:
    flow_id = server.create_flow(conversation(upstream.url, model={"temperature": 0.7}), **config)
    assert sent(server, upstream, flow_id, temperature=value)["temperature"] == 0.7


@pytest.mark.parametrize("value", [0.1, "0.1", {"chatOpenAI_0": 0.1}, {"chatOpenAI_0": "0.1", "chatOpenAI_1": 0.9}])
def test_an_enabled_input_may_be_set_for_all_nodes_or_one(server: Server, upstream: Upstream, value: Any) -> None:
    flow_id = open_flow(server, upstream, "temperature", temperature=0.7)
    assert sent(server, upstream, flow_id, temperature=value)["temperature"] == 0.1
    assert sent(server, upstream, flow_id)["temperature"] == 0.7


@pytest.mark.parametrize("value", [{"chatOpenAI_1": 0.1}, {"any": 0.1}, "warm", [], "", None], ids=str)
def test_a_value_for_another_node_or_of_another_kind_is_ignored(server: Server, upstream: Upstream, value: Any) -> None:
    flow_id = open_flow(server, upstream, "temperature", temperature=0.7)
    assert sent(server, upstream, flow_id, temperature=value)["temperature"] == 0.7


@pytest.mark.parametrize("value", [{"a": "http://127.0.0.1:9/v1"}, {"basepath": "http://127.0.0.1:9/v1"}])
def test_an_object_cannot_be_slipped_into_an_input_that_is_closed(
    server: Server, upstream: Upstream, value: Any
) -> None:
    flow_id = open_flow(server, upstream, "temperature")
    assert sent(server, upstream, flow_id, basepath=value, baseOptions={"X-Mine": "1"})["model"]
    assert "x-mine" not in upstream.requests[-1].headers


def test_an_object_is_merged_into_an_object_that_the_flow_holds(server: Server, upstream: Upstream) -> None:
    flow_id = open_flow(server, upstream, "baseOptions", baseOptions='{"X-Flow": "1", "X-Both": "flow"}')
    sent(server, upstream, flow_id, baseOptions={"X-Both": "caller", "X-Caller": "2"})
    headers = upstream.requests[-1].headers
    assert (headers["x-flow"], headers["x-both"], headers["x-caller"]) == ("1", "caller", "2")


@pytest.mark.parametrize(("value", "taken"), [("true", True), (True, True), ("false", False), (False, False)])
def test_booleans_may_be_texts(server: Server, upstream: Upstream, value: Any, taken: bool) -> None:
    picture = {"type": "file", "name": "dot.png", "mime": "image/png", "data": "data:image/png;base64,iVBORw0KGgo="}
    flow_id = open_flow(server, upstream, "allowImageUploads", allowImageUploads=not taken)
    server.ask(flow_id, "/say Hi", uploads=[picture], overrideConfig={"allowImageUploads": value})
    assert isinstance(upstream.requests[-1].body["messages"][-1]["content"], list) is taken


def test_each_of_two_nodes_with_one_label_may_get_its_own_value(server: Server, upstream: Upstream) -> None:
    first = llm_chain(upstream.url, "/say inner")
    first["nodes"][2]["data"]["outputs"] = {"output": "outputPrediction"}
    prompt = node(
        "promptTemplate", "Prompts", 1, template="/say {x}", promptValues='{"x":"{{llmChain_0.data.instance}}"}'
    )
    prompt["data"]["inputParams"] = [{"name": "promptValues", "acceptVariable": True}]
    references = {"model": "{{chatOpenAI_1.data.instance}}", "prompt": "{{promptTemplate_1.data.instance}}"}
    second = node("llmChain", "Chains", 1, output="llmChain", **references)
    drawn = flow(*first["nodes"], chat_model(upstream.url, 1, temperature=0.7), prompt, second)
    flow_id = server.create_flow(drawn, **rules(OpenAI=("temperature",)))
    server.ask(flow_id, "x", overrideConfig={"temperature": {"chatOpenAI_1": 0.1}})
    assert [request.body["temperature"] for request in upstream.requests] == [0.9, 0.1]
    server.ask(flow_id, "x", overrideConfig={"temperature": 0.2})
    assert [request.body["temperature"] for request in upstream.requests[2:]] == [0.2, 0.2]


def test_a_system_message_may_be_set_and_is_not_a_template_of_the_flow(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(conversation(upstream.url), **rules(Conversation_Chain=("systemMessagePrompt",)))
    body = sent(server, upstream, flow_id, systemMessagePrompt="Speak Danish. {{question}}")
    assert body["messages"][0]["content"].startswith("Speak Danish.")


def test_prompt_values_are_merged(server: Server, upstream: Upstream) -> None:
    drawn = llm_chain(upstream.url, "{a} {b} {c}", '{"a": "flow", "b": "flow", "c": "{{question}}"}')
    flow_id = server.create_flow(drawn, **rules(promptTemplate=("promptValues",)))
    server.ask(flow_id, "asked", overrideConfig={"promptValues": {"b": "caller"}})
    assert upstream.requests[-1].body["messages"] == [{"role": "user", "content": "flow caller asked"}]


def test_variables_may_be_set_where_the_flow_lists_them(server: Server, upstream: Upstream) -> None:
    for name in ("overridden_open", "overridden_closed"):
        server.send("POST", "/api/v1/variables", {"name": name, "value": "stored"}, admin=True)
    text = "{{$vars.overridden_open}} {{$vars.overridden_closed}}"
    drawn = conversation(upstream.url, systemMessagePrompt=text)
    flow_id = server.create_flow(drawn, **rules(variables=("overridden_open",)))
    closed = server.create_flow(drawn, **rules(status=False, variables=("overridden_open",)))
    given = {"overridden_open": "called", "overridden_closed": "called"}
    assert sent(server, upstream, flow_id, vars=given)["messages"][0]["content"] == "called stored"
    assert sent(server, upstream, flow_id, vars="x")["messages"][0]["content"] == "stored stored"
    assert sent(server, upstream, closed, vars=given)["messages"][0]["content"] == "stored stored"


@pytest.mark.parametrize("value", [5, {"a": 1}, None, ["x"]], ids=str)
def test_a_variable_of_another_type_is_a_text_for_the_flow(server: Server, upstream: Upstream, value: Any) -> None:
    server.send("POST", "/api/v1/variables", {"name": "typed", "value": "stored"}, admin=True)
    flow_id = server.create_flow(
        conversation(upstream.url, systemMessagePrompt="[{{$vars.typed}}]"), **rules(variables=("typed",))
    )
    content = sent(server, upstream, flow_id, vars={"typed": value})["messages"][0]["content"]
    texts = {"5": "[5]", '{"a": 1}': '[{"a":1}]', "null": "[stored]", '["x"]': '[["x"]]'}
    assert content == texts[json.dumps(value)]


def test_the_session_may_always_be_set(server: Server, chat: str) -> None:
    reply = server.ask(chat, "/say Hi", overrideConfig={"sessionId": "s-1"})
    assert (reply.json["sessionId"], reply.json["chatId"]) == ("s-1", "s-1")
    both = server.ask(chat, "/say Hi", chatId="c-1", overrideConfig={"sessionId": "s-1"})
    assert (both.json["sessionId"], both.json["chatId"]) == ("s-1", "c-1")


def test_a_key_cannot_be_set_unless_the_flow_says_so(server: Server, upstream: Upstream) -> None:
    flow_id = open_flow(server, upstream, "temperature")
    sent(server, upstream, flow_id, openAIApiKey="sk-callers", credential="x")
    assert upstream.requests[-1].headers["authorization"] == "Bearer sk-tests"
