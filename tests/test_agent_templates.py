"""The builder's templates whose models use tools, and its marketplace's tools: they run against scripted services."""

import base64
import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from model_nodes import SECRET
from provider import Answer, Provider, Seen, as_json, providing
from servers import Server, node, serving
from sites import Site, Visit, said
from test_templates import TEMPLATES, vectors
from test_tools import agent
from upstream import Upstream

pytestmark = pytest.mark.skipif(not TEMPLATES.exists(), reason="the templates of Flowise are not beside this project")


# Templates


class Turn(NamedTuple):
    """What a model says in one turn: a text, and a tool that it asks for."""

    text: str = ""
    tool: str = ""
    arguments: Mapping[str, Any] = MappingProxyType({})


def frames(*payloads: dict[str, Any]) -> Answer:
    return Answer([b"".join(b"event: %b\ndata: %b\n\n" % (str(p.get("type", "x")).encode(), json.dumps(p).encode())
                            for p in payloads)])  # fmt: skip


def openai(turn: Turn) -> Answer:
    function = {"name": turn.tool, "arguments": json.dumps(dict(turn.arguments))}
    calls = {"tool_calls": [{"index": 0, "id": "c1", "function": function}]} if turn.tool else {}
    delta = {"content": turn.text, **calls}
    return frames({"choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls" if turn.tool else "stop"}]})


def anthropic(turn: Turn) -> Answer:
    blocks: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if turn.text:
        blocks.append(({"type": "text", "text": ""}, {"type": "text_delta", "text": turn.text}))
    if turn.tool:
        asked = {"type": "tool_use", "id": "toolu_1", "name": turn.tool, "input": {}}
        blocks.append((asked, {"type": "input_json_delta", "partial_json": json.dumps(dict(turn.arguments))}))
    payloads: list[dict[str, Any]] = [{"type": "message_start", "message": {"usage": {"input_tokens": 1}}}]
    for index, (block, delta) in enumerate(blocks):
        payloads.append({"type": "content_block_start", "index": index, "content_block": block})
        payloads.append({"type": "content_block_delta", "index": index, "delta": delta})
        payloads.append({"type": "content_block_stop", "index": index})
    reason = "tool_use" if turn.tool else "end_turn"
    payloads.append({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 1}})
    return frames(*payloads, {"type": "message_stop"})


class World:
    """Every service at one address."""

    def __init__(self, provider: Provider) -> None:
        self.provider, self.turns = provider, list[Turn]()
        provider.answer = self.answer

    def answer(self, seen: Seen) -> Answer:
        match seen.path.partition("?")[0]:
            case "/chat/completions" | "/v1/chat/completions":
                return openai(self.turns.pop(0))
            case "/v1/messages" | "/messages":
                return anthropic(self.turns.pop(0))
            case "/embeddings" | "/v1/embeddings":
                return vectors(seen)
            case "/search" | "/search.json":
                return as_json({"organic_results": [{"title": "Tide", "link": "https://t.example", "snippet": "4 m"}]})
            case "/indexes/newindex":
                return as_json({"host": self.provider.url})
            case "/query":
                whose = seen.body["filter"]["source"]
                metadata = {"text": f"Sales of {whose} rose.", "source": whose}
                return as_json({"matches": [{"id": whose, "score": 0.9, "metadata": metadata}]})
            case "/pets/7":
                return as_json({"name": "Tom"})
            case _:
                return as_json({"error": f"nothing is at {seen.path}"}, 404)

    def asked(self, path: str) -> list[Seen]:
        return [seen for seen in self.provider.seen if seen.path.partition("?")[0] == path]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[World, Server]]:
    with providing() as provider:
        bases = ("OPENAI", "ANTHROPIC", "PINECONE", "SERPAPI")
        places = {f"{name}_BASE_URL": provider.url for name in bases} | {f"{name}_API_KEY": SECRET for name in bases}
        data = tmp_path_factory.mktemp("agents") / "data"
        with serving(data, HEADRACE_ALLOWED_HOSTS="127.0.0.1", **places) as server:
            yield World(provider), server


