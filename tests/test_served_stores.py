"""Stores on other servers as nodes of a flow: whose key goes where, what an upsert does, what goes wrong."""

import sys
from base64 import b64encode
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from calls import context
from passages import BIRDS, Bags, document, given
from provider import Answer, Provider, Seen, as_json
from served import IMPATIENT, SECRET, Pinecone, Weaviate, closed_port, redis_server
from servers import Server, flow, serving
from servers import node as drawn
from test_answer_nodes import says
from waiting import within

from headrace.engine.graph import Graph
from headrace.engine.inputs import read
from headrace.engine.ports import LoadFailure, Search
from headrace.errors import (
    FlowError,
    HeadraceError,
    ProviderMalformed,
    ProviderNotFound,
    ProviderRefused,
    ProviderUnauthorized,
    ProviderUnavailable,
)
from headrace.events import Document
from headrace.nodes import built_in
from headrace.providers.http import ProviderHttp
from headrace.schema import FlowFile
from headrace.vectors.elasticsearch import cloud_address
from headrace.vectors.postgres_server import Place
from headrace.vectors.served import flat

NEEDED: dict[str, dict[str, Any]] = {
    "pinecone": {"pineconeIndex": "index"},
    "postgres": {"host": "127.0.0.1", "database": "postgres", "tableName": "birds"},
    "qdrant": {"qdrantCollection": "birds"},
    "chroma": {"collectionName": "birds"},
    "elasticsearch": {"indexName": "birds"},
    "weaviate": {"weaviateIndex": "birds"},
    "redis": {"indexName": "birds"},
    "milvus": {"milvusCollection": "birds"},
}
SECRETS = {
    "pineconeApiKey": SECRET, "user": "guarded", "password": SECRET, "qdrantApiKey": SECRET, "chromaApiKey": SECRET,
    "weaviateApiKey": SECRET,
    "apiKey": SECRET,
}  # fmt: skip
ADDRESS = {"qdrant": "qdrantServerUrl", "chroma": "chromaURL", "weaviate": "weaviateHost", "milvus": "milvusServerUrl"}


def used(
    kind: str,
    work: Any,
    *,
    environ: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] = SECRETS,
    **inputs: Any,
) -> Any:
    """What `work` gives with the store of a node."""

    async def run() -> Any:
        http = ProviderHttp(IMPATIENT)
        try:
            ctx = context(http, environ, {"c": secrets})
            values = {"credential": "c", "embeddings": Bags(), "output": "vectorStore", **NEEDED[kind], **inputs}
            return await work(await read(built_in()[kind], values, kind).build(ctx))
        finally:
            await http.close()

    return within(run(), 20)


def at(kind: str, url: str) -> dict[str, Any]:
    """Inputs and environment that lead a node to an address."""
    if kind == "pinecone":
        return {"environ": {"PINECONE_BASE_URL": url}}
    if kind == "redis":
        return {"secrets": {"redisUrl": url.replace("http://", f"redis://:{SECRET}@")}}
    if kind == "elasticsearch":
        return {"secrets": {"apiKey": SECRET, "endpoint": url}}
    return {"port": int(url.rpartition(":")[2])} if kind == "postgres" else {ADDRESS[kind]: url}


async def search(store: Any) -> Any:
    return await store.search(Search(text="bird"))


async def add(store: Any) -> Any:
    return await store.add([document("new")])


@pytest.mark.parametrize("kind", NEEDED)
@pytest.mark.parametrize("work", [search, add])
def test_a_store_that_cannot_be_reached_is_named_with_the_step(kind: str, work: Any):
    stores = "Pinecone|PostgreSQL|Qdrant|Chroma|Elasticsearch|Weaviate|Redis|Milvus"
    with pytest.raises(ProviderUnavailable, match=rf"the ({stores}) \w+ '\w+' could not be"):
        used(kind, work, **at(kind, f"http://127.0.0.1:{closed_port()}"))


