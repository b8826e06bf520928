"""The builder's own templates: which of them this server can run, and that it does. They lie beside the project."""

import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from model_nodes import account_file, environ_to, protocol_of
from provider import Answer, Provider, Seen, as_json, providing
from served import SECRET, Pinecone
from servers import Reply, Server, serving
from test_sql import filled

from headrace.engine.coverage import coverage
from headrace.engine.flow_file import read_flow
from headrace.nodes import built_in
from headrace.providers.databases import FOLDER

TEMPLATES = Path(__file__).parents[2] / "shared" / "flowise" / "templates"
KINDS = ("chatflows", "agentflows", "agentflowsv2")
RUN = 48  # of 51: raise it with every node that makes more of them run
NODE_TYPES = TEMPLATES.parent / "nodes.json"
KNOWN = 205  # of 300: raise it with every node

pytestmark = pytest.mark.skipif(not TEMPLATES.exists(), reason="the templates of Flowise are not beside this project")


def test_no_fewer_templates_run_than_before(capsys: pytest.CaptureFixture[str]) -> None:
    files = [file for kind in KINDS for file in sorted((TEMPLATES / kind).glob("*.json"))]
    found = {
        f"{file.parent.name}/{file.stem}": coverage(read_flow(file.read_text()), built_in()).missing for file in files
    }
    run = sorted(name for name, missing in found.items() if not missing)
    with capsys.disabled():
        print(f"\ntemplates that run: {len(run)} of {len(files)}")
    assert len(run) >= RUN, {name: missing for name, missing in found.items() if missing}


def test_no_fewer_node_types_run_than_before(capsys: pytest.CaptureFixture[str]) -> None:
    lines = NODE_TYPES.read_text().splitlines()
    names = {json.loads(line.rstrip(","))["name"] for line in lines if line.startswith("{")}
    missing = names - built_in().keys()
    with capsys.disabled():
        print(f"\nnode types that run or are mapped: {len(names) - len(missing)} of {len(names)}")
    assert len(names) - len(missing) >= KNOWN, sorted(missing)


def test_every_node_type_that_is_left_out_is_listed_with_one_that_is_here() -> None:
    page = (Path(__file__).parents[1] / "docs" / "nodes.md").read_text()
    section = page.partition("## Left out")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    listed = {name for left, _, _ in rows for name in re.findall(r"`(\w+)`", left)}
    nearest = {name for _, _, near in rows for name in re.findall(r"`(\w+)`", near)} - {"fetch"}
    assert nearest <= built_in().keys()
    lines = NODE_TYPES.read_text().splitlines()
    names = {json.loads(line.rstrip(","))["name"] for line in lines if line.startswith("{")}
    assert listed == names - built_in().keys() - {"stickyNote", "stickyNoteAgentflow"}


def said(text: str) -> Answer:
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}
    return Answer([f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()])


def vectors(seen: Seen) -> Answer:
    texts = seen.body["input"] if isinstance(seen.body["input"], list) else [seen.body["input"]]
    data = [{"index": n, "embedding": [float(len(text) % 7 + 1), 1.0]} for n, text in enumerate(texts)]
    return as_json({"data": data})


def calling(tool: str, query: str) -> Answer:
    """A model's wish to use a tool."""
    function = {"name": tool, "arguments": json.dumps({"input": query})}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    return Answer([f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()])


def nothing_there(seen: Seen) -> Answer:
    return as_json({"error": f"nothing is at {seen.path}"}, 404)


class World:
    """Every provider at one address: a chat model says `words`, in turn, and the last of them again and again.

    `elsewhere` answers what no model is asked.
    """

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.words: Sequence[str | Answer] = []
        self.elsewhere = nothing_there
        provider.answer = self.answer

    def answer(self, seen: Seen) -> Answer:
        if seen.path.endswith("/embeddings"):
            return vectors(seen)
        match protocol_of(seen.path):
            case "openai":
                word, *rest = self.words
                self.words = rest or [word]
                return said(word) if isinstance(word, str) else word
            case "ollama":
                return Answer([(json.dumps({"message": {"content": self.words[0]}, "done": True}) + "\n").encode()])
            case "replicate":
                return as_json({"status": "succeeded", "output": ["https://pictures.example/1.png"]}, 201)
            case _:
                return self.elsewhere(seen)

    @property
    def asked(self) -> list[str]:
        """The last message of every conversation."""
        return [messages[-1]["content"] for messages in self.conversations]

    @property
    def conversations(self) -> list[list[dict[str, Any]]]:
        """The messages of every call to a chat model."""
        return [seen.body["messages"] for seen in self.provider.seen if seen.raw and "messages" in seen.body]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[World, Server]]:
    with providing() as provider:
        account = account_file(tmp_path_factory.mktemp("account"), f"{provider.url}/token")
        named = {"AZURE_OPENAI_API_DEPLOYMENT_NAME": "deployed", "SERPAPI_API_KEY": "x", "GOOGLE_CSE_ID": "x"}
        named |= {"HEADRACE_ALLOWED_HOSTS": "127.0.0.1", "PINECONE_BASE_URL": provider.url, "PINECONE_API_KEY": SECRET}
        data = tmp_path_factory.mktemp("templates") / "data"
        filled(data / FOLDER / "shop.db")
        with serving(data, **environ_to(provider.url, account), **named) as server:
            yield World(provider), server


