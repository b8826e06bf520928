"""Flow files as people have them: leftovers, lists as texts, removed nodes, scripts' own forms, things not here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agentflows import flow as agentflow
from agentflows import llm, start
from agentflows import node as agent_node
from servers import Server, chat_model, conversation, flow, llm_chain, node, serving
from test_overrides import rules
from test_tools import agent
from upstream import Upstream

from headrace.engine.flow_file import read_flow
from headrace.engine.graph import endings
from headrace.errors import InvalidRequest
from headrace.exports import read_export, read_exports

NOWHERE = "11111111-2222-4333-8444-555555555555"
BASE = "http://127.0.0.1:9/v1"
Drawn = dict[str, Any]


# What is left over on the canvas


def wire(source: str, target: str, output: str = "x") -> Drawn:
    return {"source": source, "target": target, "sourceHandle": f"{source}-output-{output}"}


EMBEDDINGS = node("hashedEmbeddings", "Embeddings")
STORE = node("memoryVectorStore", "Vector Stores", embeddings="{{hashedEmbeddings_0.data.instance}}")
SIMPLE = node("inputModerationSimple", "Moderation", denyList="x", model="{{chatOpenAI_9.data.instance}}")
TOOL = node("chainTool", "Tools", name="t", description="d", baseChain="{{llmChain_9.data.instance}}")
OPEN_CHAIN = node("llmChain", "Chains", 8, output="outputPrediction", model="{{chatOpenAI_9.data.instance}}")
NOTE: Drawn = {"id": "note_0", "type": "stickyNote", "data": {"id": "note_0", "inputs": {"note": "mind the gap"}}}

LEFTOVERS: dict[str, tuple[list[Drawn], list[Drawn]]] = {
    "a store with its embeddings": ([EMBEDDINGS, STORE], [wire("hashedEmbeddings_0", "memoryVectorStore_0")]),
    "a moderation with its model": (
        [chat_model(BASE, 9), SIMPLE],
        [wire("chatOpenAI_9", "inputModerationSimple_0")],
    ),
    "a tool with its chain": (
        [node("llmChain", "Chains", 9), TOOL],
        [wire("llmChain_9", "chainTool_0")],
    ),
    "a chain that gives its answer to nobody": (
        [chat_model(BASE, 9), OPEN_CHAIN],
        [wire("chatOpenAI_9", "llmChain_8")],
    ),
    "a node of a kind that is not here, with another": (
        [node("puppeteerWebScraper", "Document Loaders"), node("couchbase", "Vector Stores")],
        [wire("puppeteerWebScraper_0", "couchbase_0")],
    ),
    "nodes without any arrow": ([EMBEDDINGS, node("calculator", "Tools")], []),
    "a sticky note": ([NOTE], [wire("note_0", "conversationChain_0")]),
    "arrows to what was removed": ([], [wire("conversationChain_0", "gone_0"), wire("gone_0", "gone_1")]),
    "an arrow from a node to itself": ([], [wire("conversationChain_0", "conversationChain_0")]),
}


@pytest.mark.parametrize(("nodes", "edges"), LEFTOVERS.values(), ids=LEFTOVERS.keys())
@pytest.mark.parametrize("first", [False, True], ids=["behind", "in front"])
def test_what_is_left_over_on_the_canvas_does_no_harm(
    server: Server, upstream: Upstream, nodes: list[Drawn], edges: list[Drawn], first: bool
) -> None:
    drawn = conversation(upstream.url)
    every = [*nodes, *drawn["nodes"]] if first else [*drawn["nodes"], *nodes]
    reply = server.ask(server.create_flow({"nodes": every, "edges": [*drawn["edges"], *edges]}), "/say Hi")
    assert (reply.status, reply.json.get("text")) == (200, "Hi"), reply.text


def test_of_several_endings_the_last_that_can_end_a_flow_answers(server: Server, upstream: Upstream) -> None:
    one, two = conversation(upstream.url), llm_chain(upstream.url, "/say two {x}")
    two = json.loads(json.dumps(two).replace("chatOpenAI_0", "chatOpenAI_1"))
    left, arrows = LEFTOVERS["a store with its embeddings"]
    drawn = {
        "nodes": [*one["nodes"], *two["nodes"], *left],
        "edges": [*one["edges"], *two["edges"], *arrows],
    }
    assert server.ask(server.create_flow(drawn), "x").json["text"] == "two x"


def test_a_flow_of_leftovers_alone_says_why_it_cannot_run(server: Server) -> None:
    nodes, edges = LEFTOVERS["a store with its embeddings"]
    reply = server.ask(server.create_flow({"nodes": nodes, "edges": edges}), "x")
    assert (reply.status, reply.json["code"]) == (422, "flow_error")
    assert "'memoryVectorStore_0' cannot end a flow" in reply.json["message"]


# How files are written


def without(name: str) -> Callable[[Drawn], Drawn]:
    """The flow without this key in the data of its nodes."""

    def left_out(drawn: Drawn) -> Drawn:
        nodes = [{**one, "data": {k: v for k, v in one["data"].items() if k != name}} for one in drawn["nodes"]]
        return {**drawn, "nodes": nodes}

    return left_out


def numbered(drawn: Drawn) -> Drawn:
    """The flow with numbers in the place of ids, and references to them."""
    text = json.dumps(drawn)
    for number, one in enumerate(drawn["nodes"]):
        text = text.replace(f'"{one["id"]}"', str(number)).replace(one["id"], str(number))
    return json.loads(text)


def each(**values: Any) -> Callable[[Drawn], Drawn]:
    """The flow with these values in the data of its nodes."""
    return lambda drawn: {**drawn, "nodes": [{**o, "data": {**o["data"], **values}} for o in drawn["nodes"]]}


FORMS: dict[str, Callable[[Drawn], Any]] = {
    "without data.id": without("id"),
    "with another data.id": each(id="other"),
    "without names, which the ids tell": without("name"),
    "without labels and outputs": lambda drawn: without("label")(without("outputs")(drawn)),
    "with null where nothing is": each(outputs=None, inputParams=None, credential=None),
    "with lists where nothing is": each(outputs=[], inputParams=[], inputAnchors=[]),
    "with numbers as ids": numbered,
    "without edges": lambda drawn: {"nodes": drawn["nodes"]},
    "with edges null": lambda drawn: {**drawn, "edges": None},
    "with half of an edge": lambda drawn: {
        **drawn,
        "edges": [*drawn["edges"], {"source": "a"}, {"target": 5}, 7, None],
    },
    "with an edge of numbers and nulls": lambda drawn: {
        **drawn,
        "edges": [*drawn["edges"], {"source": 1, "target": 2, "sourceHandle": 3}, {"source": None, "target": None}],
    },
    "with a place on the canvas and more": lambda drawn: {**drawn, "viewport": {"x": 0}, "description": None},
    "with a node without inputs": lambda drawn: {
        **drawn,
        "nodes": [*drawn["nodes"], {"id": "calculator_0", "data": {"name": "calculator", "inputs": None}}],
    },
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_file_may_leave_out_what_the_rest_of_it_tells(
    server: Server, upstream: Upstream, form: Callable[[Drawn], Any]
) -> None:
    reply = server.ask(server.create_flow(form(conversation(upstream.url))), "/say Hi")
    assert (reply.status, reply.json.get("text")) == (200, "Hi"), reply.text


@pytest.mark.parametrize("text", ["\ufeff{}", " \n{}\n", '"{}"'], ids=["a mark in front", "blanks", "a text of JSON"])
def test_a_flow_may_be_wrapped_in_marks_blanks_and_json(text: str) -> None:
    drawn = json.dumps(conversation(BASE))
    wrapped = json.dumps(drawn) if text.startswith('"') else text.replace("{}", drawn)
    assert [last.id for last in endings(read_flow(wrapped))] == ["conversationChain_0"]


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
CONTENTS: dict[str, Callable[[Drawn], Any]] = {
    "a bare flow": lambda drawn: drawn,
    "a row": lambda drawn: {"name": "Heron Ä", "flowData": json.dumps(drawn)},
    "a row with an object": lambda drawn: {"name": "Heron Ä", "flowData": drawn},
    "a list of rows": lambda drawn: [{"name": "Heron Ä", "flowData": json.dumps(drawn), "type": "CHATFLOW"}],
    "a list of bare flows": lambda drawn: [drawn],
    "a full export": lambda drawn: {"ChatFlow": [{"name": "Heron Ä", "flowData": json.dumps(drawn)}], "Tool": []},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_a_file_may_have_any_encoding_of_json_and_any_form(
    tmp_path: Path, encoding: str, content: Callable[[Drawn], Any]
) -> None:
    path = tmp_path / "Heron Ä.json"
    path.write_bytes(json.dumps(content(conversation(BASE)), ensure_ascii=False).encode(encoding))
    (row,) = read_export(path).flows
    assert row.name.removesuffix(" 1") == "Heron Ä"
    assert [last.id for last in endings(read_flow(row.flowData))] == ["conversationChain_0"]


def test_every_bad_file_is_named_in_one_answer_and_every_good_one(tmp_path: Path) -> None:
    bad = {
        "package.json": '{"name": "x", "version": "1.0.0"}',
        "cut.json": '{"nodes": [',
        "picture.json": b"\x89PNG\r\n\x1a\n",
        "empty.json": "",
        "two.json": json.dumps({"ChatFlow": [{"name": n, "flowData": "{"} for n in ("first", "second")]}),
        "list.json": json.dumps([{"name": "third", "flowData": "["}, 5]),
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "good.json").write_text(json.dumps(conversation(BASE)))
    with pytest.raises(InvalidRequest) as caught:
        read_exports(sorted(tmp_path.glob("*.json")))
    for named in (*bad, "good.json", "'first'", "'second'", "third"):
        assert named in str(caught.value)
    assert "good.json" in str(caught.value).splitlines()[-1]


# Lists, single references, and references to what was removed


def birds(base: str, **store: Any) -> Drawn:
    """Passages about a bird, in a store without embeddings."""
    text = node("plainText", "Document Loaders", text="The heron spears fish.")
    wires: Drawn = {"model": "{{chatOpenAI_0.data.instance}}", "returnSourceDocuments": True}
    return flow(
        chat_model(base), text,
        node("memoryVectorStore", "Vector Stores", output="retriever", **store),
        node("conversationalRetrievalQAChain", "Chains", **wires,
             vectorStoreRetriever="{{memoryVectorStore_0.data.instance}}"),
    )  # fmt: skip


HERE, GONE = "{{plainText_0.data.instance}}", "{{apifyWebsiteContentCrawler_0.data.instance}}"


@pytest.mark.parametrize(
    "document",
    [HERE, [HERE], [GONE, HERE], [HERE, GONE], [HERE, ""], ["", None, HERE], [[HERE]], [f" {GONE} ", HERE]],
    ids=str,
)
def test_a_list_of_connections_is_read_however_it_is_written(server: Server, upstream: Upstream, document: Any) -> None:
    reply = server.ask(server.create_flow(birds(upstream.url, document=document)), "What does the heron spear?")
    assert reply.status == 200, reply.text
    assert [one["pageContent"] for one in reply.json["sourceDocuments"]] == ["The heron spears fish."]


CALCULATOR = "{{calculator_0.data.instance}}"


@pytest.mark.parametrize("tools", [CALCULATOR, [CALCULATOR], [GONE, CALCULATOR], [[CALCULATOR]]], ids=str)
def test_an_agents_tools_too(server: Server, upstream: Upstream, tools: Any) -> None:
    drawn = agent(upstream.url, node("calculator", "Tools"), tools=tools)
    answer = server.ask(server.create_flow(drawn), '/tool calculator {"input": "6*7"}').json
    assert [one["toolOutput"] for one in answer["usedTools"]] == ["42"]


@pytest.mark.parametrize("moderation", ["", [], GONE, [GONE], [""]], ids=str)
def test_one_connection_may_be_a_list_of_one_and_a_removed_one_is_none(
    server: Server, upstream: Upstream, moderation: Any
) -> None:
    drawn = conversation(
        upstream.url, model={}, inputModeration=moderation, memory="bufferMemory", chatPromptTemplate=GONE
    )
    drawn["nodes"][-1]["data"]["inputs"]["model"] = ["{{chatOpenAI_0.data.instance}}"]
    assert server.ask(server.create_flow(drawn), "/say Hi").json["text"] == "Hi"


WRONG: dict[str, tuple[Drawn, str]] = {
    "a removed model": ({"model": GONE}, "input 'model' is not set or not connected"),
    "two models": (
        {"model": ["{{chatOpenAI_0.data.instance}}"] * 2},
        "a chat model can be connected here, not 2 nodes",
    ),
    "a memory as the model": ({"model": "{{bufferMemory_0.data.instance}}"}, "must be connected here, not a memory"),
    "a text as the memory": ({"memory": "all of it"}, "a memory must be connected here, not a text"),
    "a model as the memory": ({"memory": "{{chatOpenAI_0.data.instance}}"}, "not a chat model"),
    "a number as a moderation": ({"inputModeration": [5]}, "a moderation must be connected here, not 5"),
}


@pytest.mark.parametrize(("inputs", "reason"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_connection_is_told_in_the_words_of_the_canvas(
    server: Server, upstream: Upstream, inputs: Drawn, reason: str
) -> None:
    drawn = conversation(upstream.url)
    drawn["nodes"][-1]["data"]["inputs"] |= inputs
    reply = server.ask(server.create_flow(drawn), "x")
    assert (reply.status, reply.json["code"]) == (422, "flow_error")
    assert reply.json["message"].startswith("Conversation Chain (conversationChain_0): input ")
    assert reason in reply.json["message"]


# What is not here


def test_the_servers_own_key_steps_in_for_a_credential_that_is_not_here(server: Server, upstream: Upstream) -> None:
    drawn = conversation(upstream.url)
    drawn["nodes"][0]["data"]["credential"] = NOWHERE
    assert server.ask(server.create_flow(drawn), "/say Hi").json["text"] == "Hi"
    assert upstream.requests[-1].headers["authorization"] == "Bearer sk-tests"


def test_in_an_agent_flow_too(server: Server, upstream: Upstream) -> None:
    speaking = llm(upstream.url, config={"FLOWISE_CREDENTIAL_ID": NOWHERE})
    drawn = agentflow(start(), speaking, arrows="start_0 llm_0")
    assert server.ask(server.create_flow(drawn, type="AGENTFLOW"), "/say Hi").json["text"] == "Hi"
    assert upstream.requests[-1].headers["authorization"] == "Bearer sk-tests"


KEYLESS: dict[str, tuple[Drawn, str]] = {
    "a chat model": (node("chatAnthropic", "Chat Models", modelName="x"), "ANTHROPIC_API_KEY"),
    "a model with an account": (
        node("awsChatBedrock", "Chat Models", model="x", region="us-east-1"),
        "AWS_ACCESS_KEY_ID",
    ),
    "another one": (node("chatMistralAI", "Chat Models", modelName="x"), "MISTRAL_API_KEY"),
}


@pytest.mark.parametrize(("model", "variable"), KEYLESS.values(), ids=KEYLESS.keys())
def test_without_a_key_of_its_own_the_server_names_credential_and_variable(
    tmp_path: Path, model: Drawn, variable: str
) -> None:
    drawn = conversation(BASE)
    model["data"]["credential"] = NOWHERE
    drawn["nodes"][0] = model
    drawn["nodes"][-1]["data"]["inputs"]["model"] = f"{{{{{model['id']}.data.instance}}}}"
    with serving(tmp_path / "data", **dict.fromkeys(("ANTHROPIC_API_KEY", "MISTRAL_API_KEY"), "")) as server:
        reply = server.ask(server.create_flow(drawn), "x")
    assert (reply.status, reply.json["code"]) == (422, "flow_error")
    for word in (variable, NOWHERE, model["id"]):
        assert word in reply.json["message"]


def used_tool(name: str, /, **config: Any) -> Drawn:
    """An agent flow that uses one tool without a model."""
    step = agent_node(
        "tool", toolAgentflowSelectedTool=name, toolAgentflowSelectedToolConfig=config,
        toolInputArgs=[{"inputArgName": "input", "inputArgValue": "x"}],
    )  # fmt: skip
    return agentflow(start(), step, arrows="start_0 tool_0")


def knowing(store: str) -> Drawn:
    """An agent flow whose agent looks into a document store."""
    inputs: Drawn = {"agentModel": "chatOpenAI", "agentModelConfig": {"basepath": BASE}}
    knowledge = [{"documentStore": store, "docStoreDescription": "d"}]
    return agentflow(
        start(), agent_node("agent", agentKnowledgeDocumentStores=knowledge, **inputs), arrows="start_0 agent_0"
    )


STORED = node("documentStoreVS", "Vector Stores", output="retriever", selectedStore=NOWHERE)
MISSING: dict[str, tuple[Drawn, str]] = {
    "a tool": (agent(BASE, node("customTool", "Tools", selectedTool=NOWHERE)), "CHATFLOW"),
    "a tool of an agent flow": (used_tool("customTool", selectedTool=NOWHERE), "AGENTFLOW"),
    "a flow as a tool": (used_tool("ChatflowTool", selectedChatflow=NOWHERE, name="t", description="d"), "AGENTFLOW"),
    "an agent flow as a tool": (used_tool("agentAsTool", selectedAgentflow=NOWHERE, name="t"), "AGENTFLOW"),
    "a document store": (
        flow(chat_model(BASE), STORED, node("retrievalQAChain", "Chains", model="{{chatOpenAI_0.data.instance}}",
                                            vectorStoreRetriever="{{documentStoreVS_0.data.instance}}")),
        "CHATFLOW",
    ),
    "a document store of an agent": (knowing(f"{NOWHERE}:birds"), "AGENTFLOW"),
}  # fmt: skip


@pytest.mark.parametrize(("drawn", "kind"), MISSING.values(), ids=MISSING.keys())
def test_what_a_flow_names_and_is_not_here_is_a_fault_of_the_flow_not_404(
    server: Server, drawn: Drawn, kind: str
) -> None:
    reply = server.ask(server.create_flow(drawn, type=kind), "x")
    assert (reply.status, reply.json["code"]) == (422, "flow_error")
    assert NOWHERE in reply.json["message"]


# Documents that are upserted


LACKING: dict[str, tuple[str, Drawn]] = {
    "no text": ("plainText", {"text": ""}),
    "no file": ("textFile", {"txtFile": ""}),
    "a file that is not there": ("textFile", {"txtFile": 'FILE-STORAGE::["gone.txt"]'}),
    "no folder": ("folderFiles", {"folderPath": ""}),
    "no address": ("cheerioWebScraper", {"url": ""}),
    "no repository": ("github", {"repoLink": ""}),
    "no pointer": ("jsonlinesFile", {"jsonlinesFile": "", "pointerName": ""}),
}


@pytest.mark.parametrize(("name", "inputs"), LACKING.values(), ids=LACKING.keys())
def test_a_loader_that_lacks_something_says_so_until_something_was_upserted(
    server: Server, upstream: Upstream, name: str, inputs: Drawn
) -> None:
    drawn = birds(upstream.url, document=["{{plainText_0.data.instance}}"])
    flow_id = server.create_flow(drawn)
    drawn["nodes"].append(node(name, "Document Loaders", 5, **inputs))
    drawn["nodes"][2]["data"]["inputs"]["document"] = [f"{{{{{name}_5.data.instance}}}}"]
    reply = server.send("PUT", f"/api/v1/chatflows/{flow_id}", {"flowData": json.dumps(drawn)}, admin=True)
    assert reply.status == 200
    refused = server.ask(flow_id, "What does the heron spear?")
    assert (refused.status, refused.json["code"]) == (422, "flow_error")
    assert f"{name}_5" in refused.json["message"] or "gone.txt" in refused.json["message"]
    drawn["nodes"][2]["data"]["inputs"]["document"] = ["{{plainText_0.data.instance}}"]
    server.send("PUT", f"/api/v1/chatflows/{flow_id}", {"flowData": json.dumps(drawn)}, admin=True)
    assert server.send("POST", f"/api/v1/vector/upsert/{flow_id}", {}, admin=True).json["numAdded"] == 1
    drawn["nodes"][2]["data"]["inputs"]["document"] = [f"{{{{{name}_5.data.instance}}}}"]
    server.send("PUT", f"/api/v1/chatflows/{flow_id}", {"flowData": json.dumps(drawn)}, admin=True)
    answer = server.ask(flow_id, "What does the heron spear?")
    assert [one["pageContent"] for one in answer.json["sourceDocuments"]] == ["The heron spears fish."]


def test_a_text_that_only_the_upsert_brings_is_what_predictions_search(server: Server, upstream: Upstream) -> None:
    drawn = birds(upstream.url, document=["{{plainText_0.data.instance}}"])
    drawn["nodes"][1]["data"]["inputs"]["text"] = ""
    flow_id = server.create_flow(drawn, **rules(plainText=("text",)))
    given = {"overrideConfig": {"text": "Otters eat crabs."}}
    assert server.send("POST", f"/api/v1/vector/upsert/{flow_id}", given, admin=True).json["numAdded"] == 1
    answer = server.ask(flow_id, "What do otters eat?").json
    assert [one["pageContent"] for one in answer["sourceDocuments"]] == ["Otters eat crabs."]
    refused = server.send("POST", f"/api/v1/vector/upsert/{flow_id}", {}, admin=True)
    assert (refused.status, refused.json["message"]) == (
        422,
        "plainText (plainText_0): input 'text' is not set or not connected",
    )
