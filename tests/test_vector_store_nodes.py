"""Documents, splitters, embeddings, stores and retrievers as a flow wires them."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from calls import context
from passages import BIRDS, Bags, document, opened
from servers import Server, llm_chain
from servers import node as drawn
from upstream import Upstream
from waiting import within

from headrace.engine.inputs import read
from headrace.engine.ports import Upserted
from headrace.errors import FlowError
from headrace.events import Document
from headrace.nodes import built_in
from headrace.nodes.vector_stores.embedded import MemoryVectorStore
from headrace.retrieval.embedded.collection import Collection, Upsert
from headrace.retrieval.library import Library
from headrace.retrieval.library import library as library_of
from headrace.schema import FlowRow
from headrace.storage.storage import Storage


@pytest.fixture
def library(tmp_path: Path) -> Generator[Library]:
    with opened(tmp_path / "data") as library:
        yield library


async def node(library: Library, kind: str, flow: str = "flow", /, **inputs: Any) -> Any:
    """What a node of a flow builds."""

    return await read(built_in()[kind], inputs, f"{kind} (x)").build(context(library=library, flow=flow))


async def birds(library: Library, text: str = "\n\n".join(BIRDS), **inputs: Any) -> Any:
    """The memory store of a flow about birds: what one prediction builds."""
    splitter = await node(library, "recursiveCharacterTextSplitter", chunkSize=100, chunkOverlap=0)
    texts = await node(library, "plainText", text=text, textSplitter=splitter, metadata='{"source":"birds.txt"}')
    return await node(library, "memoryVectorStore", document=[texts], **inputs)


def lines(number: int) -> Any:
    return {"loc": {"lines": {"from": number, "to": number}}, "source": "birds.txt"}


def test_a_second_prediction_embeds_only_its_question(library: Library):
    model = Bags()

    async def ask(question: str) -> list[Document]:
        return await (await birds(library, embeddings=model, topK="2")).find(question)

    first = within(ask("Which bird hovers over grassland?"))
    assert first[0] == Document(BIRDS[0], lines(1))
    assert len(first) == 2
    assert model.asked == [*BIRDS, "Which bird hovers over grassland?"]
    second = within(ask("And which one spears fish?"))
    assert second[0] == Document(BIRDS[1], lines(3))
    assert model.asked[4:] == ["And which one spears fish?"]


def test_documents_that_are_stored_are_not_even_read_again(library: Library, tmp_path: Path):
    path = library.files / "flow" / "a.txt"
    path.parent.mkdir(parents=True)
    path.write_text("The Wren is small.")
    reads: list[str] = []

    async def ask() -> int:
        texts = await node(library, "textFile", txtFile="FILE-STORAGE::a.txt")
        original = texts.read

        def counted() -> Any:
            reads.append("read")
            return original()

        texts.read = counted
        return len(await (await node(library, "memoryVectorStore", document=[texts])).find("wren"))

    assert [within(ask()) for _ in range(3)] == [1, 1, 1]
    assert reads == ["read"]
    path.write_text("The Wren and the Robin.")
    assert within(ask()) == 1
    assert reads == ["read", "read"]


def test_a_file_read_in_another_way_is_read_again(library: Library):
    path = library.files / "flow" / "a.csv"
    path.parent.mkdir(parents=True)
    path.write_text("bird\nWren\n")

    async def ask(kind: str, **inputs: Any) -> list[str]:
        documents = await node(library, kind, **inputs)
        found = await (await node(library, "memoryVectorStore", document=[documents])).find("wren")
        return [one.pageContent for one in found]

    assert within(ask("textFile", txtFile="FILE-STORAGE::a.csv")) == ["bird\nWren\n"]
    assert within(ask("csvFile", csvFile="FILE-STORAGE::a.csv")) == ["bird: Wren"]
    assert within(ask("csvFile", csvFile="FILE-STORAGE::a.csv", columnName="bird")) == ["Wren"]


def test_predictions_that_come_together_embed_once(library: Library):
    model = Bags()

    async def work() -> list[Any]:
        return await asyncio.gather(*(birds(library, embeddings=model) for _ in range(5)))

    assert len(within(work())) == 5
    assert model.asked == list(BIRDS)
    upserts = "SELECT upserts FROM collection"
    assert within(library._database.read(lambda c: c.exec_driver_sql(upserts).scalar_one())) == 1


def test_runs_with_other_documents_never_see_each_others(library: Library):
    async def work() -> tuple[list[str], list[str]]:
        mine, other = await birds(library, "My secret is 7."), await birds(library, "Their secret is 8.")
        found = await mine.find("secret"), await other.find("secret")
        return [one.pageContent for one in found[0]], [one.pageContent for one in found[1]]

    assert within(work()) == (["My secret is 7."], ["Their secret is 8."])


def test_overrides_do_not_fill_the_disk(library: Library):
    async def work() -> int:
        for number in range(70):
            await birds(library, f"number {number}")
        return await library._database.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM collection").scalar_one())

    assert within(work(), 60) <= 65


def test_without_embeddings_the_store_is_lexical_and_says_so(library: Library):
    store = within(birds(library, output="vectorStore"))
    assert isinstance(store, Collection)
    assert store.lexical
    assert within(store.info()).mode == "lexical"


def test_the_retriever_node_looks_as_it_is_told(library: Library):
    async def work(**inputs: Any) -> list[str]:
        store = await birds(library, embeddings=Bags(), output="vectorStore")
        retriever = await node(library, "vectorStoreRetriever", vectorStore=store, name="birds", **inputs)
        assert retriever.name == "birds"
        return [one.pageContent.split()[1] for one in await retriever.find("tall wading bird")]

    assert within(work())[0] == "Heron"
    assert within(work(topK=1)) == ["Heron"]
    assert within(work(searchType="lexical")) == ["Heron"]
    assert within(work(searchType="hybrid", topK=1)) == ["Heron"]
    assert len(within(work(searchType="mmr", topK=2, fetchK=3))) == 2
    assert within(work(scoreThreshold="0.99")) == []
    assert within(work(filter='{"loc.lines.from": {"$gt": 3}}')) == ["Swift"]
    with pytest.raises(FlowError, match="searchType"):
        within(work(searchType="psychic"))


def test_what_is_no_document_is_refused(library: Library):
    with pytest.raises(FlowError, match=r"memoryVectorStore.*'document'.*documents must be connected here, not a text"):
        within(node(library, "memoryVectorStore", document=["x"]))
    with pytest.raises(FlowError, match=r"'vectorStore'.*a vector store must be connected"):
        within(node(library, "vectorStoreRetriever", vectorStore="x"))


def test_one_bad_document_is_passed_over_and_only_bad_ones_are_an_error(
    library: Library, caplog: pytest.LogCaptureFixture
):
    folder = library.files / "flow"
    folder.mkdir(parents=True)
    (folder / "bad.txt").write_bytes(b"\xff")
    (folder / "good.txt").write_text("The Wren is small.")

    async def ask(*names: str) -> list[Document]:
        texts = [await node(library, "textFile", txtFile=f"FILE-STORAGE::{name}") for name in names]
        return await (await node(library, "memoryVectorStore", document=texts)).find("wren")

    assert within(ask("bad.txt", "good.txt")) == [document("The Wren is small.", "good.txt")]
    assert "'bad.txt' could not be read" in caplog.text
    with pytest.raises(FlowError, match=r"'bad\.txt' could not be read: it is not utf-8"):
        within(ask("bad.txt"))


def test_faiss_finds_what_was_upserted_under_its_name(library: Library):
    async def ask(**inputs: Any) -> list[str]:
        retriever = await node(library, "faiss", basePath="/data/faiss", embeddings=Bags(), **inputs)
        return [one.pageContent for one in await retriever.find("wren")]

    with pytest.raises(FlowError, match="nothing was upserted under '/data/faiss'"):
        within(ask())
    collection = library.collection("faiss//data/faiss", Bags())

    async def upsert() -> None:
        texts = await node(library, "plainText", text="The Wren is small.")
        await Upsert(collection).run(texts.read())

    within(upsert())
    assert within(ask()) == ["The Wren is small."]
    texts = within(node(library, "plainText", text="The Robin sings."))
    assert within(ask(document=[texts])) == ["The Wren is small."]


def test_once_something_was_upserted_it_is_what_is_searched(library: Library):
    async def upsert(text: str, chat: str = "") -> Upserted:
        texts = await node(library, "plainText", text=text)
        into = MemoryVectorStore(document=[texts], node="a")
        ctx = msgspec.structs.replace(context(library=library, flow="flow"), chat=chat)
        return await into.upsert(ctx, lambda _: None)

    async def ask(key: str, flow: str = "flow", chat: str = "c") -> list[str]:
        texts = await node(library, "plainText", text="The Robin sings.")
        store = MemoryVectorStore(document=[texts], node=key)
        ctx = msgspec.structs.replace(context(library=library, flow=flow), chat=chat)
        retriever: Any = await store.build(ctx)
        return [one.pageContent for one in await retriever.find("robin wren sings")]

    assert within(ask("a")) == ["The Robin sings."]
    assert within(upsert("The Wren is small.")).numAdded == 1
    assert within(ask("a")) == ["The Wren is small."]
    assert within(ask("b")) == ["The Robin sings."], "another store of the flow"
    assert within(ask("a", "other")) == ["The Robin sings."], "another flow"
    assert within(upsert("My robin is ill.", "c")).numAdded == 1
    assert sorted(within(ask("a"))) == ["My robin is ill.", "The Wren is small."]
    assert within(ask("a", chat="d")) == ["The Wren is small."], "another chat"


def test_a_process_without_a_library_says_so():
    with pytest.raises(FlowError, match="keeps no documents"):
        library_of(context())


def test_a_deleted_flow_takes_its_documents_along(tmp_path: Path):
    storage = Storage(tmp_path / "data")
    try:
        library = Library(storage.database, tmp_path / "data")

        async def work() -> list[str]:
            one, two = [await storage.add_flow(FlowRow("", name, '{"nodes": []}')) for name in ("a", "b")]
            for flow in (one.id, two.id):
                texts = await node(library, "plainText", text="The Wren is small.")
                await node(library, "memoryVectorStore", flow, document=[texts])
            await storage.delete_flow(one.id)
            await library.sweep()
            names = await storage.database.read(
                lambda c: c.exec_driver_sql("SELECT name FROM collection").scalars().all()
            )
            assert await storage.database.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM chunk").scalar()) == 1
            return [name.split("/")[1] == two.id for name in names]

        assert within(work()) == [True]
    finally:
        storage.close()


def test_a_server_gives_its_library_to_the_flows_that_it_runs(server: Server, upstream: Upstream):
    described = llm_chain(upstream.url, "{context} {question}", '{"context": "{{textFile_0.data.instance}}"}')
    file = "data:text/plain;base64,SGVyb25zIGVhdCBmaXNoLg==,filename:birds.txt"
    described["nodes"].append(
        drawn("textFile", "Document Loaders", txtFile=file, output="text"),
    )
    described["edges"].append({"source": "textFile_0", "target": "promptTemplate_0"})
    reply = server.ask(server.create_flow(described), "What do herons eat?")
    assert reply.status == 200, reply.text
    (request,) = upstream.requests
    assert request.body["messages"][-1]["content"] == "Herons eat fish. What do herons eat?"
