"""What every vector store must do, run over each that can run here."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from typing import Any, TypeAlias

import pytest
from passages import BIRDS, Bags, document, opened
from provider import Provider
from served import (
    Chroma,
    Elasticsearch,
    Ground,
    Pinecone,
    Weaviate,
    chroma_ground,
    chroma_server,
    postgres_ground,
    qdrant_ground,
    redis_ground,
    redis_server,
)
from waiting import within

from headrace.engine.ports import Embeddings, Search, VectorStore
from headrace.errors import FlowError, HeadraceError, ProviderNotFound, ProviderRefused
from headrace.events import Document
from headrace.retrieval.library import Library

STORES = (
    "embedded",
    "postgres",
    "qdrant",
    "chroma",
    "scripted chroma",
    "pinecone",
    "elasticsearch",
    "weaviate",
    "redis",
    "milvus",
)
Work: TypeAlias = Callable[[VectorStore], Coroutine[Any, Any, Any]]
_numbers = count(1)


def embedded_ground(library: Library) -> Ground:
    @asynccontextmanager
    async def open_collection(name: str, model: Embeddings) -> AsyncGenerator[VectorStore]:
        yield library.collection(name, model)

    return Ground(open_collection, lambda place: {"place": place})


@pytest.fixture(scope="module", params=STORES)
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Ground]:
    """Each store in turn; one server for all tests of a kind."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("store")
        match request.param:
            case "embedded":
                yield embedded_ground(stack.enter_context(opened(folder)))
            case "postgres":
                yield postgres_ground(request.getfixturevalue("database"))
            case "qdrant":
                yield qdrant_ground(folder)
            case "chroma":
                yield chroma_ground(stack.enter_context(chroma_server(folder)))
            case "scripted chroma":
                yield Chroma(request.getfixturevalue("provider")).ground
            case "elasticsearch":
                served = Elasticsearch(request.getfixturevalue("provider"))
                yield Ground(served.open, lambda place: {"term": {"metadata.place": place}})
            case "redis":
                yield redis_ground(stack.enter_context(redis_server(folder)))
            case "milvus":
                yield request.getfixturevalue("milvus").ground
            case "weaviate":
                made = Weaviate(request.getfixturevalue("provider"))
                yield Ground(made.open, lambda n: {"path": ["place"], "operator": "Equal", "valueInt": n})
            case _:
                provider: Provider = request.getfixturevalue("provider")
                fake = Pinecone(provider)
                yield Ground(fake.open, lambda place: {"place": {"$eq": place}}, makes=False)


class Store:
    """A store of its own for a test; each use opens it anew, as each run of a flow does."""

    def __init__(self, ground: Ground) -> None:
        self.ground, self.name, self.model = ground, f"birds_{next(_numbers)}", Bags()

    def use(self, work: Work, model: Embeddings | None = None) -> Any:
        async def run() -> Any:
            async with self.ground.open(self.name, model or self.model) as store:
                return await work(store)

        return within(run(), 30)

    def add(self, *documents: Document, model: Embeddings | None = None) -> int:
        return self.use(lambda store: store.add(documents), model)

    def hits(self, text: str, **how: Any) -> list[Any]:
        return self.use(lambda store: store.search(Search(text=text, **how)))

    def texts(self, text: str, **how: Any) -> list[str]:
        return [hit.document.pageContent for hit in self.hits(text, **how)]


@pytest.fixture
def store(ground: Ground) -> Store:
    return Store(ground)


@pytest.fixture
def birds(store: Store) -> Store:
    assert store.add(*(document(text, place=place) for place, text in enumerate(BIRDS))) == 3
    return store


def test_the_nearest_passage_is_first_with_its_metadata_and_the_cosine(birds: Store):
    first, second = birds.hits(BIRDS[1], k=2)
    assert first.document.pageContent == BIRDS[1]
    assert first.document.metadata == {"source": "birds.txt", "place": 1}
    assert first.score == pytest.approx(1, abs=1e-4)
    assert second.score < first.score


def test_adding_again_stores_and_embeds_nothing(birds: Store):
    asked = list(birds.model.asked)
    new = document("The Wren is small.")
    assert birds.add(*(document(text, place=place) for place, text in enumerate(BIRDS)), new, new) == 1
    assert birds.model.asked == [*asked, new.pageContent]
    assert len(birds.hits("bird", k=9)) == 4


def test_the_same_text_of_two_sources_is_two_passages(store: Store):
    assert store.add(document("same", "a.txt"), document("same", "b.txt")) == 2
    assert sorted(hit.document.metadata["source"] for hit in store.hits("same")) == ["a.txt", "b.txt"]