@pytest.mark.parametrize("kind", ["pinecone", "qdrant", "chroma", "elasticsearch", "weaviate"])
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (as_json({"error": "Unauthorized", "message": f"no such key {SECRET}"}, 401), ProviderUnauthorized),
        (as_json({"status": {"error": "Not found: Collection doesn't exist!"}}, 404), ProviderNotFound),
        (as_json({"error": "InvalidArgumentError", "message": "expecting dimension 4, got 64"}, 400), ProviderRefused),
    ],
)
def test_a_refusal_says_which_store_which_step_and_why(
    provider: Provider, kind: str, answer: Answer, error: type[HeadraceError]
):
    provider.always(answer)
    with pytest.raises(
        error, match=r"could not be searched with a vector of 64 dimensions: .+ answered 40\d"
    ) as raised:
        used(kind, search, **at(kind, provider.url))
    assert SECRET not in str(raised.value)
    sent = provider.seen[0].headers
    assert SECRET in (sent.get("api-key"), sent.get("x-chroma-token"), sent.get("authorization", "")[7:])


@pytest.mark.parametrize("kind", ["pinecone", "chroma", "elasticsearch"])
@pytest.mark.parametrize("answer", [Answer([b"<html>"]), as_json([1]), as_json({"nothing": "known"})])
def test_an_answer_that_is_none_is_no_crash(provider: Provider, kind: str, answer: Answer):
    provider.always(answer)
    with pytest.raises(ProviderMalformed, match="could not be searched"):
        used(kind, search, **at(kind, provider.url))


def test_postgres_says_what_is_wrong(database: Place):
    there: Any = {"host": database.host, "port": database.port}
    assert used("postgres", add, **there) == 1
    assert [hit.document.pageContent for hit in used("postgres", search, **there)] == ["new"]
    with pytest.raises(ProviderNotFound, match='relation "gone" does not exist'):
        used("postgres", search, **there, tableName="gone")
    with pytest.raises(ProviderNotFound, match='database "gone" does not exist'):
        used("postgres", search, **there, database="gone")
    with pytest.raises(ProviderRefused, match=r"expected 64 dimensions, not 8|different vector dimensions"):
        used("postgres", lambda store: store.add([document("other")]), **there, embeddings=Bags(8))
    wrong = {"POSTGRES_VECTORSTORE_HOST": database.host, "POSTGRES_VECTORSTORE_USER": "guarded"}
    with pytest.raises(ProviderUnauthorized, match="password authentication failed") as raised:
        used("postgres", search, **there, credential="", environ={**wrong, "POSTGRES_VECTORSTORE_PASSWORD": "no-no"})
    assert "no-no" not in str(raised.value)


@pytest.mark.parametrize("name", ['x"; DROP TABLE birds; --', "a.b.c", "", "1x", "naïve"])
def test_a_table_name_is_a_name(name: str):
    if name:
        with pytest.raises(FlowError, match="is no name for a table"):
            used("postgres", search, tableName=name)
    with pytest.raises(FlowError, match="is no name for a table"):
        used("postgres", search, contentColumnName=name or "x y")


def test_the_servers_own_password_goes_only_to_its_own_database():
    own = {"POSTGRES_VECTORSTORE_HOST": "db", "POSTGRES_VECTORSTORE_USER": "u", "POSTGRES_VECTORSTORE_PASSWORD": "p"}
    with pytest.raises(FlowError, match="a credential with a user"):
        used("postgres", search, credential="", host="elsewhere", environ=own)


def test_the_servers_own_key_goes_only_to_pinecone(provider: Provider):
    fake = Pinecone(provider)
    own: Any = {"PINECONE_API_KEY": SECRET, "PINECONE_BASE_URL": provider.url}
    assert used("pinecone", search, credential="", environ=own) == []
    assert fake.provider.seen[0].headers["x-pinecone-api-version"]
    with pytest.raises(FlowError, match="Pinecone needs a key"):
        used("pinecone", search, credential="")


