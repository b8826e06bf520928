"""`overrideConfig` over HTTP: what a caller may set of a flow, and to what."""

import json
from typing import Any

import pytest
from servers import Server, chat_model, conversation, flow, llm_chain, node
from test_tools import agent
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


@pytest.mark.parametrize("value", ["warm", "not a number", "Infinity", "NaN"])
def test_words_where_a_number_is_wanted_set_nothing_as_recordings_have_it(
    server: Server, upstream: Upstream, value: str
) -> None:
    flow_id = open_flow(server, upstream, "temperature", temperature=0.7)
    assert sent(server, upstream, flow_id, temperature=value)["temperature"] == 0.7


@pytest.mark.parametrize("value", [{"chatOpenAI_1": 0.1}, '{"chatOpenAI_1": 0.1}', [], "", None], ids=str)
def test_a_value_for_another_node_is_not_this_ones_and_an_empty_one_is_none(
    server: Server, upstream: Upstream, value: Any
) -> None:
    flow_id = open_flow(server, upstream, "temperature", temperature=0.7)
    assert sent(server, upstream, flow_id, temperature=value)["temperature"] == 0.7


READ = [  # input, what the caller gives, what the provider is asked, and its name there
    ("temperature", "0.1", 0.1, "temperature"),
    ("temperature", " 0.1 ", 0.1, "temperature"),
    ("temperature", "1e-1", 0.1, "temperature"),
    ("temperature", "0", 0, "temperature"),
    ("temperature", 0, 0, "temperature"),
    ("temperature", ["0.1"], 0.1, "temperature"),
    ("temperature", '{"chatOpenAI_0": "0.1"}', 0.1, "temperature"),
    ("maxTokens", "5", 5, "max_tokens"),
    ("maxTokens", " 5 ", 5, "max_tokens"),
    ("maxTokens", "5.0", 5, "max_tokens"),
    ("maxTokens", 5.7, 5, "max_tokens"),
    ("maxTokens", "1e3", 1000, "max_tokens"),
    ("modelName", "other", "other", "model"),
    ("modelName", 4, "4", "model"),
    ("modelName", ["other"], "other", "model"),
]


@pytest.mark.parametrize(("name", "value", "wanted", "called"), READ, ids=str)
def test_a_value_is_read_as_the_flow_files_own_is(
    server: Server, upstream: Upstream, name: str, value: Any, wanted: Any, called: str
) -> None:
    asked = sent(server, upstream, open_flow(server, upstream, name), **{name: value})
    assert asked[called] == wanted
    if not str(value).startswith("{"):  # an object with a node's id says the same only in a request
        drawn = server.create_flow(conversation(upstream.url, model={name: value}))
        assert sent(server, upstream, drawn)[called] == wanted


UNREADABLE = [  # node, input, what the caller gives, and the reason
    ("OpenAI", "temperature", {"any": 0.1}, "is not a number"),
    ("OpenAI", "temperature", '{"any": 0.1', "is not a number"),
    ("OpenAI", "temperature", True, "is not a number"),
    ("OpenAI", "temperature", [0.1, 0.2], "is not a number"),
    ("OpenAI", "maxTokens", [1, 2], "is not a whole number"),
    ("OpenAI", "allowImageUploads", "perhaps", "'perhaps' is not true or false"),
    ("OpenAI", "allowImageUploads", {"a": 1}, "is not true or false"),
    ("OpenAI", "baseOptions", "X-Mine: 1", "'X-Mine: 1' is not JSON"),
    ("OpenAI", "baseOptions", '{"X-Mine": 1', "is not JSON"),
    ("OpenAI", "baseOptions", "[1]", "Expected `object`, got `array`"),
    ("OpenAI", "noSuchInput", "1", "does not read the input 'noSuchInput'"),
    ("Conversation Chain", "model", "gpt-4o", "a chat model must be connected here, not a text"),
    ("Conversation Chain", "model", "{{bufferMemory_0.data.instance}}", "a chat model must be connected here, not a"),
    ("Conversation Chain", "inputModeration", ["x"], "a moderation must be connected here, not a text"),
]


