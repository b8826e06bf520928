"""The builder's templates of multi-agent flows, run from their start to their end against scripted models."""

import json
from collections.abc import Generator
from typing import Any

import pytest
from model_nodes import account_file, environ_to, protocol_of
from provider import Answer, Provider, Seen, as_json, providing
from servers import Reply, Server, serving
from teams import TEAM, reasoning
from test_agent_templates import Turn, anthropic, openai
from test_agentflow_templates import fitting, wanted
from test_templates import TEMPLATES, vectors

pytestmark = pytest.mark.skipif(not TEMPLATES.exists(), reason="the templates of Flowise are not beside this project")
FOLDER = TEMPLATES / "agentflows"
RUN = {  # who acts, in order
    "Agentic RAG": ["Agent", "Retrieve", "Return Agent", "Check if docs relevant", "Generate"],
    "Branch Out Merge In": ["AgentA", "AgentC", "AgentB", "AgentD"],
    "Customer Support Team Agents": ["Support Representative", "Quality Assurance Specialist"],
    "Essay Writing & Grading": [*["Writer", "If loop > 3 times", "Teacher"] * 3, "Writer"],
    "Human In Loop RAG": ["Analyst", "Analyst", "Researcher"],
    "Lead Outreach": ["Lead Research", "Lead Sales Representative"],
    "Multi Agents": [
        *("Supervisor", "Condition", "Software Engineer", "Supervisor", "Condition", "Code Reviewer"),
        *("Supervisor", "Condition", "summarize"),
    ],
    "Patient Concierge": ["If user has been verified", "Identity Verification"],
    "Plan and Execute": ["planner", "agent", "replan", "Check action", "generate"],
    "Portfolio Management Team": ["Portfolio Manager", "Financial Analyst", "Risk Manager"],
    "Prompt Engineering Team": ["Prompt Creator", "Prompt Reviewer"],
    "Software Team": ["Code Reviewer", "Senior Software Engineer"],
    "Support Routing System": ["Frontline Support", "Router Agent", "Billing Team", "Router Agent", "Billing Team"],
    "Text to SQL": ["SQL Expert", "SQL Executor", "SQL Reviewer"],
}


def turn(body: Any) -> Turn:
    """Names each worker once, fills forms, uses the first tool once where there are some, and says a few words."""
    schema = wanted(body)
    if schema and "next" in schema["properties"] and "reasoning" in schema["properties"]:
        spoken = {message.get("name") for message in body["messages"]}
        left = [name for name in schema["properties"]["next"]["enum"] if name not in spoken and name != "FINISH"]
        return Turn("", "route", {"reasoning": "r", "instructions": "i", "next": left[0] if left else "FINISH"})
    if schema:
        value = fitting(schema)
        return Turn("", "extract", value) if isinstance(body.get("tool_choice"), dict) else Turn(json.dumps(value))
    if body.get("tools") and not any(message["role"] == "tool" for message in body["messages"]):
        function = body["tools"][0]["function"]
        return Turn("", function["name"], fitting(function["parameters"]))
    return Turn("Done.")


def answered(seen: Seen) -> Answer:
    if seen.path.endswith("/embeddings"):
        return vectors(seen)
    match protocol_of(seen.path):
        case "openai":
            return openai(turn(seen.body))
        case "anthropic":
            return anthropic(Turn("Done."))
        case _ if "/indexes/" in seen.path:
            return as_json({"host": f"http://{seen.headers['host']}"})
        case _ if seen.path.endswith("/query"):
            found = {"id": "1", "score": 0.9, "metadata": {"text": "Sales rose.", "source": "report"}}
            return as_json({"matches": [found]})
        case _:
            return as_json({"items": [{"title": "Tide", "link": "https://t.example", "snippet": "4 m"}]})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Provider, Server]]:
    with providing() as provider:
        account = account_file(tmp_path_factory.mktemp("account"), f"{provider.url}/token")
        keys = {
            "GOOGLE_CSE_ID": "x", "GOOGLE_API_KEY": "x", "GOOGLE_SEARCH_BASE_URL": provider.url,
            "PINECONE_BASE_URL": provider.url, "PINECONE_API_KEY": "x",
        }  # fmt: skip
        data = tmp_path_factory.mktemp("flows") / "data"
        environ = {**environ_to(provider.url, account), **keys}
        with serving(data, HEADRACE_ALLOWED_HOSTS="127.0.0.1", **environ) as server:
            provider.answer = answered
            yield provider, server


def placed(drawn: Any, server: Server) -> None:
    """Fills in what a template leaves open: tools that somebody had saved, and a folder of somebody's computer."""
    for node in drawn["nodes"]:
        inputs: dict[str, Any] = node["data"]["inputs"]
        if node["data"]["name"] == "customTool":
            schema = json.dumps([{"id": 1, "property": "input", "type": "string", "description": "", "required": True}])
            saved = {"name": "look_up", "description": "Looks up", "color": "", "schema": schema, "func": "return '7'"}
            inputs["selectedTool"] = server.send("POST", "/api/v1/tools", saved, admin=True).json["id"]
        if node["data"]["name"] == "faiss":
            inputs["basePath"] = "manuals"


def to_the_end(server: Server, key: str) -> list[Reply]:
    """The answers to a question and to what the flow asks back, which is allowed."""
    answers = [server.ask(key, "Tell me about tides", chatId="c")]
    while action := answers[-1].json.get("action"):
        answers.append(server.ask(key, action["mapping"]["approve"], action=action, chatId="c"))
    return answers


@pytest.mark.parametrize("name", RUN)
def test_a_template_runs_to_its_end(world: tuple[Provider, Server], name: str) -> None:
    provider, server = world
    provider.seen = []
    drawn = json.loads((FOLDER / f"{name}.json").read_text())
    placed(drawn, server)
    answers = to_the_end(server, server.create_flow(drawn, **TEAM))
    assert [answer.status for answer in answers] == [200] * len(answers), answers[-1].text
    acted = [one["agentName"] for answer in answers for one in reasoning(answer)]
    supervised = drawn["nodes"][0]["data"]["name"] == "supervisor"
    assert [who for who in acted if not (supervised and who == "Supervisor")] == RUN[name]
    assert answers[-1].json["text"] == "Done."


def test_every_template_is_run() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == RUN.keys()
