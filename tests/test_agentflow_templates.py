"""The builder's templates of agent flows, run from their start to their end against scripted models."""

import base64
import json
from collections.abc import Generator
from typing import Any

import pytest
from agentflows import SHOWN, Flow, executed
from model_nodes import account_file, environ_to, protocol_of
from provider import Answer, Provider, Seen, as_json, providing
from servers import Server, serving
from test_agent_templates import PETS, Turn, anthropic, frames, openai
from test_templates import TEMPLATES

pytestmark = pytest.mark.skipif(not TEMPLATES.exists(), reason="the templates of Flowise are not beside this project")
RUN = {  # what each ends with
    "Agentic RAG": "llmAgentflow",
    "Agents Handoff": "agentAgentflow",
    "Deep Research With Multi-turn Conversations": "llmAgentflow",
    "Deep Research With Subagents": "directReplyAgentflow",
    "Interacting With API": "httpAgentflow",
    "Iterations": "agentAgentflow",
    "Simple RAG": "agentAgentflow",
    "Structured Output": "llmAgentflow",
    "Supervisor Worker": "agentAgentflow",
    "Translator": "llmAgentflow",
}


def fitting(schema: Any) -> Any:
    """A value of the schema."""
    match schema.get("type"):
        case "object":
            return {name: fitting(one) for name, one in schema.get("properties", {}).items()}
        case "array":
            return [fitting(schema.get("items", {}))]
        case "number" | "integer":
            return 1
        case "boolean":
            return True
        case _:
            return schema.get("enum", ["a word"])[0]


def wanted(body: Any) -> Any:
    """The schema of the answer that a request wants; None where any text will do."""
    for key in ("json_schema", "responseJsonSchema", "output_format"):
        if found := _below(body, key):
            return found.get("schema", found)
    if not isinstance(body.get("tool_choice"), dict):
        return None
    (tool,) = body["tools"]
    return tool["input_schema"] if "input_schema" in tool else tool["function"]["parameters"]


def _below(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return next(filter(None, (_below(item, key) for item in value)), None)
    if not isinstance(value, dict):
        return None
    return value.get(key) or next(filter(None, (_below(item, key) for item in value.values())), None)


def answered(seen: Seen) -> Answer:
    protocol = protocol_of(seen.path)
    if protocol not in ("openai", "anthropic", "google", "ollama"):
        return as_json({"found": []})
    schema = wanted(seen.body)
    text = "Done." if schema is None else json.dumps(fitting(schema))
    match protocol:
        case "openai" | "anthropic" if isinstance(seen.body.get("tool_choice"), dict):
            said = Turn("", "extract", fitting(schema))
            return openai(said) if protocol == "openai" else anthropic(said)
        case "openai":
            return openai(Turn(text))
        case "anthropic":
            return anthropic(Turn(text))
        case "google":
            return frames({"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}]})
        case _:
            return Answer([(json.dumps({"message": {"content": text}, "done": True}) + "\n").encode()])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Provider, Server]]:
    with providing() as provider:
        account = account_file(tmp_path_factory.mktemp("account"), f"{provider.url}/token")
        keys = {"GOOGLE_CSE_ID": "x", "BRAVE_SEARCH_API_KEY": "x"}
        data = tmp_path_factory.mktemp("flows") / "data"
        with serving(data, HEADRACE_ALLOWED_HOSTS="127.0.0.1", **environ_to(provider.url, account), **keys) as server:
            provider.answer = answered
            yield provider, server


def template(name: str) -> Any:
    return json.loads((TEMPLATES / "agentflowsv2" / f"{name}.json").read_text())


def placed(flow: Any, provider: Provider, store: str) -> None:
    """Fills in what a template leaves open: an address, a document, a document store."""
    for node in flow["nodes"]:
        inputs: Flow = node["data"]["inputs"]
        if node["data"]["name"] == "httpAgentflow":
            inputs["url"] = f"{provider.url}/items"
        for tool in inputs.get("agentTools") or []:
            config = tool.get("agentSelectedToolConfig") or {}
            if tool["agentSelectedTool"] == "openAPIToolkit":
                document = base64.b64encode(PETS.replace("PLACE", provider.url).encode()).decode()
                config["openApiFile"] = f"data:application/x-yaml;base64,{document},filename:pets.yaml"
        for knowledge in (
            inputs.get("agentKnowledgeDocumentStores") or inputs.get("retrieverKnowledgeDocumentStores") or []
        ):
            knowledge["documentStore"] = f"{store}:notes"


@pytest.mark.parametrize("name", RUN)
def test_a_template_runs_to_its_end(world: tuple[Provider, Server], name: str):
    provider, server = world
    store = server.send("POST", "/api/v1/document-store/store", {"name": "notes"}, admin=True).json["id"]
    flow = template(name)
    placed(flow, provider, store)
    answer = server.ask(server.create_flow(flow, **SHOWN), "Tell me about tides", streaming=True)
    assert answer.kinds[-2:] == ["metadata", "end"], answer.text[-2000:]
    last = executed(answer)[-1]
    assert (last["status"], last["data"]["name"]) == ("FINISHED", RUN[name])