@pytest.mark.parametrize("as_form", [False, True], ids=["JSON", "form"])
@pytest.mark.parametrize(("label", "name", "value", "reason"), UNREADABLE, ids=str)
def test_a_value_that_cannot_be_read_is_refused_and_named(
    server: Server, upstream: Upstream, label: str, name: str, value: Any, reason: str, as_form: bool
) -> None:
    named: dict[str, Any] = {label.replace(" ", "_"): (name,)}
    flow_id = server.create_flow(conversation(upstream.url), **rules(**named))
    if as_form:
        body, headers = form({"question": "/say Hi", "overrideConfig": json.dumps({name: value})})
        reply = server.send("POST", f"/api/v1/prediction/{flow_id}", body, headers)
    else:
        reply = server.ask(flow_id, "/say Hi", overrideConfig={name: value})
    assert (reply.status, reply.json["code"]) == (400, "invalid_request")
    assert reason in reply.json["message"]
    assert repr(name) in reply.json["message"]
    assert reply.json["message"].startswith(f"{label} (")
    assert not upstream.requests


def form(fields: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """A multipart form of texts, and its header."""
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    return f"{''.join(parts)}--b--\r\n".encode(), {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize("value", ['{"b": "caller"}', ' {"b": "caller"} '], ids=["text", "with blanks"])
def test_an_object_may_be_a_json_text_for_forms_can_send_nothing_else(
    server: Server, upstream: Upstream, value: str
) -> None:
    drawn = llm_chain(upstream.url, "{a} {b} {c}", '{"a": "flow", "b": "flow", "c": "{{question}}"}')
    flow_id = server.create_flow(drawn, **rules(promptTemplate=("promptValues",)))
    body, headers = form({"question": "asked", "promptValues": value})
    assert server.send("POST", f"/api/v1/prediction/{flow_id}", body, headers).status == 200
    assert upstream.requests[-1].body["messages"] == [{"role": "user", "content": "flow caller asked"}]


STATES = ['[{"key": "k", "value": "new"}]', '{"k": "new"}', [{"key": "k", "value": "new"}], {"k": "new"}]


@pytest.mark.parametrize("value", STATES, ids=str)
def test_the_state_of_an_agent_flow_may_be_a_text_too(server: Server, value: Any) -> None:
    own = [{"key": "k", "value": "old"}, {"key": "other", "value": "kept"}]
    flow_id = server.create_flow(state_flow(own), type="AGENTFLOW", **rules(Start=("startState",)))
    assert server.ask(flow_id, "x", overrideConfig={"startState": value}).json["text"] == "new kept"
    assert server.ask(flow_id, "x").json["text"] == "old kept"


@pytest.mark.parametrize("value", ["k=new", "[{", '["k"]', 5], ids=str)
def test_a_state_that_cannot_be_read_is_refused(server: Server, value: Any) -> None:
    flow_id = server.create_flow(state_flow([]), type="AGENTFLOW", **rules(Start=("startState",)))
    reply = server.ask(flow_id, "x", overrideConfig={"startState": value})
    assert (reply.status, reply.json["code"]) == (400, "invalid_request")
    assert "Start (startAgentflow_0): the input 'startState'" in reply.json["message"]


def state_flow(state: Any) -> dict[str, Any]:
    """An agent flow that says what its state holds."""
    start = node("startAgentflow", "Agent Flows", label="Start", startInputType="chatInput", startState=state)
    said = "<p>{{ $flow.state.k }} {{ $flow.state.other }}</p>"
    reply = node("directReplyAgentflow", "Agent Flows", directReplyMessage=said)
    edge = {"source": "startAgentflow_0", "target": "directReplyAgentflow_0"}
    return {"nodes": [{**one, "type": "agentFlow"} for one in (start, reply)], "edges": [edge]}


FILTERS = [
    '{"team": "blue"}',
    {"team": "blue"},
    {"vectorStoreRetriever_0": {"team": "blue"}},
    {"team": {"$eq": "blue"}},
]


def filtered(server: Server, base: str, **retriever: Any) -> str:
    """A flow that answers from two teams' notes; callers may set the filter of its retriever."""
    notes = [
        node(
            "plainText", "Document Loaders", n, text=f"The {team} heron eats fish.", metadata=json.dumps({"team": team})
        )
        for n, team in enumerate(("red", "blue"))
    ]
    drawn = flow(
        chat_model(base), *notes,
        node("memoryVectorStore", "Vector Stores", output="vectorStore",
             document=["{{plainText_0.data.instance}}", "{{plainText_1.data.instance}}"]),
        node("vectorStoreRetriever", "Retrievers", vectorStore="{{memoryVectorStore_0.data.instance}}", **retriever),
        node("conversationalRetrievalQAChain", "Chains", model="{{chatOpenAI_0.data.instance}}",
             vectorStoreRetriever="{{vectorStoreRetriever_0.data.instance}}", returnSourceDocuments=True),
    )  # fmt: skip
    return server.create_flow(drawn, **rules(vectorStoreRetriever=("filter",)))


@pytest.mark.parametrize("value", FILTERS, ids=str)
def test_a_filter_is_never_dropped(server: Server, upstream: Upstream, value: Any) -> None:
    flow_id = filtered(server, upstream.url)
    reply = server.ask(flow_id, "Who eats fish, the heron?", overrideConfig={"filter": value})
    assert [one["metadata"]["team"] for one in reply.json["sourceDocuments"]] == ["blue"]


def test_a_callers_filter_narrows_the_flows_own(server: Server, upstream: Upstream) -> None:
    flow_id = filtered(server, upstream.url, filter='{"team": "blue"}')
    reply = server.ask(flow_id, "Who eats fish, the heron?", overrideConfig={"filter": '{"source": "elsewhere"}'})
    assert "sourceDocuments" not in reply.json or reply.json["sourceDocuments"] == []


@pytest.mark.parametrize("value", ["team=blue", '{"team": "blue"', ["blue"], 5, True], ids=str)
def test_a_filter_that_cannot_be_read_finds_nothing(server: Server, upstream: Upstream, value: Any) -> None:
    reply = server.ask(filtered(server, upstream.url), "Who eats fish?", overrideConfig={"filter": value})
    assert (reply.status, reply.json["code"]) == (400, "invalid_request")
    assert "vectorStoreRetriever (vectorStoreRetriever_0): the input 'filter'" in reply.json["message"]


@pytest.mark.parametrize("own", ['{"team": "blue"}', {"team": "blue"}], ids=str)
@pytest.mark.parametrize(
    "callers", ['{"kind": "note"}', {"kind": "note"}, {"retrieverTool_0": {"kind": "note"}}], ids=str
)
def test_the_filter_of_a_retriever_tool_is_kept_beside_a_callers(
    server: Server, upstream: Upstream, own: Any, callers: Any
) -> None:
    texts = [
        node("plainText", "Document Loaders", n, text=f"The {team} heron's {kind}.",
             metadata={"team": team, "kind": kind})
        for n, (team, kind) in enumerate((("red", "note"), ("blue", "note"), ("blue", "letter")))
    ]  # fmt: skip
    held = [f"{{{{plainText_{n}.data.instance}}}}" for n in range(3)]
    tool = node("retrieverTool", "Tools", name="look_up", description="d", retrieverToolMetadataFilter=own,
                retriever="{{memoryVectorStore_0.data.instance}}")  # fmt: skip
    store = node("memoryVectorStore", "Vector Stores", document=held, output="retriever")
    drawn = flow(*agent(upstream.url, tool)["nodes"], *texts, store)
    flow_id = server.create_flow(drawn, **rules(retrieverTool=("retrieverToolMetadataFilter",)))
    asked = '/tool look_up {"input": "heron"}'
    reply = server.ask(flow_id, asked, overrideConfig={"retrieverToolMetadataFilter": callers})
    assert reply.json["usedTools"][0]["toolOutput"] == "The blue heron's note."
    unread = server.ask(flow_id, asked, overrideConfig={"retrieverToolMetadataFilter": "kind=note"})
    assert (unread.status, unread.json["code"]) == (400, "invalid_request")


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
    assert sent(server, upstream, flow_id, vars=json.dumps(given))["messages"][0]["content"] == "called stored"
    refused = server.ask(flow_id, "/say Hi", overrideConfig={"vars": "x"})
    assert (refused.status, refused.json["code"]) == (400, "invalid_request")
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