def test_elasticsearch_is_found_by_its_cloud_id_and_told_the_password(provider: Provider):
    provider.always(as_json({"hits": {"hits": []}}))
    named = {"cloudId": provider.url, "username": "u", "password": SECRET}
    assert used("elasticsearch", search, secrets=named) == []
    assert provider.seen[0].headers["authorization"] == f"Basic {b64encode(f'u:{SECRET}'.encode()).decode()}"
    cloud = "mine:" + b64encode(b"eu.example.org$abc$kibana").decode()
    assert cloud_address(cloud) == "https://abc.eu.example.org"
    for odd in ("mine:%%", "mine:aGk=", ""):
        with pytest.raises(FlowError, match="Elasticsearch"):
            used("elasticsearch", search, secrets={"cloudId": odd})


@pytest.mark.parametrize(
    ("kind", "package"), [("postgres", "asyncpg"), ("qdrant", "qdrant_client"), ("milvus", "pymilvus")]
)
@pytest.mark.parametrize("work", [search, add])
def test_a_package_that_is_missing_is_named(kind: str, package: str, work: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FlowError, match=rf"pip install '.\[{kind}\]'"):
        used(kind, work, **at(kind, "http://127.0.0.1:1"))


@pytest.mark.parametrize("kind", ["qdrant", "chroma", "milvus"])
@pytest.mark.parametrize("url", ["/etc", ":memory:", "file:///etc", "birds"])
def test_an_address_is_no_folder(kind: str, url: str):
    with pytest.raises(FlowError, match="needs an address that begins with http"):
        used(kind, search, **at(kind, url))


@pytest.mark.parametrize(
    ("kind", "host", "secure", "address"),
    [
        ("cloud", "birds.weaviate.cloud", False, "https://birds.weaviate.cloud"),
        ("cloud", "https://birds.weaviate.cloud/", True, "https://birds.weaviate.cloud"),
        ("local", "localhost", True, "http://localhost:8080"),
        ("local", "localhost:9090", True, "http://localhost:9090"),
        ("custom", "weaviate.internal:8443", True, "https://weaviate.internal:8443"),
        ("custom", "weaviate.internal", False, "http://weaviate.internal"),
    ],
)
def test_weaviates_address_follows_from_the_kind_of_connection(kind: str, host: str, secure: bool, address: str):
    values = {"weaviateConnectionType": kind, "weaviateHost": host, "weaviateHttpSecure": secure}
    node: Any = read(built_in()["weaviate"], {"embeddings": Bags(), **NEEDED["weaviate"], **values}, "weaviate")
    assert node._base == address


def test_what_a_filter_of_weaviate_says_stays_a_value(provider: Provider):
    served = Weaviate(provider)
    served.rows["Birds"] = {}
    odd = '"}) { x } } #'
    where = {"where": {"path": ["source"], "operator": "Equal", "valueText": odd}}
    used("weaviate", search, **at("weaviate", provider.url), weaviateFilter=where)
    (asked,) = [one.body["query"] for one in provider.seen if one.path == "/v1/graphql"]
    assert f"operator: Equal, valueText: {msgspec.json.encode(odd).decode()}}}" in asked
    with pytest.raises(FlowError, match="has a key"):
        used("weaviate", search, **at("weaviate", provider.url), weaviateFilter={"a}": 1})


def test_metadata_that_weaviate_has_no_name_for_is_written_with_underscores(provider: Provider):
    served = Weaviate(provider)
    deep = Document("bird", {"loc": {"page": 1}, "id": "x", "2nd": "y"})
    used("weaviate", lambda store: store.add([deep]), **at("weaviate", provider.url))
    (row,) = served.rows["Birds"].values()
    assert row["properties"] == {"text": "bird", "loc_page": 1, "_id": "x", "_2nd": "y"}


