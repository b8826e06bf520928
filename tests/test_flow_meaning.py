"""What flows mean: script variables, filters, chosen links, inputs of earlier versions, passages and histories."""

import json
from collections.abc import Generator
from typing import Any

import pytest
from servers import Server, chat_model, flow, llm_chain, node, serving
from sites import Answer, Site, Visit, html, said
from test_tools import agent
from upstream import Upstream

from headrace.engine.inputs import current, read
from headrace.nodes import built_in

Drawn = dict[str, Any]


@pytest.fixture(scope="module")
def reaching(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server whose flows may reach this machine."""
    with serving(tmp_path_factory.mktemp("reaching") / "data", HEADRACE_ALLOWED_HOSTS="127.0.0.1") as server:
        yield server


# Script variables


def function(code: str, number: int = 0, variables: Any = "", output: str = "output") -> Drawn:
    made = node(
        "customFunction", "Utilities", number, output=output, functionInputVariables=variables, javascriptFunction=code
    )
    made["data"]["inputParams"] = [{"name": "functionInputVariables", "acceptVariable": True}]
    return made


def answered(server: Server, *nodes: Drawn, question: str = "Hello") -> Any:
    reply = server.ask(server.create_flow(flow(*nodes)), question)
    assert reply.status == 200, reply.text
    return reply.json["text"]


def chosen(code: str, variables: Any) -> list[Drawn]:
    """An If Else function with an ending for each branch."""
    branch = node(
        "ifElseFunction", "Utilities", functionInputVariables=variables, ifFunction=code, elseFunction="return 'other'"
    )
    branch["data"]["inputParams"] = [{"name": "functionInputVariables", "acceptVariable": True}]
    taken = "{{ifElseFunction_0.data.instance}}"
    ends = [function(f"return 'end {n}: ' + $v", n, {"v": taken}, "EndingNode") for n in (1, 2)]
    return [branch, *ends]


def branched(server: Server, code: str, variables: Any = "", question: str = "Hello") -> str:
    nodes = chosen(code, variables)
    edges = [
        {
            "source": "ifElseFunction_0",
            "target": f"customFunction_{n}",
            "sourceHandle": f"ifElseFunction_0-output-return{branch}-x",
        }
        for n, branch in ((1, "True"), (2, "False"))
    ]
    reply = server.ask(server.create_flow({"nodes": nodes, "edges": edges}), question)
    assert reply.status == 200, reply.text
    return reply.json["text"]


def test_every_script_reads_the_question_as_input(server: Server, upstream: Upstream) -> None:
    assert answered(server, function("return 'asked: ' + $input", output="EndingNode")) == "asked: Hello"
    assert branched(server, "return $input === 'Hello' && 'it is ' + $input") == "end 1: it is Hello"
    assert branched(server, "return $input === 'Hello' && 'x'", question="Bye") == "end 2: other"
    tool = node(
        "customTool", "Tools", customToolName="t", customToolDesc="d", customToolSchema="z.object({})",
        customToolFunc="return 'asked: ' + $input.length + ' ' + ($input === $flow.input)",
    )  # fmt: skip
    asked = "/tool t {}"
    answer = server.ask(server.create_flow(agent(upstream.url, tool)), asked).json
    assert answer["usedTools"][0]["toolOutput"] == f"asked: {len(asked)} true"


def test_an_argument_of_that_name_has_its_own_value(server: Server, upstream: Upstream) -> None:
    tool = node(
        "customTool", "Tools", customToolName="t", customToolDesc="d",
        customToolSchema="z.object({ input: z.string() })",
        customToolFunc="return 'given: ' + $input",
    )  # fmt: skip
    answer = server.ask(server.create_flow(agent(upstream.url, tool)), '/tool t {"input": "mine"}').json
    assert answer["usedTools"][0]["toolOutput"] == "given: mine"
    assert answered(server, function("return $input", variables={"input": "mine"}, output="EndingNode")) == "mine"


READ: dict[str, tuple[str, str]] = {  # what the node before returns, and what the script makes of it
    "an object": ('return {"positive": true}', "object true"),
    "a text of an object": ("return '{\"positive\": true}'", "object true"),
    "a text that only looks like one": ("return '{positive}'", "string undefined"),
    "a list": ("return [true]", "string undefined"),
    "a text with an object in it": ("return 'so: {\"positive\": true}'", "string undefined"),
    "an object behind a blank": ("return ' {\"positive\": true}'", "string undefined"),
    "a text": ("return 'positive'", "string undefined"),
}


@pytest.mark.parametrize(("code", "wanted"), READ.values(), ids=READ.keys())
def test_a_variable_whose_text_is_an_object_is_that_object(server: Server, code: str, wanted: str) -> None:
    variables = '{"s": "{{customFunction_0.data.instance}}"}'
    code_after = "return typeof $s + ' ' + $s.positive"
    assert answered(server, function(code), function(code_after, 1, variables, "EndingNode")) == wanted


def test_an_object_in_the_variables_and_one_that_a_question_is_are_objects_too(server: Server) -> None:
    own = function("return $s.a.b + 1", variables='{"s": {"a": {"b": 41}}}', output="EndingNode")
    assert answered(server, own) == "42"
    asked = function("return $q.town", variables='{"q": "{{question}}"}', output="EndingNode")
    assert answered(server, asked, question='{"town": "Oslo"}') == "Oslo"
    assert branched(server, "return $q.yes && 'yes'", '{"q": "{{question}}"}', '{"yes": true}') == "end 1: yes"
    assert branched(server, "return $q.yes && 'yes'", '{"q": "{{question}}"}', '{"yes": false}') == "end 2: other"


@pytest.mark.parametrize(
    ("code", "wanted"),
    [("return 'heron'", "the heron"), ("return ['heron']", 'the ["heron"]'), ("return ['a', 'b']", 'the ["a","b"]'),
     ("return 5", "the 5")],
)  # fmt: skip
@pytest.mark.parametrize("wired", [True, False], ids=["a list", "a reference"])
@pytest.mark.parametrize("again", [True, False], ids=["read again", "handed on"])
def test_a_variable_that_is_set_from_a_list_of_one_is_what_is_in_it(
    server: Server, code: str, wanted: str, wired: bool, again: bool
) -> None:
    given: Any = "{{customFunction_0.data.instance}}"
    nodes = [
        function(code),
        node("setVariable", "Utilities", input=[given] if wired else given, variableName="bird", output="output"),
    ]
    source = "{{setVariable_0.data.instance}}"
    variables = {"b": source}
    if again:
        nodes.append(node("getVariable", "Utilities", variableName="bird", output="output"))
        variables = {"b": "{{getVariable_0.data.instance}}", "first": source}
    nodes.append(function("return 'the ' + $b", 1, variables, "EndingNode"))
    assert answered(server, *nodes) == wanted


# Filters


def notes(*, splitter: str = "", store: Drawn | None = None) -> list[Drawn]:
    """The notes of two tenants in one store."""
    texts = [
        node("plainText", "Document Loaders", n, text=f"{tenant}: the heron spears fish.",
             metadata={"tenant": tenant, "kind": kind})
        for n, (tenant, kind) in enumerate((("a", "note"), ("b", "note"), ("a", "letter")))
    ]  # fmt: skip
    wires = {"document": [f"{{{{plainText_{n}.data.instance}}}}" for n in range(3)], "topK": 9}
    return [*texts, node("memoryVectorStore", "Vector Stores", **wires, **(store or {"output": "retriever"}))]


def found(server: Server, base: str, condition: Any, *nodes: Drawn, retriever: str) -> list[str]:
    """The texts that a retriever tool with this filter finds."""
    tool = node(
        "retrieverTool", "Tools", name="look_up", description="d", retriever=f"{{{{{retriever}.data.instance}}}}",
        retrieverToolMetadataFilter=condition,
    )  # fmt: skip
    drawn = agent(base, tool)
    drawn = flow(*drawn["nodes"], *nodes)
    reply = server.ask(server.create_flow(drawn), '/tool look_up {"input": "heron"}', chatId="b")
    assert reply.status == 200, reply.text
    return sorted(reply.json["usedTools"][0]["toolOutput"].split("\n\n"))


A, B = "a: the heron spears fish.", "b: the heron spears fish."
CONDITIONS: dict[str, tuple[Any, list[str]]] = {
    "none": ("", [A, A, B]),
    "a text": ('{"tenant": "a"}', [A, A]),
    "an object": ({"tenant": "b"}, [B]),
    "operators": ('{"tenant": {"$ne": "b"}, "kind": "note"}', [A]),
    "nobody's": ('{"tenant": "c"}', [""]),
    "the run's own": ('{"tenant": "$flow.chatId"}', [B]),
    "the run's own, deep inside": ({"$or": [{"tenant": "$flow.sessionId"}]}, [B]),
    "a reference": ('{"tenant": "{{$flow.chatId}}"}', [B]),
}


@pytest.mark.parametrize(("condition", "texts"), CONDITIONS.values(), ids=CONDITIONS.keys())
def test_the_filter_of_a_retriever_tool_holds(
    server: Server, upstream: Upstream, condition: Any, texts: list[str]
) -> None:
    assert found(server, upstream.url, condition, *notes(), retriever="memoryVectorStore_0") == texts


STORE = "{{memoryVectorStore_0.data.instance}}"
MODEL = "{{chatOpenAI_0.data.instance}}"
RETRIEVERS: dict[str, Drawn] = {
    "vectorStoreRetriever": {"vectorStore": STORE, "filter": '{"kind": "note"}', "topK": 9},
    "similarityThresholdRetriever": {"vectorStore": STORE, "minSimilarityScore": 0},
    "customRetriever": {"vectorStore": STORE, "resultFormat": "{{context}}", "topK": 9},
    "HydeRetriever": {"vectorStore": STORE, "model": MODEL, "customPrompt": "/say heron", "topK": 9},
    "multiQueryRetriever": {"vectorStore": STORE, "model": MODEL, "modelPrompt": "/say heron"},
}


@pytest.mark.parametrize(("name", "inputs"), RETRIEVERS.items(), ids=RETRIEVERS.keys())
def test_it_reaches_through_every_kind_of_retriever(
    server: Server, upstream: Upstream, name: str, inputs: Drawn
) -> None:
    nodes = [*notes(store={"output": "vectorStore"}), node(name, "Retrievers", **inputs)]
    texts = found(server, upstream.url, '{"tenant": "b"}', *nodes, retriever=f"{name}_0")
    assert texts == [B]


def test_it_reaches_through_retrievers_that_hold_another(server: Server, upstream: Upstream) -> None:
    inner = node("vectorStoreRetriever", "Retrievers", vectorStore=STORE, topK=9)
    outer = node(
        "RRFRetriever",
        "Retrievers",
        baseRetriever="{{vectorStoreRetriever_0.data.instance}}",
        model=MODEL,
        queryCount=1,
    )
    nodes = [*notes(store={"output": "vectorStore"}), inner, outer]
    assert found(server, upstream.url, '{"tenant": "b"}', *nodes, retriever="RRFRetriever_0") == [B]


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("tenant=a", "is not JSON"),
        ('["a"]', "Expected `object`, got `array`"),
        ('{"tenant": "$flow.nothing"}', "$flow.nothing"),
    ],
)
def test_a_filter_that_cannot_be_read_stops_the_run(
    server: Server, upstream: Upstream, condition: str, reason: str
) -> None:
    tool = node(
        "retrieverTool", "Tools", name="look_up", description="d", retriever="{{memoryVectorStore_0.data.instance}}",
        retrieverToolMetadataFilter=condition,
    )  # fmt: skip
    drawn = flow(*agent(upstream.url, tool)["nodes"], *notes())
    reply = server.ask(server.create_flow(drawn), '/tool look_up {"input": "heron"}')
    assert (reply.status, reply.json["code"]) == (422, "flow_error")
    assert reason in reply.json["message"]


# Inputs of earlier versions


OLD_REQUESTS: dict[str, tuple[str, Drawn, str]] = {
    "get": ("requestsGet", {}, "GET"),
    "post": ("requestsPost", {"body": '{"a": 1}'}, "POST"),
    "put": ("requestsPut", {"body": {"a": 1}}, "PUT"),
    "delete": ("requestsDelete", {}, "DELETE"),
}


@pytest.mark.parametrize(("name", "inputs", "method"), OLD_REQUESTS.values(), ids=OLD_REQUESTS.keys())
def test_the_first_versions_of_the_requests_tools_keep_their_address_and_headers(
    reaching: Server, upstream: Upstream, web: Site, name: str, inputs: Drawn, method: str
) -> None:
    seen: list[Visit] = []

    def kept(visit: Visit) -> Answer:
        seen.append(visit)
        return said({"body": visit.body.decode()})

    web.default = kept
    tool = node(name, "Tools", url=f"{web.url}/echo/fixed", description="Fetch", headers='{"X-Test": "yes"}', **inputs)
    drawn = agent(upstream.url, tool)
    called = f"requests_{method.lower()}"
    answer = reaching.ask(reaching.create_flow(drawn), f"/tool {called} {{}}").json
    assert not answer["usedTools"][0].get("error"), answer
    (visit,) = seen
    assert (visit.method, visit.path, visit.headers["x-test"]) == (method, "/echo/fixed", "yes")
    assert json.loads(visit.body or b"{}") == ({"a": 1} if inputs else {})
    (offered,) = upstream.requests[0].body["tools"]
    assert offered["function"]["description"] == "Fetch"
    assert "url" not in offered["function"]["parameters"]["properties"]


FORMER: dict[str, tuple[str, Drawn, Drawn]] = {
    "arXiv": ("arxiv", {"name": "papers", "description": "Old."}, {"arxivName": "papers", "arxivDescription": "Old."}),
    "the old name counts first": ("arxiv", {"name": "papers", "arxivName": "other"}, {"arxivName": "papers"}),
    "an empty old name does not": ("arxiv", {"name": "", "arxivName": "other"}, {"arxivName": "other"}),
    "OpenAPI": ("openAPIToolkit", {"yamlFile": "data:x"}, {"openApiFile": "data:x"}),
    "a query's schema": ("requestsGet", {"queryParamsSchema": "{}"}, {"schema": "{}"}),
    "a body's schema": ("requestsPost", {"bodySchema": "{}"}, {"schema": "{}"}),
}


@pytest.mark.parametrize(("name", "inputs", "wanted"), FORMER.values(), ids=FORMER.keys())
def test_inputs_of_earlier_versions_are_read(name: str, inputs: Drawn, wanted: Drawn) -> None:
    kind = built_in()[name]
    record = read(kind, current(kind, inputs), name)
    assert {field: getattr(record, field) for field in wanted} == wanted


# Chosen links


LINKS: dict[str, tuple[Drawn, list[str]]] = {
    "a list": ({"selectedLinks": ["{url}/one", "{url}/two"]}, ["/one", "/two"]),
    "a text": ({"selectedLinks": '["{url}/one", "{url}/two"]'}, ["/one", "/two"]),
    "one of them": ({"selectedLinks": "{url}/two"}, ["/two"]),
    "with a way to crawl": ({"selectedLinks": ["{url}/one"], "relativeLinksMethod": "webCrawl"}, ["/one"]),
    "with a limit": ({"selectedLinks": ["{url}/one", "{url}/two"], "limit": "1"}, ["/one"]),
    "without a limit": ({"selectedLinks": ["{url}/one", "{url}/two"], "limit": "0"}, ["/one", "/two"]),
    "none": ({"selectedLinks": []}, ["/start"]),
    "none, as a text": ({"selectedLinks": "[]"}, ["/start"]),
    "none, and to crawl": (
        {"selectedLinks": "", "relativeLinksMethod": "webCrawl", "limit": " 9 "},
        ["/start", "/one"],
    ),
}


@pytest.mark.parametrize(("inputs", "paths"), LINKS.values(), ids=LINKS.keys())
def test_the_links_that_the_author_chose_are_read_and_nothing_else(
    reaching: Server, upstream: Upstream, web: Site, inputs: Drawn, paths: list[str]
) -> None:
    seen: list[str] = []

    def page(visit: Visit) -> Answer:
        seen.append(visit.path)
        return html('<p>The heron spears fish.</p><a href="/one">more</a>')

    web.default = page
    filled = json.loads(json.dumps(inputs).replace("{url}", web.url))
    drawn = flow(
        chat_model(upstream.url),
        node("cheerioWebScraper", "Document Loaders", url=f"{web.url}/start", **filled),
        node("memoryVectorStore", "Vector Stores", output="retriever",
             document="{{cheerioWebScraper_0.data.instance}}"),
        node("retrievalQAChain", "Chains", model=MODEL, vectorStoreRetriever=STORE),
    )  # fmt: skip
    assert reaching.ask(reaching.create_flow(drawn), "heron").status == 200
    assert seen == paths


# Prompts, passages, histories

STRUCTURE = [{"property": "title", "type": "string", "description": "The title"}]


PROMPTS: dict[str, tuple[Drawn, int]] = {
    "one message": (node("promptTemplate", "Prompts", template="Form: {format_instructions}\n{input}"), 0),
    "a system message": (
        node(
            "chatPromptTemplate", "Prompts", systemMessagePrompt="{format_instructions}", humanMessagePrompt="{input}"
        ),
        0,
    ),
    "a human message": (
        node(
            "chatPromptTemplate",
            "Prompts",
            systemMessagePrompt="Be.",
            humanMessagePrompt="{format_instructions}\n{input}",
        ),
        1,
    ),
    "one that does not name it": (node("promptTemplate", "Prompts", template="{input}"), 0),
}


@pytest.mark.parametrize(("prompt", "place"), PROMPTS.values(), ids=PROMPTS.keys())
def test_what_an_output_parser_says_is_a_value_of_the_prompt(
    server: Server, upstream: Upstream, prompt: Drawn, place: int
) -> None:
    parser = node("structuredOutputParser", "Output Parsers", jsonStructure=STRUCTURE)
    drawn = flow(
        chat_model(upstream.url), prompt, parser,
        node("llmChain", "Chains", output="llmChain", model=MODEL, prompt=f"{{{{{prompt['id']}.data.instance}}}}",
             outputParser="{{structuredOutputParser_0.data.instance}}"),
    )  # fmt: skip
    reply = server.ask(server.create_flow(drawn), '/say {"title":"Heron"}')
    assert reply.json.get("json") == {"title": "Heron"}, reply.text
    messages = upstream.requests[-1].body["messages"]
    assert "JSON Schema" in messages[place]["content"]
    assert json.dumps(messages).count("JSON Schema") == 1


def retrieving(base: str, **inputs: Any) -> Drawn:
    """An agent that retrieves before it answers."""
    wires: Drawn = {"model": MODEL, "memory": "{{bufferMemory_0.data.instance}}", "vectorStoreRetriever": STORE}
    return flow(
        chat_model(base), node("bufferMemory", "Memory"), node("calculator", "Tools"), *notes(),
        node("conversationalRetrievalToolAgent", "Agents", tools=["{{calculator_0.data.instance}}"],
             **{**wires, **inputs}),
    )  # fmt: skip


SYSTEMS: dict[str, tuple[Drawn, str]] = {
    "where the message wants them": ({"systemMessage": "From this: {context} Be brief."}, "Be brief."),
    "behind one that does not name them": ({"systemMessage": "Be brief."}, "</doc>"),
    "behind the default one": ({}, "</doc>"),
}


@pytest.mark.parametrize(("inputs", "end"), SYSTEMS.values(), ids=SYSTEMS.keys())
def test_an_agent_reads_the_passages_in_its_system_message(
    server: Server, upstream: Upstream, inputs: Drawn, end: str
) -> None:
    flow_id = server.create_flow(retrieving(upstream.url, **inputs))
    answer = server.ask(flow_id, 'heron /tool calculator {"input": "6*7"}').json
    assert answer["usedTools"][0]["toolOutput"] == "42"
    first, *_ = upstream.requests[0].body["messages"]
    assert (first["role"], first["content"].endswith(end)) == ("system", True)
    assert f">{B}</doc>" in first["content"]


def test_it_looks_for_a_question_that_continues_a_conversation_by_what_it_means(
    server: Server, upstream: Upstream
) -> None:
    inputs = {"rephrasePrompt": "/say heron | {chat_history} | {question}", "systemMessage": "{context}"}
    flow_id = server.create_flow(retrieving(upstream.url, **inputs))
    server.ask(flow_id, "Who spears fish?", chatId="c")
    server.ask(flow_id, "Where does it live?", chatId="c")
    _, asked, answered = upstream.requests
    assert "human: Who spears fish?" in asked.body["messages"][0]["content"]
    assert asked.body["messages"][0]["content"].endswith("Where does it live?")
    assert f">{A}</doc>" in answered.body["messages"][0]["content"]
    assert answered.body["messages"][-1]["content"] == "Where does it live?"


def test_it_does_without_a_retriever_as_well(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(retrieving(upstream.url, vectorStoreRetriever="", systemMessage="[{context}]"))
    assert server.ask(flow_id, "/say Hi").json["text"] == "Hi"
    assert upstream.requests[-1].body["messages"][0]["content"] == "[]"


@pytest.mark.parametrize("memory", ["", "{{gone_0.data.instance}}"], ids=["none", "a removed one"])
def test_a_retrieval_chain_without_a_memory_remembers_the_session(
    server: Server, upstream: Upstream, memory: str
) -> None:
    chain = node(
        "conversationalRetrievalQAChain", "Chains", model=MODEL, vectorStoreRetriever=STORE, memory=memory,
        responsePrompt="{context} [{chat_history}]",
    )  # fmt: skip
    flow_id = server.create_flow(flow(chat_model(upstream.url), *notes(), chain))
    first = server.ask(flow_id, "Who spears fish?", chatId="c").json["text"]
    server.ask(flow_id, "Where does it live?", chatId="c")
    system, *said = upstream.requests[-1].body["messages"]
    assert [one["content"] for one in said] == ["Who spears fish?", first, "Where does it live?"]
    assert system["content"].endswith(f"[human: Who spears fish?\nai: {first}]")
    server.ask(flow_id, "And else?", chatId="d")
    assert len(upstream.requests[-1].body["messages"]) == 2


def test_a_prompt_with_two_open_variables_still_says_so(server: Server, upstream: Upstream) -> None:
    reply = server.ask(server.create_flow(llm_chain(upstream.url, "{a} {format_instructions}")), "x")
    assert (reply.status, reply.json["code"]) == (422, "flow_error")


# Message history as code


OBJECTS = """
const { HumanMessage, AIMessage, ToolMessage } = require("@langchain/core/messages");
return [
  new HumanMessage("2 + 3?"),
  new AIMessage({ content: "", tool_calls: [{ id: "c", name: "add", args: { a: 2 } }] }),
  new ToolMessage({ tool_call_id: "c", content: "5" }),
  new AIMessage("It is 5."),
];
"""
SPELT = 'return [["human", "2 + 3?"], {role: "assistant", content: "It is 5."}, "And " + $input]'


def with_history(base: str, code: str) -> Drawn:
    prompt = node(
        "chatPromptTemplate",
        "Prompts",
        systemMessagePrompt="Add.",
        humanMessagePrompt="{question}",
        messageHistory="messageHistoryCode",
        messageHistoryCode=code,
    )
    chain = node(
        "llmChain", "Chains", model="{{chatOpenAI_0.data.instance}}", prompt="{{chatPromptTemplate_0.data.instance}}"
    )
    return flow(chat_model(base), prompt, chain)


@pytest.mark.parametrize(
    ("code", "right"),
    [
        (OBJECTS, ["user: 2 + 3?", "assistant: ", "tool: 5", "assistant: It is 5."]),
        (SPELT, ["user: 2 + 3?", "assistant: It is 5.", "user: And /say Hi"]),
        ("return []", []),
    ],
    ids=["LangChain's objects", "pairs, objects and texts", "none"],
)
def test_message_history_as_code_stands_between_the_two_messages(
    server: Server, upstream: Upstream, code: str, right: list[str]
) -> None:
    made = server.send(
        "POST", "/api/v1/chatflows", {"name": "x", "flowData": json.dumps(with_history(upstream.url, code))}, admin=True
    ).json
    assert made["coverage"]["findings"] == []
    reply = server.ask(made["id"], "/say Hi")
    assert (reply.status, reply.json.get("text")) == (200, "Hi"), reply.text
    told = upstream.requests[-1].body["messages"]
    lines = [f"{one['role']}: {one.get('content') or ''}" for one in told]
    assert lines == ["system: Add.", *right, "user: /say Hi"]
    called = [one for one in told if one.get("tool_calls")]
    assert [one["tool_calls"][0]["function"]["arguments"] for one in called] == ['{"a":2}'] * len(called)


@pytest.mark.parametrize("code", ["return 5", "return [5]", "return [{}]", "return [[]]", "return", "throw 1"])
def test_message_history_that_is_none_is_told_in_words(server: Server, upstream: Upstream, code: str) -> None:
    reply = server.ask(server.create_flow(with_history(upstream.url, code)), "Hello")
    assert (reply.status, reply.json["code"] in ("flow_error", "script_error")) == (422, True), reply.text
    assert upstream.requests == []
