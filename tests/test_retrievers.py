"""Retrievers that ask a model, join rankings, rerank or leave out: over a real store and a scripted provider."""

import json
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
from calls import context
from passages import BIRDS, Bags, document, opened
from provider import Answer, Provider, Seen, as_json
from test_answer_nodes import says
from waiting import within

from headrace.engine.inputs import read
from headrace.errors import FlowError, HeadraceError, ProviderMalformed, ProviderUnauthorized, ProviderUnavailable
from headrace.events import Document
from headrace.nodes import built_in
from headrace.providers.http import ProviderHttp, ProviderLimits
from headrace.retrieval.library import Library
from headrace.retrieval.refinement import fused, lines_of

SECRET = "sk-of-the-tests"


@pytest.fixture
def library(tmp_path: Path) -> Generator[Library]:
    with opened(tmp_path / "data") as library:
        yield library


class Ground:
    """What a flow's nodes are built on: a store about birds, a model and the way out."""

    def __init__(self, library: Library, provider: Provider, http: ProviderHttp) -> None:
        environ = {f"{name}_BASE_URL": provider.url for name in ("COHERE", "VOYAGEAI", "JINA")}
        secrets = {"c": {"cohereApiKey": SECRET, "apiKey": SECRET, "jinaAIAPIKey": SECRET}}
        self.ctx = context(http, environ, secrets, library=library)
        self.ctx.question = "the run's question"
        self.library, self.provider = library, provider

    async def node(self, kind: str, **inputs: Any) -> Any:
        return await read(built_in()[kind], inputs, f"{kind} (x)").build(self.ctx)

    async def model(self) -> Any:
        return await self.node("chatOpenAI", basepath=f"{self.provider.url}/v1", modelName="m")

    async def store(self) -> Any:
        collection = self.library.collection("birds", Bags())
        await collection.add([document(text, place=place) for place, text in enumerate(BIRDS)])
        return collection

    async def base(self, **inputs: Any) -> Any:
        return await self.node("vectorStoreRetriever", vectorStore=await self.store(), **inputs)


Built = Callable[[Ground], Any]


def found(library: Library, provider: Provider, build: Built, query: str = "Which bird hovers?") -> list[Document]:
    """What the retriever that `build` makes finds."""

    async def work() -> list[Document]:
        http = ProviderHttp(ProviderLimits(read=5, attempts=2, first_pause=0.001))
        try:
            return await (await build(Ground(library, provider, http))).find(query)
        finally:
            await http.close()

    return within(work())


def birds(documents: list[Document]) -> list[str]:
    return [one.pageContent.split()[1] for one in documents]


def prompt(seen: Seen) -> str:
    return seen.body["messages"][-1]["content"]


def told(provider: Provider, answer: Callable[[str], str]) -> None:
    """The model answers what `answer` makes of its prompt."""
    provider.seen = []
    provider.answer = lambda seen: says(answer(prompt(seen)))


def test_a_question_is_asked_in_other_words_too(library: Library, provider: Provider):
    told(
        provider,
        lambda _: "<questions>\n1. tall wading bird that spears fish\n\n- sleeps on the wing in the air\n</questions>",
    )

    async def build(on: Ground) -> Any:
        return await on.node("multiQueryRetriever", vectorStore=await on.store(), model=await on.model())

    documents = found(library, provider, build, "falcon that hovers over grassland")
    assert sorted(birds(documents)) == ["Heron", "Kestrel", "Swift"]
    assert len(provider.seen) == 1
    assert "Question: falcon that hovers over grassland" in prompt(provider.seen[0])


def test_the_prompt_for_other_words_may_be_the_flows_own(library: Library, provider: Provider):
    told(provider, lambda _: "x")

    async def build(on: Ground) -> Any:
        own = "Mine: {question} {other}"
        return await on.node(
            "multiQueryRetriever", vectorStore=await on.store(), model=await on.model(), modelPrompt=own
        )

    found(library, provider, build, "a {question} with {braces}")
    assert prompt(provider.seen[0]) == "Mine: a {question} with {braces} {other}"


def test_a_model_that_fails_fails_the_search(library: Library, provider: Provider):
    provider.always(as_json({"error": {"message": "no more"}}, 503, **{"Retry-After": "0"}))

    async def build(on: Ground) -> Any:
        return await on.node("RRFRetriever", baseRetriever=await on.base(), model=await on.model())

    with pytest.raises(ProviderUnavailable, match="no more"):
        found(library, provider, build)


