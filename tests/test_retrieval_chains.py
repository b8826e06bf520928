"""Answers from documents over HTTP: what the model reads, and the sources that come with the answer."""

import json
from typing import Any

import pytest
from servers import Server, chat_model, flow, node
from upstream import Upstream

from headrace.events import decode, fold

BIRDS = "The wren is very small.\n\nThe heron spears fish.\n\nThe swift sleeps on the wing."


def documents() -> list[dict[str, Any]]:
    """A text, cut at its paragraphs, in a store without embeddings."""
    splitter = node("characterTextSplitter", "Text Splitters", separator="\n\n", chunkSize=30, chunkOverlap=0)
    text = node(
        "plainText", "Document Loaders", text=BIRDS, metadata='{"source": "birds"}',
        textSplitter="{{characterTextSplitter_0.data.instance}}",
    )  # fmt: skip
    wires: dict[str, Any] = {"document": ["{{plainText_0.data.instance}}"], "topK": "1"}
    return [splitter, text, node("memoryVectorStore", "Vector Stores", output="retriever", **wires)]


def qa(base: str, chain: str = "conversationalRetrievalQAChain", **inputs: Any) -> dict[str, Any]:
    wires: dict[str, Any] = {
        "model": "{{chatOpenAI_0.data.instance}}",
        "vectorStoreRetriever": "{{memoryVectorStore_0.data.instance}}",
    }
    memory = node("bufferMemory", "Memory", label="Memory", memoryKey="chat_history")
    return flow(chat_model(base), memory, *documents(), node(chain, "Chains", label="QA", **wires, **inputs))


def sources(documents: Any) -> list[str]:
    return [document["pageContent"] for document in documents]