def imported(server: Server, name: str, change: Callable[[Any], None] | None = None) -> str:
    flow = json.loads((TEMPLATES / "chatflows" / f"{name}.json").read_text())
    if change:
        change({node["id"]: node["data"]["inputs"] for node in flow["nodes"]})
    return server.create_flow(flow)


class Case(NamedTuple):
    """What a template is asked, what its models say in turn, and what its answer has."""

    words: Sequence[str | Answer]
    answer: Mapping[str, Any]
    streams: bool = True


CASES = {
    "LLM Chain": Case(["Acme"], {"text": "Acme"}),
    "Prompt Chaining": Case(["plan", "tasks"], {"text": "tasks"}),
    "Conversation Chain": Case(["Hello"], {"text": "Hello"}),
    "List Output Parser": Case(["a, b"], {"json": ["a", "b"]}, streams=False),
    "Input Moderation": Case(["No", "No", "No", "Tea."], {"text": "Tea."}),
    "HuggingFace LLM Chain": Case(["42"], {"text": "42"}, streams=False),
    "Replicate LLM": Case([""], {"text": "https://pictures.example/1.png"}, streams=False),
    "Image Generation": Case(["![](picture)"], {"text": "![](picture)"}, streams=False),
    "Simple Chat Engine": Case(["Hello"], {"text": "Hello"}, streams=False),
    "Conversational Agent": Case(
        ['{"action": "calculator", "action_input": "6*7"}', '{"action": "Final Answer", "action_input": "It is 42."}'],
        {"text": "It is 42.", "usedTools": [{"tool": "calculator", "toolInput": "6*7", "toolOutput": "42"}]},
        streams=False,
    ),
    "ReAct Agent": Case(
        ["Action: calculator\nAction Input: 6*7", "Final Answer: It is 42."],
        {"text": "It is 42.", "usedTools": [{"tool": "calculator", "toolInput": "6*7", "toolOutput": "42"}]},
        streams=False,
    ),
}


@pytest.mark.parametrize(("name", "case"), CASES.items(), ids=CASES.keys())
def test_a_template_runs_unchanged(world: tuple[World, Server], name: str, case: Case) -> None:
    models, server = world
    flow_id = imported(server, name)
    assert server.send("GET", f"/api/v1/chatflows-streaming/{flow_id}").json == {"isStreaming": case.streams}
    models.words = [*case.words]
    answer = server.ask(flow_id, "a question").json
    assert {key: answer.get(key) for key in case.answer} == case.answer
    if case.streams:
        models.words = [*case.words]
        stream = server.ask(flow_id, "a question", streaming=True)
        assert "".join(event["data"] for event in stream.events if event["event"] == "token") == case.answer["text"]


def test_the_first_answer_of_chained_prompts_is_in_the_second_prompt(world: tuple[World, Server]) -> None:
    models, server = world
    models.words, models.provider.seen = ["my plan", "done"], []
    server.ask(imported(server, "Prompt Chaining"), "earn money")
    assert "objective: earn money" in models.asked[0]
    assert "the result: my plan" in models.asked[1]


def test_the_template_with_a_list_at_the_top_of_its_schema_says_what_to_change(world: tuple[World, Server]) -> None:
    models, server = world
    reply: Reply = server.ask(imported(server, "Advanced Structured Output Parser"), "films")
    assert (reply.status, reply.json["code"]) == (422, "flow_error")
    assert "put the schema into z.object" in reply.json["message"]

    def wrapped(inputs: Any) -> None:
        parser = inputs["advancedStructuredOutputParser_0"]
        parser["exampleJson"] = f"z.object({{ films: {parser['exampleJson']} }})"

    film = {"title": "Dune", "yearOfRelease": 2021, "genres": ["Action"], "shortDescription": "Sand."}
    models.words = ["no form at all", f"```json\n{json.dumps({'films': [film]})}\n```"]
    answer = server.ask(imported(server, "Advanced Structured Output Parser", wrapped), "films").json
    assert answer["json"] == {"films": [film]}