def test_a_filter_that_qdrant_would_not_know_is_refused(provider: Provider):
    provider.always(Answer(status=500))
    with pytest.raises(FlowError, match="Qdrant filter cannot be read"):
        used("qdrant", search, **at("qdrant", provider.url), qdrantFilter='{"source": "a.txt"}')
    assert provider.seen == []


def test_a_collection_of_qdrant_is_made_as_the_node_says_and_may_be_made_by_two(provider: Provider):
    made: list[Any] = []

    def answer(seen: Seen) -> Answer:
        if seen.method == "PUT" and not seen.path.endswith("/points?wait=true"):
            made.append(seen.body)
            return as_json({"status": {"error": "already exists"}}, 409)
        exists = {"exists": False} if seen.path.endswith("/exists") else {"operation_id": 0, "status": "completed"}
        return as_json({"result": exists, "status": "ok", "time": 0})

    provider.answer = answer
    configuration = {"vectors": {"on_disk": True}, "replication_factor": 2}
    there: Any = {**at("qdrant", provider.url), "qdrantSimilarity": "Dot"}
    assert used("qdrant", add, **there, qdrantCollectionConfiguration=configuration) == 1
    vectors = {"size": 64, "distance": "Dot", "on_disk": True}
    assert made == [{"vectors": vectors, "replication_factor": 2}]
    with pytest.raises(FlowError, match="no such collection configuration"):
        used("qdrant", add, **there, qdrantCollectionConfiguration={"shards": 1, "replication_factor": "x"})


@pytest.mark.parametrize("kind", NEEDED)
def test_words_are_not_searched_where_there_are_only_vectors(kind: str):
    async def lexical(store: Any) -> Any:
        return await store.search(Search(text="bird", mode="hybrid"))

    with pytest.raises(FlowError, match="searched by vectors only"):
        used(kind, lexical, **at(kind, "http://127.0.0.1:1"))


def test_objects_inside_metadata_become_keys_with_dots():
    nested = {"loc": {"lines": {"from": 1}}, "none": None, "tags": ["a", "b"], "odd": [1, {"x": 2}], "no": []}
    assert dict(flat(nested)) == {"loc.lines.from": 1, "tags": ["a", "b"], "odd": '[1,{"x":2}]', "no": "[]"}


class Given:
    """A loader's documents."""

    fingerprint = ""

    def __init__(self, *documents: Any) -> None:
        self.documents = documents

    def read(self) -> Any:
        return given(self.documents)


def test_an_upsert_stores_what_is_connected_once(provider: Provider):
    fake = Pinecone(provider)
    failure = LoadFailure("bad.pdf", "read", "it is no PDF")
    texts = Given(*(document(text) for text in BIRDS), failure, document(BIRDS[0]))
    told: list[int] = []

    async def run() -> list[Any]:
        http = ProviderHttp(IMPATIENT)
        try:
            ctx = context(http, {"PINECONE_BASE_URL": provider.url}, {"c": SECRETS})
            values = {"credential": "c", "embeddings": Bags(), "document": [texts], "pineconeNamespace": "n"}
            node: Any = read(built_in()["pinecone"], {**values, **NEEDED["pinecone"]}, "pinecone")
            return [await node.upsert(ctx, lambda done: told.append(done.numAdded)) for _ in range(2)]
        finally:
            await http.close()

    first, second = within(run())
    assert (first.numAdded, first.numSkipped, first.failures) == (3, 1, [failure])
    assert (second.numAdded, second.numSkipped, second.addedDocs) == (0, 4, [])
    assert told == [3, 0]
    assert len(fake.points["n"]) == 3
    assert sum("/indexes/" in seen.path for seen in provider.seen) == 1  # kept from run to run


# In a flow