PETS = """
openapi: 3.0.0
servers: [{url: "PLACE"}]
paths:
  /pets/{id}:
    get:
      operationId: getPet
      parameters: [{name: id, in: path, required: true, schema: {type: integer}}]
"""


def with_document(inputs: Any, place: str) -> None:
    text = base64.b64encode(PETS.replace("PLACE", place).encode()).decode()
    inputs["openAPIToolkit_0"]["openApiFile"] = f"data:application/x-yaml;base64,{text},filename:pets.yaml"


def unchanged(inputs: Any, place: str) -> None:
    pass


class Case(NamedTuple):
    turns: list[Turn]
    outputs: list[str]
    """What each tool gives, or a part of it."""
    sources: list[str] | None = None
    change: Callable[[Any, str], None] = unchanged


CASES = {
    "Tool Agent": Case(
        [
            Turn("Let me see. ", "calculator", {"input": "6*7"}),
            Turn("", "search", {"input": "tide"}),
            Turn("Forty-two."),
        ],
        ["42", "4 m"],
    ),
    "OpenAPI YAML Agent": Case(
        [Turn("Let me see. ", "getPet", {"PathParameters": {"id": 7}}), Turn("Tom.")],
        ['{"name":"Tom"}'],
        change=with_document,
    ),
    "Multiple Documents QnA": Case(
        [Turn("", "search_tsla", {"input": "sales"}), Turn("", "search_apple", {"input": "sales"}), Turn("Both rose.")],
        ["Sales of tesla rose.", "Sales of apple rose."],
        ["Sales of tesla rose.", "Sales of apple rose."],
    ),
}


@pytest.mark.parametrize(("name", "case"), CASES.items(), ids=CASES.keys())
def test_a_template_with_tools_runs_unchanged(world: tuple[World, Server], name: str, case: Case) -> None:
    services, server = world
    drawn = json.loads((TEMPLATES / "chatflows" / f"{name}.json").read_text())
    case.change({each["id"]: each["data"]["inputs"] for each in drawn["nodes"]}, services.provider.url)
    flow_id = server.create_flow(drawn)
    assert server.send("GET", f"/api/v1/chatflows-streaming/{flow_id}").json == {"isStreaming": True}
    services.turns = list(case.turns)
    answer = server.ask(flow_id, "a question", chatId="c").json
    assert answer["text"] == case.turns[-1].text
    for shown, expected, turn in zip(answer["usedTools"], case.outputs, case.turns, strict=False):
        assert shown.get("error") is None
        assert (shown["tool"], shown["toolInput"]) == (turn.tool, turn.arguments)
        assert expected in shown["toolOutput"]
    found = answer.get("sourceDocuments")
    assert (found and [document["pageContent"] for document in found]) == case.sources
    services.turns = list(case.turns)
    stream = server.ask(flow_id, "again", chatId="c", streaming=True)
    told = "".join(event["data"] for event in stream.events if event["event"] == "token")
    assert told == "".join(turn.text for turn in case.turns)
    assert services.turns == []


# Tools of the marketplace