def test_passages_that_come_twice_at_once_are_stored_once(birds: Store):
    async def twice(store: VectorStore) -> None:
        await asyncio.gather(*(store.add([document("The Wren is small.")]) for _ in range(2)))

    birds.use(twice)
    assert len(birds.hits("wren", k=9)) == 4


def test_more_passages_than_go_into_one_request_are_stored(store: Store):
    assert store.add(*(document(f"passage {n}", number=n) for n in range(300))) == 300
    assert store.add(*(document(f"passage {n}", number=n) for n in range(301))) == 1
    assert store.texts("passage 299", k=1) == ["passage 299"]


def test_a_store_gives_as_many_as_are_wanted(birds: Store):
    assert len(birds.hits("bird", k=2)) == 2
    assert birds.hits("bird", k=0) == []


def test_hits_under_the_threshold_are_left_out(birds: Store):
    assert birds.texts(BIRDS[0], threshold=0.99) == [BIRDS[0]]
    assert birds.texts(BIRDS[0], threshold=1.01) == []


def test_passages_may_be_looked_for_that_differ(store: Store):
    store.add(*(document(f"red apple pie {n}") for n in range(5)), document("red wine"))
    assert "red wine" not in store.texts("red apple pie", k=2)
    assert "red wine" in store.texts("red apple pie", k=2, mode="mmr", diversity=0.9)


def test_a_condition_on_metadata_holds(birds: Store):
    if not birds.ground.filters:
        with pytest.raises(FlowError, match="without a condition"):
            birds.hits(BIRDS[0], filter=birds.ground.of_place(2))
        return
    assert birds.texts(BIRDS[0], filter=birds.ground.of_place(2)) == [BIRDS[2]]
    assert birds.texts(BIRDS[0], filter=birds.ground.of_place(7)) == []


def test_conditions_hold_beside_each_other(birds: Store):
    if not birds.ground.filters:
        with pytest.raises(FlowError, match="without a condition"):
            birds.hits(BIRDS[0], narrower=[birds.ground.of_place(2)])
        return
    second, third = birds.ground.of_place(1), birds.ground.of_place(2)
    assert birds.texts(BIRDS[0], narrower=[third]) == [BIRDS[2]]
    assert birds.texts(BIRDS[0], filter=third, narrower=[third, {}]) == [BIRDS[2]]
    assert birds.texts(BIRDS[0], filter=second, narrower=[third]) == []
    assert birds.texts(BIRDS[0], narrower=[second, third]) == []


def test_a_vector_may_be_given_instead_of_a_text(birds: Store):
    asked = list(birds.model.asked)
    assert birds.texts("", vector=birds.model.vector(BIRDS[2]), k=1) == [BIRDS[2]]
    assert birds.model.asked == asked


def test_a_passage_that_was_found_can_be_deleted(birds: Store):
    (hit,) = birds.hits(BIRDS[0], k=1)
    gone = [hit.document.id, "no-such-id"]
    assert birds.use(lambda store: store.delete(gone)) == 1
    assert birds.use(lambda store: store.delete(gone)) == 0
    assert BIRDS[0] not in birds.texts(BIRDS[0], k=9)


def test_texts_and_metadata_of_every_kind_come_back(store: Store):
    odd = "“Ünïcödé” 🦢\n\\ ' \" {{x}} $1 %s"
    store.add(Document(odd, {"source": odd, "yes": True, "share": 0.5, "deep": "x"}), Document("plain"))
    (hit,) = store.hits(odd, k=1)
    assert hit.document.pageContent == odd
    assert hit.document.metadata == {"source": odd, "yes": True, "share": 0.5, "deep": "x"}
    assert store.hits("plain", k=1)[0].document.metadata == {}


def test_a_model_of_other_dimensions_is_refused_and_nothing_is_lost(birds: Store):
    with pytest.raises(HeadraceError, match="dimension") as raised:
        birds.add(document("new"), model=Bags(8))
    assert isinstance(raised.value, FlowError | ProviderRefused)
    with pytest.raises(HeadraceError, match=r"dimension|embedded with"):
        birds.use(lambda store: store.search(Search(text="bird")), Bags(8, "other"))
    assert len(birds.hits("bird", k=9)) == 3


def test_a_collection_that_is_missing_is_named(store: Store, request: pytest.FixtureRequest):
    if "embedded" in request.node.name or not store.ground.makes:
        assert store.hits("bird") == []
        return
    with pytest.raises(ProviderNotFound, match=rf"{store.name}' could not be searched with a vector of 64 dimensions"):
        store.hits("bird")