def asking(base: str) -> dict[str, Any]:
    """A flow whose agent asks Pinecone, with documents and a record manager that only an upsert needs."""
    return flow(
        drawn("chatOpenAI", "Chat Models", basepath=f"{base}/v1", streaming=True),
        drawn("openAIEmbeddings", "Embeddings", basepath=f"{base}/v1"),
        drawn("textFile", "Document Loaders", txtFile="FILE-STORAGE::gone.txt"),
        drawn("unheardOfRecordManager", "Record Manager"),
        drawn(
            "pinecone",
            "Vector Stores",
            document=["{{textFile_0.data.instance}}"],
            recordManager="{{unheardOfRecordManager_0.data.instance}}",
            embeddings="{{openAIEmbeddings_0.data.instance}}",
            pineconeIndex="index",
            pineconeMetadataFilter='{"place": {"$eq": 1}}',
            topK="",
            output="vectorStore",
        ),
        drawn(
            "customRetriever",
            "Retrievers",
            vectorStore="{{pinecone_0.data.instance}}",
            resultFormat="<{{context}}>",
            query="{{question}}",
            output="text",
        ),
        drawn(
            "promptTemplate",
            "Prompts",
            template="{context}|{question}",
            promptValues='{"context": "{{customRetriever_0.data.instance}}"}',
        ),
        drawn(
            "llmChain",
            "Chains",
            output="llmChain",
            model="{{chatOpenAI_0.data.instance}}",
            prompt="{{promptTemplate_0.data.instance}}",
        ),
    )


def test_a_prediction_builds_nothing_that_only_an_upsert_reads():
    graph = Graph(msgspec.convert(asking("http://x"), FlowFile), built_in())
    assert "pinecone_0" in [node.id for node in graph.order]
    assert not {"textFile_0", "unheardOfRecordManager_0"} & {node.id for node in graph.order}


def test_a_flow_answers_from_pinecone(provider: Provider, tmp_path: Path):
    fake, model = Pinecone(provider), Bags()
    fake.points[""] = {
        str(n): {"id": str(n), "values": list(model.vector(text)), "metadata": {"text": text, "place": n}}
        for n, text in enumerate(BIRDS)
    }

    def answer(seen: Seen) -> Answer:
        if seen.path.endswith("/embeddings"):
            vector = list(model.vector(seen.body["input"]))
            return as_json({"data": [{"index": 0, "embedding": vector}]})
        if seen.path.endswith("/chat/completions"):
            return says(seen.body["messages"][-1]["content"])
        return fake.answer(seen)

    provider.answer = answer
    environ = {"PINECONE_API_KEY": SECRET, "PINECONE_BASE_URL": provider.url}
    with serving(tmp_path / "data", **environ) as server:
        reply = ask(server, provider)
    assert reply == f"<{BIRDS[1]}>|Which bird hovers?"


def ask(server: Server, provider: Provider) -> str:
    reply = server.ask(server.create_flow(asking(provider.url)), "Which bird hovers?")
    assert reply.status == 200, reply.text
    return reply.json["text"]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


def test_redis_with_a_wrong_password_says_so_and_not_which(redis_url: str):
    wrong = redis_url.replace(SECRET, "open-sesame")
    with pytest.raises(ProviderUnauthorized) as raised:
        used("redis", search, secrets={"redisUrl": wrong})
    assert "open-sesame" not in str(raised.value)


def test_a_redis_index_is_replaced_where_the_flow_says_so(redis_url: str):
    async def upserted(*texts: str, replace: bool) -> list[str]:
        ctx = context(None, None, {"c": {"redisUrl": redis_url}})
        values = {"credential": "c", "embeddings": Bags(), "indexName": "replaced", "replaceIndex": replace}
        node: Any = read(built_in()["redis"], {**values, "document": [Given(*map(document, texts))]}, "redis")
        await node.upsert(ctx, lambda _: None)
        hits = await (await node._store(ctx)).search(Search(text="bird", k=9))
        return sorted(hit.document.pageContent for hit in hits)

    async def run() -> None:
        assert await upserted("old", "both", replace=True) == ["both", "old"]
        assert await upserted("new", "both", replace=True) == ["both", "new"]
        assert await upserted("more", replace=False) == ["both", "more", "new"]

    within(run())
