"""The coverage report names what keeps a flow from answering and what is not done here, and nothing else."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from agentflows import node as agent_node
from agentflows import start
from servers import Server, chat_model, conversation, flow, node

from headrace.engine import findings
from headrace.engine.coverage import Coverage, coverage
from headrace.engine.description import node_info
from headrace.engine.findings import Inventory
from headrace.engine.flow_file import read_flow
from headrace.nodes import built_in

CATALOG = built_in()
SHARED = Path(__file__).parents[2] / "shared"
EXPORT = SHARED / "flowise" / "installs" / "a" / "export.json"
TEMPLATES = sorted((SHARED / "flowise" / "templates").glob("*/*.json"))
CHAT = "http://127.0.0.1:9/v1"
ABSENT = "11111111-2222-4333-8444-555555555555"
HERE = Inventory(environ={"OPENAI_API_KEY": "k", "PINECONE_API_KEY": "k"}, files=Path("no-such-folder"))


def report(described: dict[str, Any], has: Inventory | None = HERE, *, kind: str = "CHATFLOW") -> Coverage:
    return coverage(read_flow(json.dumps(described)), CATALOG, kind=kind, flow_id="f-1", has=has)


def brief(found: Coverage) -> list[tuple[str, str, str, bool]]:
    """Node, kind, input, and whether it stops the flow, of each finding."""
    return [(one.node, one.kind, one.input, one.stops) for one in found.findings]


def ref(key: str) -> str:
    return f"{{{{{key}.data.instance}}}}"


def chain(*before: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    """An LLM chain with a model behind it, and what else is given."""
    return flow(chat_model(CHAT), *before, node("llmChain", "Chains", model=ref("chatOpenAI_0"), **inputs))


def with_prompt(**inputs: Any) -> dict[str, Any]:
    prompt = node("chatPromptTemplate", "Prompts", humanMessagePrompt="{question}", **inputs)
    return chain(prompt, prompt=ref("chatPromptTemplate_0"))


def with_tool(name: str, /, **inputs: Any) -> dict[str, Any]:
    tool = node(name, "Tools", **inputs)
    agent = node(
        "toolAgent", "Agents", model=ref("chatOpenAI_0"), memory=ref("bufferMemory_0"), tools=[ref(tool["id"])]
    )
    return flow(chat_model(CHAT), node("bufferMemory", "Memory"), tool, agent)


def with_store(store: str, /, *before: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    """Retrieval from a vector store with documents."""
    documents = [ref(one["id"]) for one in before if one["data"]["category"] == "Document Loaders"]
    vectors = node(store, "Vector Stores", document=documents, embeddings=ref("hashedEmbeddings_0"), **inputs)
    end = node(
        "conversationalRetrievalQAChain", "Chains", model=ref("chatOpenAI_0"), vectorStoreRetriever=ref(vectors["id"])
    )
    return flow(chat_model(CHAT), node("hashedEmbeddings", "Embeddings"), *before, vectors, end)


def agents(**inputs: Any) -> dict[str, Any]:
    """A start and an agent."""
    config = {"agentModel": "chatOpenAI", "modelName": "gpt-4o-mini", "basepath": CHAT}
    one = agent_node("agent", agentModel="chatOpenAI", agentModelConfig=config, **inputs)
    return {"nodes": [start(), one], "edges": [{"source": "startAgentflow_0", "target": "agentAgentflow_0"}]}


FLOWS: dict[str, tuple[dict[str, Any], list[tuple[str, str, str, bool]]]] = {
    "nothing to say": (chain(node("promptTemplate", "Prompts", template="{q}"), prompt=ref("promptTemplate_0")), []),
    "a missing node type": (conversation(CHAT, memory="zepMemory"), [("zepMemory_0", "node", "", True)]),
    "one that the answer does not need": (
        {**conversation(CHAT), "nodes": [*conversation(CHAT)["nodes"], node("couchbase", "Vector Stores")]},
        [("couchbase_0", "node", "", False)],
    ),
    "no ending": (flow(node("plainText", "Document Loaders", text="x")), [("", "structure", "", True)]),
    "message history as code": (with_prompt(messageHistoryCode="return []"), []),
    "the tab with it, which is empty": (with_prompt(messageHistory="messageHistoryCode", messageHistoryCode=""), []),
    "an input that nothing reads": (
        with_prompt(humanTone="kind"),
        [("chatPromptTemplate_0", "unread", "humanTone", False)],
    ),
    "inputs that are not set": (with_prompt(humanTone="", other=None, third=[], fourth={}, fifth=False), []),
    "an input under its former name": (
        with_tool("openAPIToolkit", yamlFile="data:x;base64,eA=="),
        [],
    ),
    "a tool without its file": (with_tool("openAPIToolkit"), [("openAPIToolkit_0", "file", "openApiFile", True)]),
    "a tool that has a link": (with_tool("openAPIToolkit", inputType="link", openApiLink="https://a.example"), []),
    "a saved tool": (with_tool("customTool", selectedTool=ABSENT), [("customTool_0", "tool", "selectedTool", True)]),
    "another flow": (
        with_tool("ChatflowTool", selectedChatflow=ABSENT, name="other"),
        [("ChatflowTool_0", "flow", "selectedChatflow", True)],
    ),
    "no flow": (
        with_tool("ChatflowTool", selectedChatflow="", name="other"),
        [("ChatflowTool_0", "unset", "selectedChatflow", True)],
    ),
    "a model that was removed": (
        flow(
            node("promptTemplate", "Prompts"),
            node("llmChain", "Chains", prompt=ref("promptTemplate_0"), model=ref("gone_0")),
        ),
        [("llmChain_0", "unset", "model", True)],
    ),
    "a number that is none": (
        flow(
            chat_model(CHAT, temperature="warm"),
            node("conversationChain", "Chains", model=ref("chatOpenAI_0"), memory=ref("bufferMemory_0")),
            node("bufferMemory", "Memory"),
        ),
        [("chatOpenAI_0", "unreadable", "temperature", True)],
    ),
    "a loader without its file": (
        with_store("memoryVectorStore", node("pdfFile", "Document Loaders")),
        [("pdfFile_0", "file", "pdfFile", True)],
    ),
    "a file that is not here": (
        with_store("memoryVectorStore", node("pdfFile", "Document Loaders", pdfFile="FILE-STORAGE::a.pdf")),
        [("pdfFile_0", "file", "pdfFile", True)],
    ),
    "a file that only an upsert reads": (
        with_store("pinecone", node("pdfFile", "Document Loaders"), pineconeIndex="i"),
        [("pdfFile_0", "file", "pdfFile", False)],
    ),
    "a document store": (
        with_store("memoryVectorStore", node("documentStore", "Document Loaders", selectedStore=f"{ABSENT}:Birds")),
        [("documentStore_0", "documentStore", "selectedStore", True)],
    ),
    "a variable": (
        with_prompt(systemMessagePrompt="In {{$vars.town}}."),
        [("chatPromptTemplate_0", "variable", "systemMessagePrompt", False)],
    ),
}


@pytest.mark.parametrize("name", FLOWS)
def test_the_findings_of_a_flow_are_exactly_these(name: str) -> None:
    described, expected = FLOWS[name]
    found = report(described)
    assert brief(found) == expected
    assert found.stops == any(stops for *_, stops in expected)
    for one in found.findings:
        assert one.message.startswith(f"{one.label} ({one.node}) ") or not one.node
        assert ": " in one.message, "it says what to do"


AGENTS: dict[str, tuple[dict[str, Any], list[tuple[str, str, str, bool]]]] = {
    "nothing to say": (agents(agentToolsBuiltInOpenAI="", agentToolsBuiltInGemini="[]"), []),
    "tools of the provider": (
        agents(agentToolsBuiltInOpenAI='["web_search_preview"]'),
        [("agentAgentflow_0", "refused", "agentToolsBuiltInOpenAI", True)],
    ),
    "a tool that asks a person": (
        agents(
            agentTools=[
                {
                    "agentSelectedTool": "calculator",
                    "agentSelectedToolRequiresHumanInput": True,
                    "agentSelectedToolConfig": {},
                }
            ]
        ),
        [],
    ),
    "a tool that is missing": (
        agents(agentTools=[{"agentSelectedTool": "gmail", "agentSelectedToolConfig": {"agentSelectedTool": "gmail"}}]),
        [("agentAgentflow_0", "node", "", True)],
    ),
    "the tool of a tool node": (
        {
            "nodes": [start(), agent_node("tool", toolAgentflowSelectedTool="calculator")],
            "edges": [{"source": "startAgentflow_0", "target": "toolAgentflow_0"}],
        },
        [],
    ),
    "tools as text": (
        agents(agentTools='[{"agentSelectedTool": "gmail", "agentSelectedToolConfig": "{}"}]'),
        [("agentAgentflow_0", "node", "", True)],
    ),
    "a saved tool inside": (
        agents(agentTools=[{"agentSelectedTool": "customTool", "agentSelectedToolConfig": {"selectedTool": ABSENT}}]),
        [("agentAgentflow_0", "tool", "selectedTool", True)],
    ),
    "an input inside that nothing reads": (
        agents(agentTools=[{"agentSelectedTool": "calculator", "agentSelectedToolConfig": {"precision": 3}}]),
        [("agentAgentflow_0", "unread", "precision", False)],
    ),
    "a document store": (
        agents(agentKnowledgeDocumentStores=[{"documentStore": f"{ABSENT}:Birds"}]),
        [("agentAgentflow_0", "documentStore", "documentStore", True)],
    ),
}


@pytest.mark.parametrize("name", AGENTS)
def test_the_findings_of_an_agent_flow_are_exactly_these(name: str) -> None:
    described, expected = AGENTS[name]
    assert brief(report(described, kind="AGENTFLOW")) == expected


def test_an_input_is_compared_with_the_default_that_the_file_says_and_told_only_where_it_is_shown() -> None:
    described = with_prompt(tone="kind", hidden="x", mode="a")
    described["nodes"][1]["data"]["inputParams"] = [
        {"name": "tone", "default": "kind"},
        {"name": "mode", "default": "a"},
        {"name": "hidden", "show": {"mode": "b"}},
    ]
    assert brief(report(described)) == []
    described["nodes"][1]["data"]["inputs"] |= {"tone": "stern", "mode": "b"}
    assert [one[2] for one in brief(report(described))] == ["tone", "hidden", "mode"]


KEYS: dict[str, tuple[dict[str, Any], dict[str, str], list[bool], str]] = {
    "the server's key steps in": (
        {"credential": ABSENT},
        {"OPENAI_API_KEY": "k"},
        [False],
        "from OPENAI_API_KEY steps in",
    ),
    "no key at all": (
        {"credential": ABSENT},
        {},
        [True],
        "kind openAIApi and choose it in the node, or set OPENAI_API_KEY",
    ),
    "an address of the operator's": (
        {"credential": ABSENT},
        {"OPENAI_BASE_URL": CHAT},
        [False],
        "if its server wants one",
    ),
    "an address of the flow's": ({"credential": ABSENT, "basepath": CHAT}, {}, [False], "if its server wants one"),
    "none named and none set": ({}, {}, [True], "has no credential, and OPENAI_API_KEY is not set"),
    "none named": ({}, {"OPENAI_API_KEY": "k"}, [], ""),
    "a key in the flow": ({"openAIApiKey": "k"}, {}, [], ""),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_credential_that_is_not_here_is_told_with_what_steps_in(name: str) -> None:
    inputs, environ, stops, words = KEYS[name]
    described = conversation("")
    model = described["nodes"][0]["data"]
    model["credential"] = inputs.get("credential", "")
    model["inputs"] = {name: value for name, value in inputs.items() if name != "credential"}
    found = report(described, Inventory(environ=environ)).findings
    assert [one.stops for one in found] == stops
    assert all((one.node, one.kind) == ("chatOpenAI_0", "credential") and words in one.message for one in found)
    if model["credential"]:
        assert report(described, Inventory(environ=environ, credentials=[ABSENT])).findings == []


def test_without_an_inventory_nothing_is_said_of_what_a_server_holds() -> None:
    assert brief(report(with_tool("customTool", selectedTool=ABSENT), None)) == []


def test_what_is_here_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "f-1").mkdir()
    (tmp_path / "f-1" / "a.pdf").write_bytes(b"x")
    loader = node("pdfFile", "Document Loaders", pdfFile="FILE-STORAGE::a.pdf")
    assert brief(report(with_store("memoryVectorStore", loader), Inventory(files=tmp_path))) == []
    assert brief(report(with_tool("customTool", selectedTool=ABSENT), Inventory(tools=[ABSENT]))) == []
    empty = with_store("memoryVectorStore", node("pdfFile", "Document Loaders"))
    assert brief(report(empty, Inventory(upserted=["f-1"]))) == []


def test_node_types_inside_a_document_store_are_told() -> None:
    described = with_store("memoryVectorStore", node("documentStore", "Document Loaders", selectedStore=ABSENT))
    found = report(described, Inventory(stores={ABSENT: ["upstash"], "other": ["singlestore"]}))
    (one,) = found.findings
    assert (one.kind, one.stops) == ("documentStore", True)
    assert "'upstash'" in one.message


def test_packages_that_are_not_installed_are_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    described = with_store("qdrant", qdrantServerUrl="http://127.0.0.1:9", qdrantCollection="c")
    assert brief(report(described)) == []
    monkeypatch.setattr(findings, "find_spec", lambda _: None)
    (one,) = report(described).findings
    assert (one.node, one.kind, one.stops) == ("qdrant_0", "package", True)
    assert "pip install '.[qdrant]'" in one.message


def test_the_packages_that_nodes_name_are_installed_by_extras_that_exist() -> None:
    extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    packages = {package for kind in CATALOG.values() for package in node_info(kind).packages}
    assert {"qdrant_client", "pymilvus", "mcp"} <= {package.module for package in packages}
    assert all(package.extra in extras and find_spec(package.module) for package in packages)


def test_a_flow_that_is_refused_in_the_report_is_refused_in_the_same_words(server: Server) -> None:
    stored = server.send(
        "POST",
        "/api/v1/chatflows",
        {"name": "x", "type": "AGENTFLOW", "flowData": json.dumps(agents(agentToolsBuiltInOpenAI='["web_search"]'))},
        admin=True,
    )
    (one,) = [one for one in stored.json["coverage"]["findings"] if one["stops"]]
    assert one["kind"] == "refused"
    reply = server.ask(stored.json["id"], "Hello")
    assert reply.status == 422
    assert reply.json["message"] == one["message"]


def _graphs() -> Iterator[tuple[str, str, str]]:
    """The builder's own templates and the flows of an installation: name, text, type."""
    for path in TEMPLATES:
        if path.parent.name != "tools":
            yield path.stem, path.read_text(), "AGENTFLOW" if path.parent.name == "agentflowsv2" else "CHATFLOW"
    if EXPORT.exists():
        for section in json.loads(EXPORT.read_text()).values():
            for row in section if isinstance(section, list) else ():
                if "flowData" in row:
                    yield row["name"], row["flowData"], row.get("type", "CHATFLOW")


GRAPHS = list(_graphs())
TRUE = {  # the only findings about them beside missing node types, things of a server, and files
    ("Conversational Retrieval QA Chain", "unset", "selectedStore"),
    ("Query Engine", "unset", "pineconeIndex"),
    ("Context Chat Engine", "unset", "pineconeIndex"),
    ("SubQuestion Query Engine", "unread", "embeddings"),
    ("Interacting With API", "unset", "url"),
    ("CSV Agent", "unset", "csvFile"),
}


@pytest.mark.skipif(not GRAPHS, reason="the builder's templates are not beside this project")
def test_no_template_has_a_false_alarm() -> None:
    found = {
        (name, one.kind, one.input)
        for name, text, kind in GRAPHS
        for one in coverage(read_flow(text), CATALOG, kind=kind, has=HERE).findings
        if one.kind in ("structure", "refused", "unset", "unreadable", "unread", "package")
    }
    assert found == TRUE
