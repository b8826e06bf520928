"""The Milvus node on Milvus's own engine: collections of others, partitions, conditions, keys and certificates."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from calls import context
from milvus_engine import Milvus
from passages import BIRDS, Bags, document, opened
from served import SECRET, closed_port
from servers import Server, chat_model, flow, node
from uploads import counts, sources, upsert
from upstream import Upstream
from waiting import within

from headrace.engine.inputs import read
from headrace.engine.ports import Search
from headrace.errors import FlowError, ProviderRefused, ProviderUnauthorized, ProviderUnavailable
from headrace.nodes import built_in
from headrace.retrieval.library import Library

_numbers = count(1)


@pytest.fixture
def birds() -> str:
    """A name that no collection has."""
    return f"of_node_{next(_numbers)}"


def at(url: str, name: str) -> dict[str, Any]:
    return {"milvusServerUrl": url, "milvusCollection": name}


def used(work: Any, secrets: Mapping[str, str] | None = None, library: Library | None = None, **inputs: Any) -> Any:
    """What `work` gives with the store of a node."""

    async def run() -> Any:
        ctx = context(None, None, {"c": secrets or {}}, library=library)
        values = {"credential": "c", "embeddings": Bags(), "output": "vectorStore", **inputs}
        return await work(await read(built_in()["milvus"], values, "milvus").build(ctx))

    return within(run(), 20)


async def add(store: Any) -> int:
    return await store.add([document(text, place=place) for place, text in enumerate(BIRDS)])


def texts(**inputs: Any) -> list[str]:
    async def search(store: Any) -> list[str]:
        return [hit.document.pageContent for hit in await store.search(Search(text=BIRDS[0], k=9))]

    return used(search, **inputs)


def asked(milvus: Milvus, work: Any) -> Any:
    """What `work` gives with a client of our own."""
    from pymilvus import AsyncMilvusClient

    async def run() -> Any:
        client = AsyncMilvusClient(milvus.url, dedicated=True)
        try:
            return await work(client)
        finally:
            await client.close()

    return within(run(), 20)


def test_a_condition_of_the_node_holds_as_milvus_writes_it(milvus: Milvus, birds: str):
    there = at(milvus.url, birds)
    assert used(add, **there) == 3
    assert len(texts(**there)) == 3
    assert texts(**there, milvusFilter='place >= 1 and source == "birds.txt"') == [BIRDS[1], BIRDS[2]]
    assert texts(**there, milvusFilter="", topK="2") == texts(**there)
    with pytest.raises(ProviderRefused, match=rf"(?s)the Milvus collection '{birds}' could not be searched.+place =="):
        texts(**there, milvusFilter="place ==")


@pytest.mark.parametrize("condition", [{"place": {"$gte": 1}}, {"a b": 1}, {"place": None}])
def test_a_condition_of_a_retriever_is_one_value(condition: Any):
    there = at(f"http://127.0.0.1:{closed_port()}", "birds")
    with pytest.raises(FlowError, match="into the filter of the Milvus node"):
        used(lambda store: store.search(Search(text="bird", filter=condition)), **there)


def test_a_partition_is_made_and_searched_alone(milvus: Milvus, birds: str):
    there = at(milvus.url, birds)
    assert used(lambda store: store.add([document("whole")]), **there) == 1
    assert used(lambda store: store.add([document("part")]), **there, milvusPartition="wing") == 1
    assert texts(**there, milvusPartition="wing") == ["part"]
    assert sorted(texts(**there)) == ["part", "whole"]
    assert used(lambda store: store.add([document("part")]), **there, milvusPartition="wing") == 0


async def _numbered(client: Any, name: str) -> None:
    """A collection as Flowise makes it, with two passages."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=True)
    schema.add_field("source", DataType.VARCHAR, max_length=99)
    schema.add_field("loc", DataType.VARCHAR, max_length=99)
    schema.add_field("langchain_primaryid", DataType.INT64, is_primary=True, auto_id=True)
    schema.add_field("langchain_text", DataType.VARCHAR, max_length=999)
    schema.add_field("langchain_vector", DataType.FLOAT_VECTOR, dim=64)
    index = client.prepare_index_params("langchain_vector", index_type="HNSW", metric_type="L2", M=8, efConstruction=64)
    await client.create_collection(name, schema=schema, index_params=index)
    vectors = ((text, list(Bags().vector(text))) for text in BIRDS[:2])
    loc = '{"lines":{"from":1}}'
    rows = [{"source": "[1", "loc": loc, "langchain_text": text, "langchain_vector": one} for text, one in vectors]
    await client.insert(name, rows)