def test_reciprocal_ranks_join_what_several_questions_find(library: Library, provider: Provider):
    told(provider, lambda _: f"{BIRDS[1]}\n{BIRDS[1]}!\n{BIRDS[1]}?\nwading, fish")

    async def build(on: Ground, **inputs: Any) -> Any:
        base = await on.base(topK=1)
        return await on.node("RRFRetriever", baseRetriever=base, model=await on.model(), **inputs)

    assert birds(found(library, provider, build, BIRDS[0])) == ["Heron"]
    assert birds(found(library, provider, lambda on: build(on, topK=2), BIRDS[0])) == ["Heron", "Kestrel"]
    assert "4 other ways" in prompt(provider.seen[0])


def test_fusion_counts_a_passage_once_and_prefers_high_ranks():
    one, two, three = (document(text) for text in "abc")
    assert fused([[one, two], [three, document("b")]]) == [two, one, three]
    assert fused([]) == []


def test_a_list_is_read_however_a_model_writes_it():
    answer = "Here:\n1. one\n2) two\n* three\n\n• four\n- one\n"
    assert lines_of(answer, 9) == ["Here:", "one", "two", "three", "four"]
    assert lines_of(answer, 2) == ["Here:", "one"]


def test_a_model_copies_out_what_matters_and_drops_the_rest(library: Library, provider: Provider):
    told(provider, lambda text: " hovers over open grassland \n" if "Kestrel" in text else "NOTHING_RELEVANT")

    async def build(on: Ground) -> Any:
        return await on.node("llmFilterRetriever", baseRetriever=await on.base(), model=await on.model())

    assert found(library, provider, build) == [document("hovers over open grassland", place=0)]
    assert len(provider.seen) == 3


def test_passages_unlike_the_question_are_left_out(library: Library, provider: Provider):
    async def build(on: Ground, **inputs: Any) -> Any:
        return await on.node("embeddingsFilterRetriever", baseRetriever=await on.base(), embeddings=Bags(), **inputs)

    assert birds(found(library, provider, build, BIRDS[1])) == ["Heron"]
    assert len(found(library, provider, lambda on: build(on, similarityThreshold="-1"), BIRDS[1])) == 3
    assert birds(found(library, provider, lambda on: build(on, similarityThreshold=-1, k=1), BIRDS[1])) == ["Heron"]
    assert found(library, provider, lambda on: build(on, similarityThreshold=1.1), BIRDS[1]) == []


def test_similar_passages_are_found_up_to_a_number(library: Library, provider: Provider):
    async def build(on: Ground, **inputs: Any) -> Any:
        return await on.node("similarityThresholdRetriever", vectorStore=await on.store(), **inputs)

    assert birds(found(library, provider, build, BIRDS[2])) == ["Swift"]
    assert len(found(library, provider, lambda on: build(on, minSimilarityScore=0), BIRDS[2])) > 1
    assert len(found(library, provider, lambda on: build(on, minSimilarityScore=0, maxK="1"), BIRDS[2])) == 1


def test_an_imagined_answer_is_searched_for(library: Library, provider: Provider):
    told(provider, lambda text: BIRDS[2] if "scientific" in text or text.startswith("Mine") else "")

    async def build(on: Ground, **inputs: Any) -> Any:
        return await on.node("HydeRetriever", vectorStore=await on.store(), model=await on.model(), topK=1, **inputs)

    assert birds(found(library, provider, lambda on: build(on, promptKey="scifact"), BIRDS[0])) == ["Swift"]
    assert birds(found(library, provider, lambda on: build(on, customPrompt="Mine: {question}"), BIRDS[0])) == ["Swift"]
    assert prompt(provider.seen[-1]) == f"Mine: {BIRDS[0]}"
    assert birds(found(library, provider, build, BIRDS[0])) == ["Kestrel"]  # a model that says nothing


def test_passages_are_put_into_a_form(library: Library, provider: Provider):
    async def build(on: Ground, **inputs: Any) -> Any:
        return await on.node("customRetriever", vectorStore=await on.store(), topK=1, **inputs)

    (plain,) = found(library, provider, build, BIRDS[0])
    assert plain.pageContent == f"{BIRDS[0]}\nSource: birds.txt"
    (formed,) = found(
        library, provider, lambda on: build(on, resultFormat="[{{metadata.place}}|{{metadata.a.b}}]"), BIRDS[0]
    )
    assert formed.pageContent == "[0|]"
    with pytest.raises(FlowError, match=r"no '\{\{title\}\}': use"):
        found(library, provider, lambda on: build(on, resultFormat="{{title}}"))