TOOLS = sorted(path.stem for path in (TEMPLATES / "tools").glob("*.json"))
GIVEN: dict[str, dict[str, Any]] = {
    "Add Hubspot Contact": {"email": "ada@example.com", "firstname": "Ada", "lastname": "L"},
    "Create Airtable Record": {"column1": "one", "column2": "two"},
    "Make Webhook": {"message": "hello"},
    "Perplexity AI Search": {"query": "tides"},
    "Print or Export Text Document": {"input": "# Hello", "name": "Letter"},
    "Send Discord Message": {"content": "hello"},
    "Send Slack Message": {"text": "hello"},
    "Send Teams Message": {"content": "hello"},
    "SendGrid Email": {"fromEmail": "a@x.test", "toEmail": "b@x.test", "subject": "Hi", "content": "hello"},
    "Spider Web Scraper": {"url": "https://example.com"},
    "Spider Web Search & Scrape": {"query": "tides"},
}
SENT: dict[str, tuple[str, Callable[[Any], Any], Any]] = {  # where to, what of its body, and what that is
    "Add Hubspot Contact": (
        "/api.hubapi.com/crm/v3/objects/contacts",
        lambda body: body["properties"],
        {"email": "ada@example.com", "firstname": "Ada", "lastname": "L"},
    ),
    "Create Airtable Record": (
        "/api.airtable.com/v0/YOUR-BASE-ID/YOUR-TABLE-ID",
        lambda body: body["records"][0]["fields"],
        {"column1": "one", "column2": "two"},
    ),
    "Get Stock Mover": ("/morning-star.p.rapidapi.com/market/v2/get-movers", lambda body: body, None),
    "Make Webhook": ("/hook.eu1.make.com/abcdefg", lambda body: body, {"message": "hello"}),
    "Perplexity AI Search": (
        "/api.perplexity.ai/chat/completions",
        lambda body: body["messages"][1],
        {"role": "user", "content": "tides"},
    ),
    "Print or Export Text Document": (
        "/jotterpad.app/publicApi/v1/exports/upload/md/pdf",
        lambda body: (body["name"], body["metadata"], body["input"][-7:]),
        ("Letter", "", "# Hello"),
    ),
    "Send Discord Message": ("/hook", lambda body: body, {"content": "hello"}),
    "Send Slack Message": ("/hook", lambda body: body, {"text": "hello"}),
    "Send Teams Message": ("/hook", lambda body: body, {"content": "hello"}),
    "SendGrid Email": (
        "/api.sendgrid.com/v3/mail/send",
        lambda body: (body["personalizations"][0]["to"][0]["email"], body["content"][0]["value"]),
        ("b@x.test", "hello"),
    ),
    "Spider Web Scraper": ("/api.spider.cloud/crawl", lambda body: body["url"], "https://example.com"),
    "Spider Web Search & Scrape": ("/api.spider.cloud/search", lambda body: body["search"], "tides"),
}


def brought_here(code: str, place: str) -> str:
    """The tool's function with its services at a scripted site, and no pauses."""
    code = code.replace("YOUR-WEBHOOK-URL", f"{place}/hook").replace("20000", "1")
    return re.sub(r"https://(?=[\w.-]+/)(?!docs\.|blog\.|spider\.)", f"{place}/", code)


def exports() -> Iterator[dict[str, Any]]:
    yield {"status": "ok", "exportedFile": {}}
    yield {"status": "ok", "exportedFile": {"downloadUrl": "https://files.example/1.pdf"}}


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_of_the_marketplace_does_its_work(
    world: tuple[World, Server], upstream: Upstream, web: Site, name: str
) -> None:
    _, server = world
    template = json.loads((TEMPLATES / "tools" / f"{name}.json").read_text())
    template["func"] = brought_here(template["func"], web.url)
    stored = server.send("POST", "/api/v1/tools", template, admin=True).json
    ready = exports()

    def service(visit: Visit) -> Any:
        if visit.path.endswith("/exports/get"):
            return said(next(ready))
        return said({"status": "ok", "id": "e1", "by": visit.method})

    web.default = service
    flow_id = server.create_flow(agent(upstream.url, node("customTool", "Tools", selectedTool=stored["id"])))
    answer = server.ask(flow_id, f"/tool {template['name']} {json.dumps(GIVEN.get(name, {}))}").json
    (used,) = answer["usedTools"]
    assert used.get("error") is None
    output = json.loads(used["toolOutput"])
    if name not in SENT:
        assert output["timezone"] == "Australia/Sydney"
        assert re.fullmatch(r"\w+day,? \d+ \w+ \d{4} at \d\d:\d\d:\d\d [ap]m", output["formattedDate"])
        return
    place, part, expected = SENT[name]
    first = web.visits[0]
    assert first.path == place
    assert part(json.loads(first.body) if first.body else None) == expected
    exported = {"url": "https://files.example/1.pdf"}
    assert output.items() >= (exported if "Export" in name else {"status": "ok", "id": "e1"}).items()
    assert len(web.visits) == (3 if "Export" in name else 1)
