"""Engines of older flows answer from passages, each response synthesizer in its own way, on a real server."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
from provider import Answer, Provider, Seen, as_json
from served import SECRET, Pinecone
from servers import Server, flow, node, serving

LONG = [letter * 7_000 for letter in "abc"]
"""Passages of which only one fits into a call."""
SHORT = ["The wren is small.", "The heron spears fish."]


def ref(key: str) -> str:
    return f"{{{{{key}.data.instance}}}}"


def engine(base: str, synthesizer: str, **inputs: Any) -> dict[str, Any]:
    model = node("chatOpenAI_LlamaIndex", "Chat Models", modelName="gpt-4", basepath=base)
    vectors = node("openAIEmbedding_LlamaIndex", "Embeddings", basepath=base)
    wires = {"model": ref(model["id"]), "embeddings": ref(vectors["id"]), "pineconeIndex": "index"}
    index = node("pineconeLlamaIndex", "Vector Stores", output="retriever", **wires)
    how = node(synthesizer, "Response Synthesizer", **inputs)
    wires = {"vectorStoreRetriever": ref(index["id"]), "responseSynthesizer": ref(how["id"])}
    return flow(model, vectors, index, how, node("queryEngine", "Engine", returnSourceDocuments=True, **wires))


def says(text: str) -> Answer:
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}
    return Answer([f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()])


class Index:
    """Pinecone, embeddings and a chat model at one address; the model answers with the number of its call."""

    def __init__(self, provider: Provider) -> None:
        self.url = provider.url
        self.prompts: list[str] = []
        self._pinecone = Pinecone(provider, dimensions=2)
        provider.answer = self._answer

    def hold(self, passages: list[str]) -> None:
        """Keeps these passages and no others, the first one nearest to every question."""
        self.prompts = []
        self._pinecone.points[""] = {
            str(n): {"id": str(n), "values": [1.0, float(n)], "metadata": {"text": text}}
            for n, text in enumerate(passages)
        }

    def _answer(self, seen: Seen) -> Answer:
        if seen.path.endswith("/embeddings"):
            return as_json({"data": [{"index": 0, "embedding": [1.0, 0.0]}]})
        if not seen.path.endswith("/chat/completions"):
            return self._pinecone.answer(seen)
        self.prompts.append(seen.body["messages"][-1]["content"])
        return says(f"answer {len(self.prompts)}")


@pytest.fixture(scope="module")
def index(provider: Provider) -> Index:
    return Index(provider)


@pytest.fixture(scope="module")
def engines(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    environ = {"PINECONE_API_KEY": SECRET, "PINECONE_BASE_URL": index.url, "OPENAI_API_KEY": SECRET}
    with serving(tmp_path_factory.mktemp("engines") / "data", **environ, OPENAI_BASE_URL=index.url) as server:
        yield server


REFINE = {"textQAPrompt": "Q {query} {context}", "refinePrompt": "R {query} {existingAnswer} {context}"}
CASES: list[tuple[str, dict[str, str], list[str], list[str], str]] = [
    ("compactrefineLlamaIndex", REFINE, SHORT, [f"Q Which? {SHORT[0]}\n\n{SHORT[1]}"], "answer 1"),
    ("compactrefineLlamaIndex", REFINE, LONG[:2], [f"Q Which? {LONG[0]}", f"R Which? answer 1 {LONG[1]}"], "answer 2"),
    ("refineLlamaIndex", REFINE, SHORT, [f"Q Which? {SHORT[0]}", f"R Which? answer 1 {SHORT[1]}"], "answer 2"),
    (
        "treeSummarizeLlamaIndex",
        {"prompt": "T {query} {context}"},
        SHORT,
        [f"T Which? {SHORT[0]}\n\n{SHORT[1]}"],
        "answer 1",
    ),
    (
        "treeSummarizeLlamaIndex",
        {"prompt": "T {query} {context}"},
        LONG,
        [*(f"T Which? {text}" for text in LONG), "T Which? answer 1\n\nanswer 2\n\nanswer 3"],
        "answer 4",
    ),
    ("simpleResponseBuilderLlamaIndex", {}, SHORT, [], "\n".join(SHORT)),
    ("compactrefineLlamaIndex", {}, [], [], "Empty Response"),
]


@pytest.mark.parametrize(("synthesizer", "inputs", "passages", "prompts", "text"), CASES)
def test_an_engine_answers_in_the_way_of_its_synthesizer(
    engines: Server,
    index: Index,
    synthesizer: str,
    inputs: dict[str, str],
    passages: list[str],
    prompts: list[str],
    text: str,
) -> None:
    index.hold(passages)
    answer = engines.ask(engines.create_flow(engine(index.url, synthesizer, **inputs)), "Which?").json
    assert (answer.get("text"), index.prompts) == (text, prompts), answer
    assert [document["pageContent"] for document in answer.get("sourceDocuments", [])] == passages
