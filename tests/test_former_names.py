"""Flows with the names that nodes had in old versions, and with those that only engines connect."""

import json
from typing import Any

import pytest
from provider import Answer, Provider, Seen
from servers import Server, chat_model, flow, node
from test_agent_templates import Turn, openai
from test_templates import vectors

from headrace.engine.coverage import coverage
from headrace.engine.flow_file import TODAY, read_flow
from headrace.nodes import built_in

REF = "{{calculator_0.data.instance}}"


@pytest.mark.parametrize(
    "name", ["openAIToolAgent", "mistralAIToolAgent", "conversationalRetrievalAgent", "openAIToolAgentLlamaIndex",
             "anthropicAgentLlamaIndex"],
)  # fmt: skip
def test_an_older_agent_with_tools_answers(server: Server, provider: Provider, name: str) -> None:
    turns = [Turn("", "calculator", {"input": "6*7"}), Turn("42.")]
    provider.answer = lambda _: openai(turns.pop(0))
    wires: dict[str, Any] = {
        "model": "{{chatOpenAI_0.data.instance}}",
        "memory": "{{bufferMemory_0.data.instance}}",
        "tools": [REF],
    }
    agent = node(name, "Agents", systemMessage="Count.", **wires)
    drawn = flow(chat_model(provider.url), node("bufferMemory", "Memory"), node("calculator", "Tools"), agent)
    answer = server.ask(server.create_flow(drawn), "How many?").json
    assert (answer["text"], answer["usedTools"][0]["toolOutput"]) == ("42.", "42")


def test_every_former_name_leads_to_a_node_that_is_here() -> None:
    assert set(TODAY.values()) <= built_in().keys()
    assert not TODAY.keys() & built_in().keys()


def test_the_report_names_the_nodes_of_today() -> None:
    store = node("pineconeExistingIndex", "Vector Stores", pineconeIndex="i", output="retriever")
    found = coverage(read_flow(json.dumps(flow(store))), built_in())
    assert (found.runs, found.missing) == (["pinecone"], [])


def test_a_simple_store_answers_with_the_model_that_is_connected_to_it(server: Server, provider: Provider) -> None:
    asked: list[Any] = []

    def answered(seen: Seen) -> Answer:
        if seen.path.endswith("/embeddings"):
            return vectors(seen)
        asked.append(seen.body["messages"][-1]["content"])
        return openai(Turn("A small bird."))

    provider.answer = answered
    text = node("plainText", "Document Loaders", text="The wren is small.")
    model = node("chatOpenAI_LlamaIndex", "Chat Models", modelName="gpt-4", basepath=provider.url)
    embeddings = node("openAIEmbedding_LlamaIndex", "Embeddings", basepath=provider.url)
    wires: dict[str, Any] = {
        "document": ["{{plainText_0.data.instance}}"], "model": "{{chatOpenAI_LlamaIndex_0.data.instance}}",
        "embeddings": "{{openAIEmbedding_LlamaIndex_0.data.instance}}",
    }  # fmt: skip
    store = node("simpleStoreLlamaIndex", "Vector Stores", output="retriever", **wires)
    engine = node(
        "queryEngine", "Engine", vectorStoreRetriever="{{simpleStoreLlamaIndex_0.data.instance}}",
        returnSourceDocuments=True,
    )  # fmt: skip
    key = server.create_flow(flow(text, model, embeddings, store, engine))
    answer = server.ask(key, "What is a wren?").json
    assert (answer["text"], answer["sourceDocuments"][0]["pageContent"]) == ("A small bird.", "The wren is small.")
    assert "The wren is small." in asked[-1]