def test_a_collection_that_flowise_made_is_read_and_not_written(milvus: Milvus, birds: str):
    asked(milvus, lambda client: _numbered(client, birds))
    there = at(milvus.url, birds)
    first, second = used(lambda store: store.search(Search(text=BIRDS[1])), **there)
    assert (first.document.pageContent, second.document.pageContent) == (BIRDS[1], BIRDS[0])
    assert first.document.metadata == {"source": "[1", "loc": {"lines": {"from": 1}}}
    assert first.score == pytest.approx(1, abs=1e-4)
    assert second.score == pytest.approx(sum(map(float.__mul__, Bags().vector(BIRDS[0]), Bags().vector(BIRDS[1]))))
    for work in (add, lambda store: store.delete([first.document.id])):
        with pytest.raises(
            ProviderRefused, match=r"numbers its passages itself.+name a collection that does not exist"
        ):
            used(work, **there)
    assert len(texts(**there)) == 2


def test_a_collection_that_was_put_away_is_found(milvus: Milvus, birds: str):
    there = at(milvus.url, birds)
    used(add, **there)
    asked(milvus, lambda client: client.release_collection(birds))
    assert len(texts(**there)) == 3


async def _unfinished(client: Any, name: str) -> None:
    """What is there when the making of a collection ended early."""
    from pymilvus import DataType

    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("langchain_primaryid", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("langchain_text", DataType.VARCHAR, max_length=999)
    schema.add_field("langchain_vector", DataType.FLOAT_VECTOR, dim=64)
    await client.create_collection(name, schema=schema)


def test_a_collection_whose_making_ended_early_is_completed(milvus: Milvus, birds: str):
    asked(milvus, lambda client: _unfinished(client, birds))
    there = at(milvus.url, birds)
    assert used(add, **there) == 3
    assert len(texts(**there)) == 3


def test_a_text_may_have_a_field_of_another_name(milvus: Milvus, birds: str):
    there = at(milvus.url, birds)
    used(add, **there, milvusTextField="said")
    assert texts(**there, milvusTextField="said")[0] == BIRDS[0]
    assert texts(**there) == ["", "", ""]


def test_the_caller_shows_a_certificate_that_is_a_file_of_this_server(milvus: Milvus, birds: str, tmp_path: Path):
    names = dict.fromkeys(("caPemPath", "clientPemPath", "clientKeyPath"), "all.pem")
    there = {**at(milvus.secure, birds), "serverName": "a.test"}
    password = {"milvusUser": "root", "milvusPassword": SECRET}
    with opened(tmp_path) as library:
        library.files.mkdir(exist_ok=True)
        shutil.copy(milvus.pem, library.files / "all.pem")
        assert used(add, password, library, **there, **names) == 3
        with pytest.raises(ProviderUnavailable, match="cannot reach Milvus"):
            used(add, password, library, **there, caPemPath="all.pem")
        for name, said in (("../x.pem", "outside of the folder"), ("x.pem", "there is no file 'x.pem'")):
            with pytest.raises(FlowError, match=said):
                used(add, password, library, **there, caPemPath=name)


def test_a_wrong_password_is_told_as_that_and_not_shown(milvus: Milvus, birds: str):
    there = at(milvus.url.removeprefix("http://"), birds)
    for password in ({"milvusUser": "root", "milvusPassword": "no-no"}, {"milvusPassword": "no-no"}):
        with pytest.raises(ProviderUnauthorized, match="Milvus answered: auth check failure") as raised:
            used(add, password, **there)
        assert "no-no" not in str(raised.value)


def test_a_flow_stores_its_documents_in_milvus_and_answers_from_them(
    server: Server, upstream: Upstream, milvus: Milvus, birds: str
):
    words = node("hashedEmbeddings", "Embeddings")
    store = node(
        "milvus",
        "Vector Stores",
        **at(milvus.url, birds),
        document=["{{plainText_0.data.instance}}"],
        embeddings="{{hashedEmbeddings_0.data.instance}}",
        topK="1",
        output="retriever",
    )
    found: dict[str, Any] = {"vectorStoreRetriever": "{{milvus_0.data.instance}}", "returnSourceDocuments": True}
    chain = node("conversationalRetrievalQAChain", "Chains", model="{{chatOpenAI_0.data.instance}}", **found)
    text = node("plainText", "Document Loaders", text=BIRDS[2])
    key = server.create_flow(flow(words, text, store, chat_model(upstream.url), chain))
    assert [counts(upsert(server, key)) for _ in range(2)] == [(1, 0, 0, 0), (0, 0, 1, 0)]
    assert sources(server, key, "Which bird sleeps on the wing?") == [BIRDS[2]]


def test_using_milvus_reads_no_environment_from_a_file_and_writes_no_log(milvus: Milvus, tmp_path: Path):
    (tmp_path / ".env").write_text("FROM_A_FILE=1\n")
    program = """
import asyncio, os
from headrace.vectors.milvus_server import Place, connected
async def main():
    try:
        async with connected(Place(url={url!r})) as client:
            await client.describe_collection("gone")
    except Exception as error:
        print(error)
    print(sorted({{"FROM_A_FILE", "PYTHON_DOTENV_DISABLED"}} & os.environ.keys()))
asyncio.run(main())
"""
    command = [sys.executable, "-c", program.format(url=milvus.url)]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == ["[]"]