def test_local_qna_answers_from_its_file(world: tuple[World, Server]) -> None:
    models, server = world
    url = models.provider.url

    def connected(inputs: Any) -> None:
        inputs["textFile_0"]["txtFile"] = "data:text/plain;base64,VGhlIHNreSBpcyBncmVlbi4=,filename:sky.txt"
        inputs["localAIEmbeddings_0"]["basePath"] = f"{url}/v1"
        inputs["chatOllama_0"]["baseUrl"] = url

    models.words, models.provider.seen = ["Green."], []
    answer = server.ask(imported(server, "Local QnA", connected), "Which colour has the sky?").json
    assert answer["text"] == "Green."
    assert any("The sky is green." in json.dumps(seen.body) for seen in models.provider.seen if "chat" in seen.path)


def test_the_sql_chain_answers_from_a_file_in_the_data_folder(world: tuple[World, Server]) -> None:
    models, server = world

    def placed(inputs: Any) -> None:
        inputs["sqlDatabaseChain_0"]["url"] = "shop.db"

    flow_id = imported(server, "SQL DB Chain", placed)
    models.words, models.provider.seen = ["```sql\nSELECT count(*) AS n FROM salary;\n```", "One."], []
    assert server.ask(flow_id, "How many salaries?").json["text"] == "One."
    assert "What it gave:\nn\n1\n" in models.asked[1]
    models.words = ["SELECT 1", "One."]
    assert server.ask(flow_id, "Again?", streaming=True).kinds == ["start", "token", "metadata", "end"]


def test_conversational_retrieval_qa_answers_from_a_document_store(world: tuple[World, Server]) -> None:
    models, server = world
    store = server.send("POST", "/api/v1/document-store/store", {"name": "sky"}, admin=True).json["id"]
    loader = {"loader": {"name": "plainText", "config": {"text": "The sky is green."}}}
    assert server.send("POST", f"/api/v1/document-store/upsert/{store}", loader, admin=True).status == 200

    def chosen(inputs: Any) -> None:
        inputs["documentStore_0"]["selectedStore"] = store

    models.words, models.provider.seen = ["Green."], []
    flow_id = imported(server, "Conversational Retrieval QA Chain", chosen)
    assert server.ask(flow_id, "Which colour has the sky?").json["text"] == "Green."
    chats = [json.dumps(seen.body) for seen in models.provider.seen if "chat" in seen.path]
    assert len(chats) == 1
    assert "The sky is green." in chats[0]
    models.words = ["And the sea?", "Blue."]
    stream = server.ask(flow_id, "And the sea?", streaming=True)
    assert stream.kinds == ["start", "token", "metadata", "end"]
    (use,) = server.send("GET", f"/api/v1/document-store/store/{store}", admin=True).json["whereUsed"]
    assert use["id"] == flow_id


def test_github_docs_qna_answers_from_a_repository(world: tuple[World, Server]) -> None:
    models, server = world
    pages = {"README.md": "# Flows\n\nA flow is drawn.", "docs/sky.md": "# Sky\n\nThe sky is green."}

    def github(seen: Seen) -> Answer:
        if "/git/trees/main" in seen.path:
            return as_json({"tree": [{"path": path, "type": "blob", "size": 9} for path in pages]})
        name = seen.path.partition("/contents/")[2].partition("?")[0]
        return Answer([pages[name].encode()]) if name in pages else nothing_there(seen)

    def placed(inputs: Any) -> None:
        inputs["github_0"]["githubInstanceApi"] = models.provider.url

    models.words, models.provider.seen, models.elsewhere = ["Green."], [], github
    answer = server.ask(imported(server, "Github Docs QnA", placed), "Which colour has the sky?").json
    assert answer["text"] == "Green."
    found = {document["metadata"]["source"]: document["pageContent"] for document in answer["sourceDocuments"]}
    assert found == {"README.md": "# Flows\n\nA flow is drawn.", "docs/sky.md": "# Sky\n\nThe sky is green."}


def row(number: int, text: str, source: str) -> dict[str, Any]:
    return {"id": str(number), "values": [1.0, 1.0], "metadata": {"text": text, "source": source}}


def found_in(models: World, points: dict[str, dict[str, Any]]) -> None:
    """Lets Pinecone hold these points, by namespace."""
    fake = Pinecone(models.provider, dimensions=2)
    fake.points = points
    models.provider.answer, models.elsewhere = models.answer, fake.answer


def in_index(inputs: Any) -> None:
    inputs["pineconeLlamaIndex_0"]["pineconeIndex"] = "index"