def test_sources_come_behind_the_answer_and_all_three_answers_agree(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(qa(upstream.url, returnSourceDocuments=True))
    stream = server.ask(flow_id, "What does the heron spear?", streaming=True, chatId="q")
    assert stream.kinds == ["start", "token", "sourceDocuments", "metadata", "end"]
    folded = fold([decode(json.dumps(event)) for event in stream.events])
    answer = server.ask(flow_id, "What does the heron spear?").json
    assert (folded.text, sources(answer["sourceDocuments"])) == (answer["text"], ["The heron spears fish."])
    assert answer["sourceDocuments"][0]["metadata"]["source"] == "birds"
    stored = server.send("GET", f"/api/v1/chatmessage/{flow_id}?chatId=q", admin=True).json[-1]
    assert stored["sourceDocuments"] == answer["sourceDocuments"]


def test_a_flow_that_shows_no_sources_shows_none(server: Server, upstream: Upstream) -> None:
    answer = server.ask(server.create_flow(qa(upstream.url)), "What does the heron spear?").json
    assert "sourceDocuments" not in answer
    (asked,) = upstream.requests
    assert "<doc id='0'>The heron spears fish.</doc>" in asked.body["messages"][0]["content"]
    assert asked.body["messages"][-1] == {"role": "user", "content": "What does the heron spear?"}


def test_a_question_that_continues_a_conversation_is_written_anew_first(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(
        qa(upstream.url, memory="{{bufferMemory_0.data.instance}}", returnSourceDocuments=True,
           rephrasePrompt="{chat_history}\n/say Where does the swift sleep? [{question}]")
    )  # fmt: skip
    server.ask(flow_id, "/say It spears fish.", chatId="q")
    upstream.reset()
    answer = server.ask(flow_id, "/say On the wing.", chatId="q").json
    rephrase, asked = (request.body["messages"] for request in upstream.requests)
    assert rephrase[0]["content"].startswith("human: /say It spears fish.\nai: It spears fish.\n")
    assert [message["role"] for message in asked] == ["system", "user", "assistant", "user"]
    assert sources(answer["sourceDocuments"]) == ["The swift sleeps on the wing."]
    assert answer["text"] == "On the wing."


def chosen(name: str) -> str:
    return f'/say {{"destination": "{name}", "question": "/say as {name}"}}'


@pytest.mark.parametrize(
    ("question", "system", "text"),
    [(chosen("Birds"), "You know birds.", "as Birds"), (chosen("DEFAULT"), None, None), ("/say {", None, "{")],
)
def test_the_prompt_that_fits_the_question_is_used(
    server: Server, upstream: Upstream, question: str, system: str | None, text: str | None
) -> None:
    prompts = [
        node("promptRetriever", "Retrievers", number, name=name, description=f"Good for {name}.", systemMessage=said)
        for number, (name, said) in enumerate((("birds", "You know birds."), ("maths", "You calculate.")))
    ]
    wires: dict[str, Any] = {"model": "{{chatOpenAI_0.data.instance}}",
             "promptRetriever": [f"{{{{{each['id']}.data.instance}}}}" for each in prompts]}  # fmt: skip
    flow_id = server.create_flow(flow(chat_model(upstream.url), *prompts, node("multiPromptChain", "Chains", **wires)))
    answer = server.ask(flow_id, question).json
    choosing, asked = (request.body["messages"] for request in upstream.requests)
    assert "- birds: Good for birds.\n- maths: Good for maths." in choosing[0]["content"]
    assert [message["content"] for message in asked if message["role"] == "system"] == ([system] if system else [])
    assert asked[-1]["content"] == ("/say as Birds" if system else question)
    assert text in (None, answer["text"])


@pytest.mark.parametrize(("name", "found"), [("birds", ["The heron spears fish."]), ("DEFAULT", None)])
def test_the_retriever_that_fits_the_question_is_asked(
    server: Server, upstream: Upstream, name: str, found: list[str] | None
) -> None:
    retriever = node("vectorStoreRetriever", "Retrievers", name="birds", description="NodeInfo birds.",
                     vectorStore="{{memoryVectorStore_0.data.instance}}")  # fmt: skip
    wires: dict[str, Any] = {"model": "{{chatOpenAI_0.data.instance}}", "returnSourceDocuments": True,
                             "vectorStoreRetriever": ["{{vectorStoreRetriever_0.data.instance}}"]}  # fmt: skip
    parts = [*documents(), retriever, node("multiRetrievalQAChain", "Chains", **wires)]
    parts[-3]["data"]["outputs"] = {"output": "vectorStore"}
    flow_id = server.create_flow(flow(chat_model(upstream.url), *parts))
    question = f'/say {{"destination": "{name}", "question": "What spears the heron?"}}'
    answer = server.ask(flow_id, question).json
    shown = answer.get("sourceDocuments")
    assert (sources(shown)[:1] if shown else None) == found
    assert [message["role"] for message in upstream.requests[1].body["messages"]] == (["system"] if found else []) + [
        "user"
    ]


@pytest.mark.parametrize("chain", ["retrievalQAChain", "vectorDBQAChain"])
def test_the_plain_chains_read_the_passages_too(server: Server, upstream: Upstream, chain: str) -> None:
    parts = qa(upstream.url, chain)
    if chain == "vectorDBQAChain":
        parts["nodes"][-1]["data"]["inputs"]["vectorStore"] = "{{memoryVectorStore_0.data.instance}}"
        parts["nodes"][-2]["data"]["outputs"] = {"output": "vectorStore"}
    server.ask(server.create_flow(parts), "Where does the swift sleep?")
    assert "The swift sleeps on the wing." in upstream.requests[0].body["messages"][0]["content"]


def test_an_agent_looks_things_up_and_shows_its_sources(server: Server, upstream: Upstream) -> None:
    tool = node(
        "retrieverTool", "Tools", name="search birds", description="Looks birds up.", returnSourceDocuments=True,
        retriever="{{memoryVectorStore_0.data.instance}}",
    )  # fmt: skip
    wires: dict[str, Any] = {"model": "{{chatOpenAI_0.data.instance}}", "tools": ["{{retrieverTool_0.data.instance}}"]}
    parts = flow(chat_model(upstream.url), *documents(), tool, node("toolAgent", "Agents", **wires))
    stream = server.ask(server.create_flow(parts), '/tool search_birds {"input": "wren"}', streaming=True)
    assert stream.kinds == ["start", "token", "sourceDocuments", "usedTools", "metadata", "end"]
    assert sources(stream.events[-4]["data"]) == ["The wren is very small."]