def test_what_a_retriever_finds_may_be_its_output(library: Library, provider: Provider):
    provider.always(Answer())

    async def outputs() -> list[Any]:
        on = Ground(library, provider, ProviderHttp())
        kind, store = "customRetriever", await on.store()
        given: dict[str, Any] = {"vectorStore": store, "topK": 1, "resultFormat": "{{context}}"}
        asked = {**given, "query": BIRDS[2]}
        on.ctx.question = BIRDS[1]
        return [await on.node(kind, **one, output=out) for one in (given, asked) for out in ("text", "document")]

    text, documents, asked_text, _ = within(outputs())
    assert text == BIRDS[1]
    assert documents == [{"pageContent": BIRDS[1], "metadata": {"source": "birds.txt", "place": 1}}]
    assert asked_text == BIRDS[2]


# Rerankers

RERANKERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "cohereRerankRetriever": ("results", "top_n", {"model": "rerank-v3.5", "max_chunks_per_doc": 10}),
    "voyageAIRerankRetriever": ("data", "top_k", {"model": "rerank-lite-1"}),
    "JinaRerankRetriever": ("results", "top_n", {"model": "jina-reranker-v2-base-multilingual"}),
}


def reranked(library: Library, provider: Provider, kind: str, **inputs: Any) -> list[Document]:
    async def build(on: Ground) -> Any:
        return await on.node(kind, baseRetriever=await on.base(), **{"credential": "c", **inputs})

    return found(library, provider, build, BIRDS[0])


@pytest.mark.parametrize("kind", RERANKERS)
def test_a_reranker_puts_passages_in_its_own_order(library: Library, provider: Provider, kind: str):
    held, most, body = RERANKERS[kind]
    scores = [{"index": 0, "relevance_score": 0.1}, {"index": 2, "relevance_score": 0.9}]
    provider.always(as_json({held: scores, "usage": {}}))
    first, second = reranked(library, provider, kind, **({"topK": 2} if most == "top_k" else {"topK": 2, "topN": 2}))
    (seen,) = provider.seen
    assert (seen.method, seen.path, seen.headers["authorization"]) == ("POST", "/v1/rerank", f"Bearer {SECRET}")
    documents = seen.body["documents"]
    assert seen.body == {**body, most: 2, "query": BIRDS[0], "documents": documents}
    assert sorted(documents) == sorted(BIRDS)
    assert (first.pageContent, first.metadata["relevance_score"]) == (documents[2], 0.9)
    assert (second.pageContent, second.metadata["source"]) == (BIRDS[0], "birds.txt")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (as_json({"message": f"invalid token {SECRET}"}, 401), ProviderUnauthorized),
        (as_json({"results": [{"index": 9, "relevance_score": 1}]}), ProviderMalformed),
        (Answer([b"<html>"]), ProviderMalformed),
    ],
)
def test_a_reranker_that_does_not_answer_says_why(
    library: Library, provider: Provider, answer: Answer, error: type[HeadraceError]
):
    provider.always(answer)
    with pytest.raises(error) as raised:
        reranked(library, provider, "cohereRerankRetriever")
    assert SECRET not in str(raised.value)


def test_a_reranker_without_a_key_says_what_to_do(library: Library, provider: Provider):
    async def build(on: Ground) -> Any:
        on.ctx.environ = {}
        return await on.node("JinaRerankRetriever", baseRetriever=await on.base())

    with pytest.raises(FlowError, match=r"Jina AI needs a key: .*JINA_API_KEY"):
        found(library, provider, build)


def test_a_reranker_is_not_asked_about_nothing(library: Library, provider: Provider):
    provider.always(Answer(status=500))

    async def build(on: Ground) -> Any:
        base = await on.base(filter=json.dumps({"place": 7}))
        return await on.node("cohereRerankRetriever", baseRetriever=base, credential="c")

    assert found(library, provider, build) == []
    assert provider.seen == []


def test_the_servers_own_key_goes_to_the_providers_address(library: Library, provider: Provider):
    def environ(key: str) -> Mapping[str, str]:
        return {"COHERE_API_KEY": key, "COHERE_BASE_URL": provider.url}

    provider.always(as_json({"results": []}))

    async def build(on: Ground) -> Any:
        on.ctx.environ = environ("own")
        return await on.node("cohereRerankRetriever", baseRetriever=await on.base())

    assert found(library, provider, build) == []
    assert provider.seen[0].headers["authorization"] == "Bearer own"