def test_context_chat_engine_brings_passages_into_its_conversation(world: tuple[World, Server]) -> None:
    models, server = world
    found_in(models, {"": {"1": row(1, "The sky is green.", "sky.txt")}})
    models.words = ["Green."]
    flow = json.loads((TEMPLATES / "chatflows" / "Context Chat Engine.json").read_text())
    for one in flow["nodes"]:
        if one["id"] == "RedisBackedChatMemory_0":  # Redis need not run here
            one["data"] |= {"name": "bufferMemory", "inputs": {}}
    in_index({node["id"]: node["data"]["inputs"] for node in flow["nodes"]})
    flow_id = server.create_flow(flow)
    answer = server.ask(flow_id, "Which colour has the sky?", chatId="engine").json
    assert answer["text"] == "Green."
    assert answer["sourceDocuments"] == [{"pageContent": "The sky is green.", "metadata": {"source": "sky.txt"}}]
    server.ask(flow_id, "Why?", chatId="engine")
    system, *turns = models.conversations[-1]
    assert "The sky is green." in system["content"]
    assert [turn["content"] for turn in turns] == ["Which colour has the sky?", "Green.", "Why?"]


def test_query_engine_answers_with_the_model_of_its_index(world: tuple[World, Server]) -> None:
    models, server = world
    texts = {"1": "The sky is green.", "2": "x" * 13_000}
    found_in(models, {"": {key: row(int(key), text, "sky.txt") for key, text in texts.items()}})
    flow = json.loads((TEMPLATES / "chatflows" / "Query Engine.json").read_text())
    (old,) = [one for one in flow["nodes"] if one["id"] == "chatAnthropic_LlamaIndex_0"]
    old["data"] |= {"name": "chatOpenAI_LlamaIndex", "inputs": {"modelName": "gpt-4"}}
    in_index({node["id"]: node["data"]["inputs"] for node in flow["nodes"]})
    models.words = ["First.", "Refined."]
    answer = server.ask(server.create_flow(flow), "Which colour has the sky?").json
    assert answer["text"] == "Refined."
    assert {document["pageContent"] for document in answer["sourceDocuments"]} == set(texts.values())
    assert len(models.asked) == 2
    assert "existing answer: First." in models.asked[1]
    models.elsewhere = Pinecone(models.provider, dimensions=2).answer
    models.provider.answer = models.answer
    empty = server.ask(server.create_flow(flow), "And now?").json
    assert (empty["text"], models.asked) == ("Empty Response", [])


def test_sub_question_query_engine_answers_from_the_answers_of_its_tools(world: tuple[World, Server]) -> None:
    models, server = world
    rows = {"1": row(1, "Apple sells apples.", "apple"), "2": row(2, "Tesla sells cars.", "tesla")}
    found_in(models, {"pinecone-form10k": rows})
    parts = [{"question": "Apple?", "tool": "apple_tool"}, {"question": "Tesla?", "tool": "tesla_tool"}]
    models.words = [
        f"```json\n{json.dumps([*parts, {'question': 'Pear?', 'tool': 'pear_tool'}])}\n```",
        "One.",
        "Two.",
        "Both.",
    ]
    flow_id = imported(server, "SubQuestion Query Engine")
    answer = server.ask(flow_id, "What do they sell?").json
    assert answer["text"] == "Both."
    parted = [document["pageContent"].split("\nResponse: ") for document in answer["sourceDocuments"]]
    assert [question for question, _ in parted] == ["Sub question: Apple?", "Sub question: Tesla?"]
    assert {said for _, said in parted} == {"One.", "Two."}
    first, *between, last = models.asked
    assert "apple_tool: A SEC Form 10K filing" in first
    assert sorted(("Apple sells" in text, "Tesla sells" in text) for text in between) == [(False, True), (True, False)]
    assert "Response: One." in last
    models.words = ["I would rather not."]
    refused = server.ask(flow_id, "What do they sell?")
    assert "has not divided the question" in refused.json["message"]


def test_multiple_documents_qna_asks_the_store_that_its_agent_chooses(world: tuple[World, Server]) -> None:
    models, server = world

    found_in(
        models,
        {
            "pinecone-form10k": {"1": row(1, "On apple.", "apple"), "2": row(2, "On pear.", "pear")},
            "pinecone-form10k-2": {"3": row(3, "On tesla.", "tesla")},
        },
    )
    models.words = [calling("search_apple", "sales"), "Apple sells apples."]
    answer = server.ask(imported(server, "Multiple Documents QnA"), "What does Apple sell?").json
    assert answer["text"] == "Apple sells apples."
    (found,) = answer["sourceDocuments"]
    assert (found["pageContent"], found["metadata"]) == ("On apple.", {"source": "apple"})
    assert [(tool["tool"], tool["toolOutput"]) for tool in answer["usedTools"]] == [("search_apple", "On apple.")]
