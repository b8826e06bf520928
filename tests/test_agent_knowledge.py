"""Agent nodes that look things up, on a real server: in document stores, and in vector stores of their own."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from agentflows import executed, flow, node, reply, said, start
from documents import done, filled_store, send, store_of
from servers import Server, serving
from sites import Answer, Site, Visit
from sites import said as told
from upstream import Upstream

from headrace.nodes.agentflow.agent import knowledge_name

AGENT = {"type": "AGENTFLOW"}
LOOK = '/tool birds {"input": "who spears fish?"} | /say Herons do'
FORM = '{"bird": "Heron"}'
HERON = "The Heron spears fish."


def agent(base: str, *stores: dict[str, Any], streaming: bool = True, **rest: Any) -> dict[str, Any]:
    settings = {"modelName": "gpt-4o-mini", "basepath": base, "streaming": streaming}
    inputs: dict[str, Any] = {"agentModelConfig": settings, "agentKnowledgeDocumentStores": list(stores), **rest}
    return node("agent", agentModel="chatOpenAI", agentTools="", agentEnableMemory=True, **inputs)


def asking(server: Server, drawn: dict[str, Any]) -> str:
    return server.create_flow(flow(start(), drawn, arrows="start_0 agent_0"), **AGENT)


def store(key: str, name: str = "birds", *, sources: bool = True) -> dict[str, Any]:
    return {"documentStore": f"{key}:{name}", "docStoreDescription": "Notes", "returnSourceDocuments": sources}


@pytest.fixture(scope="module")
def birds(server: Server) -> str:
    """A document store with three birds."""
    return filled_store(server)[0]


def test_an_agent_answers_from_a_document_store_with_its_sources(server: Server, upstream: Upstream, birds: str):
    key = asking(server, agent(upstream.url, store(birds)))
    answer = server.ask(key, LOOK, streaming=True, chatId="known")
    told = answer.kinds[answer.kinds.index("token") : -5]
    assert told == ["token", "calledTools", "token", "usedTools", "sourceDocuments", "calledTools", "usageMetadata"]
    assert said(answer) == "Herons do"
    events = {event["event"]: event["data"] for event in answer.events}
    (used,) = events["usedTools"]
    assert (used["tool"], used["toolInput"]) == ("birds", {"input": "who spears fish?"})
    assert used["toolOutput"].startswith(HERON)
    assert events["sourceDocuments"][0]["pageContent"] == HERON
    offered = upstream.requests[0].body["tools"][0]["function"]
    assert (offered["name"], offered["description"]) == ("birds", "Notes")
    assert upstream.requests[1].body["messages"][-1]["content"] == used["toolOutput"]
    output = executed(answer)[1]["data"]["output"]
    assert (output["content"], output["usedTools"]) == ("Herons do", [used])
    rows = server.send("GET", f"/api/v1/chatmessage/{key}?chatId=known", admin=True).json
    assert (rows[1]["content"], rows[1]["usedTools"]) == ("Herons do", [used])
    assert rows[1]["sourceDocuments"] == events["sourceDocuments"]
    whole = server.ask(key, LOOK).json
    assert (whole["text"], whole["usedTools"], whole["sourceDocuments"]) == (
        "Herons do", [used], events["sourceDocuments"],
    )  # fmt: skip


def test_words_before_a_look_are_told_and_no_part_of_the_answer(server: Server, upstream: Upstream, birds: str):
    key = asking(server, agent(upstream.url, store(birds)))
    script = '/say I look. | /tool birds {"input": "fish"}'
    answer = server.ask(key, script, streaming=True, chatId="talks")
    (row,) = server.send("GET", f"/api/v1/chatmessage/{key}?chatId=talks", admin=True).json[1:]
    assert row["content"] == executed(answer)[1]["data"]["output"]["content"]
    assert said(answer).endswith(row["content"])


def test_documents_are_shown_only_where_the_flow_says_so(server: Server, upstream: Upstream, birds: str):
    key = asking(server, agent(upstream.url, store(birds, sources=False)))
    answer = server.ask(key, LOOK, streaming=True)
    assert "usedTools" in answer.kinds
    assert "sourceDocuments" not in answer.kinds


def test_an_agent_that_is_not_the_last_node_tells_only_what_it_calls(server: Server, upstream: Upstream, birds: str):
    drawn = flow(
        start(), agent(upstream.url, store(birds)), reply("so: {{ agentAgentflow_0 }}"),
        arrows="start_0 agent_0, agent_0 directReply_0",
    )  # fmt: skip
    answer = server.ask(server.create_flow(drawn, **AGENT), LOOK, streaming=True)
    assert said(answer) == "so: Herons do"
    assert not {"usedTools", "sourceDocuments"} & set(answer.kinds)
    (calls,) = [event["data"] for event in answer.events if event["event"] == "calledTools"]
    assert [call["tool"] for call in calls] == ["birds"]
    assert executed(answer)[1]["data"]["output"]["usedTools"][0]["tool"] == "birds"


def test_a_model_that_does_not_stream_is_told_at_once(server: Server, upstream: Upstream, birds: str):
    answer = server.ask(asking(server, agent(upstream.url, store(birds), streaming=False)), LOOK, streaming=True)
    assert [event["data"] for event in answer.events if event["event"] == "token"] == ["Herons do"]
    assert [kind for kind in answer.kinds if kind in ("usedTools", "sourceDocuments")] == [
        "usedTools",
        "sourceDocuments",
    ]


def test_a_vector_store_of_the_node_itself_is_searched(server: Server, upstream: Upstream):
    knowledge = {
        "vectorStore": "memoryVectorStore",
        "vectorStoreConfig": {
            "topK": "1",
            "document": [{"pageContent": text} for text in (HERON, "The Swift sleeps on the wing.")],
        },
        "embeddingModel": "hashedEmbeddings",
        "embeddingModelConfig": {},
        "knowledgeName": "Birds",
        "knowledgeDescription": "Notes",
        "returnSourceDocuments": True,
    }
    answer = server.ask(asking(server, agent(upstream.url, agentKnowledgeVSEmbeddings=[knowledge])), LOOK)
    assert [one["pageContent"] for one in answer.json["sourceDocuments"]] == [HERON]


@pytest.mark.parametrize("config", ['{"tenant": "{{ $flow.state.tenant }}"}', {"tenant": "{{ $flow.state.tenant }}"}])
def test_the_filter_of_its_own_store_may_name_the_state(tmp_path: Path, upstream: Upstream, web: Site, config: Any):
    asked: list[Any] = []

    def index(visit: Visit) -> Answer:
        if visit.method == "GET":
            return told({"name": "birds", "host": web.url})
        asked.append(json.loads(visit.body))
        return told({"matches": []})

    web.default = index
    knowledge = {
        "vectorStore": "pinecone",
        "vectorStoreConfig": {"pineconeIndex": "birds", "pineconeMetadataFilter": config},
        "embeddingModel": "hashedEmbeddings",
        "knowledgeName": "Birds",
    }
    state = [{"key": "tenant", "value": 'a", "x": "'}]  # a text in the filter, whatever is in it
    drawn = flow(
        start(startState=state), agent(upstream.url, agentKnowledgeVSEmbeddings=[knowledge]), arrows="start_0 agent_0"
    )
    with serving(tmp_path / "data", PINECONE_API_KEY="pk", PINECONE_BASE_URL=web.url) as server:
        answer = server.ask(server.create_flow(drawn, **AGENT), LOOK)
    assert answer.json["text"] == "Herons do", answer.text
    assert [one["filter"] for one in asked] == [{"tenant": 'a", "x": "'}]


def test_two_stores_of_one_name_are_two_tools(server: Server, upstream: Upstream, birds: str):
    server.ask(asking(server, agent(upstream.url, store(birds), store(birds))), "Hi")
    assert [one["function"]["name"] for one in upstream.requests[0].body["tools"]] == ["birds", "birds_2"]


def test_an_answer_in_a_form_is_asked_for_once_more(server: Server, upstream: Upstream, birds: str):
    fields = [{"key": "bird", "type": "string", "description": "its name"}]
    drawn = agent(upstream.url, store(birds), agentStructuredOutput=fields)
    spelt = msgspec.json.encode(f"/json {msgspec.json.encode(FORM).decode()}").decode()
    answer = server.ask(asking(server, drawn), f'/tool birds {{"input": "fish"}} | /json {spelt}')
    offered = [request.body["tools"][0]["function"]["name"] for request in upstream.requests]
    assert offered == ["birds", "birds", "extract"]
    assert msgspec.json.decode(answer.json["text"]) == {"bird": "Heron"}


def test_a_store_that_is_gone_is_named_before_the_model_is_asked(server: Server, upstream: Upstream):
    answer = server.ask(asking(server, agent(upstream.url, store("gone"))), LOOK)
    assert (answer.status, answer.json["code"]) == (422, "flow_error")
    assert "no document store 'gone'" in answer.json["message"]
    assert upstream.requests == []


def test_a_store_knows_the_agents_that_use_it(server: Server, upstream: Upstream):
    key = filled_store(server)[0]
    flow_id = asking(server, agent(upstream.url, store(key)))
    assert [one["id"] for one in store_of(server, key)["whereUsed"]] == [flow_id]
    done(send(server, "DELETE", f"store/{key}"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Bird Notes!", "bird_notes"), ("Ünï", "n"), ("", "knowledge"), ("a-b_c" * 20, ("a-b_c" * 20)[:64])],
)
def test_a_tool_is_called_as_its_store(name: str, expected: str):
    assert knowledge_name(name) == expected
