"""Vector stores on other servers. Documents that are connected to one are stored by an upsert, never by a prediction.

A credential goes where the flow says; what the server's environment holds goes only where the environment says.
"""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from headrace.engine.node import Context, Sink, Templated
from headrace.engine.ports import Embeddings, Search, SearchMode, Upserted, UpsertProgress
from headrace.errors import FlowError
from headrace.nodes.accounts import account, secrets
from headrace.nodes.postgres_accounts import Wanted, own, postgres_place
from headrace.nodes.providers import Provider
from headrace.nodes.record_managers import RecordManager
from headrace.nodes.redis_memory import redis_account, redis_address
from headrace.nodes.retrievers import Query
from headrace.retrieval.files import within
from headrace.retrieval.library import library
from headrace.retrieval.retriever import StoreRetriever, all_documents
from headrace.vectors import chroma, elasticsearch, milvus, milvus_server, pinecone, postgres, qdrant, redis, weaviate
from headrace.vectors.served import ServedStore, Site
from headrace.vectors.upsert import ServedUpsert

_AT_ONCE: Final = 256
_HOST_AND_PORT: Final = re.compile(r"[\w.-]+:\d+")
_POSTGRES: Final = "POSTGRES_VECTORSTORE"
_PINECONE: Final = Provider("Pinecone", "OpenAI", pinecone.BASE, "pineconeApiKey", "PINECONE_API_KEY")


class ServedNode(Sink, frozen=True, kw_only=True):
    """What all of them have. The output is the retriever, or for `vectorStore` the store."""

    upserted: ClassVar[frozenset[str]] = frozenset({"document", "recordManager"})
    label: ClassVar[str]
    way: ClassVar[str]
    """How it is reached, for the docs."""
    filters: ClassVar[str]
    """What a condition on metadata looks like there, for the docs."""

    embeddings: Embeddings
    recordManager: RecordManager | None = None
    topK: int = 4
    credential: str = ""
    output: str = ""

    async def build(self, ctx: Context) -> object:
        """The retriever, or the store."""
        store = await self._store(ctx)
        return store if self.output == "vectorStore" else StoreRetriever(store, self._search)

    @property
    def _search(self) -> Search:
        return Search(text="", k=self.topK)

    def _how(self, condition: Mapping[str, Any]) -> dict[str, Any]:
        """What every store is told."""
        return {"embeddings": self.embeddings, "k": self.topK, "condition": condition}

    @abstractmethod
    async def _store(self, ctx: Context) -> ServedStore: ...

    async def upsert(self, ctx: Context, progress: UpsertProgress) -> Upserted:
        """Stores the connected documents; the record manager says what becomes of those before."""
        manager = self.recordManager
        records = await manager.records(ctx, self.node) if manager else None
        how = manager or RecordManager()
        upsert = ServedUpsert(
            await self._store(ctx), records, cleanup=how.cleanup, source_key=how.sourceIdKey, progress=progress
        )
        return await upsert.run(all_documents(self.document))

    async def remove(self, ctx: Context, loaders: Sequence[str]) -> int:
        """By the records: without a record manager, those that document stores keep."""
        records = await (self.recordManager or RecordManager()).records(ctx, self.node)
        store, total = await self._store(ctx), 0
        while keys := await records.of_loaders(loaders, _AT_ONCE):
            total += await store.delete(keys)
            await records.forget(keys)
        return total


class _Spread(ServedNode, frozen=True, kw_only=True):
    """A store whose node may ask for passages that differ from each other (`mmr`)."""

    searchType: Literal["similarity", "mmr"] = "similarity"
    fetchK: int = 20
    nearness: Annotated[float, msgspec.Meta(ge=0, le=1)] = msgspec.field(default=0.5, name="lambda")
    """0 looks only at how the passages differ, 1 only at the question."""

    @property
    def _search(self) -> Search:
        mode: SearchMode = self.searchType
        return Search(text="", k=self.topK, mode=mode, fetch=self.fetchK, diversity=1 - self.nearness)


class Pinecone(_Spread, frozen=True, kw_only=True, tag="pinecone"):
    """An index of Pinecone, which must exist. `PINECONE_BASE_URL` names another address for all flows."""

    label = "Pinecone"
    way = "HTTP"
    filters = '`{"source": {"$eq": "a.txt"}}`'

    pineconeIndex: str
    pineconeNamespace: str = ""
    pineconeTextKey: str = "text"
    pineconeMetadataFilter: Templated = {}

    async def _store(self, ctx: Context) -> ServedStore:
        at = await account(ctx, _PINECONE, credential=self.credential)
        return pinecone.PineconeStore(
            pinecone.site(ctx.http, at.base, at.key),
            ctx.kept.setdefault(f"pinecone {at.base} {self.credential}", {}),
            self.pineconeIndex,
            self.pineconeNamespace,
            self.pineconeTextKey,
            **self._how(self.pineconeMetadataFilter),
        )


class Postgres(ServedNode, frozen=True, kw_only=True, tag="postgres"):
    """A table of PostgreSQL with pgvector."""

    label = "PostgreSQL (pgvector)"
    way = "asyncpg, extra `postgres`"
    filters = '`{"source": "a.txt"}`: metadata that contains this'

    host: str = ""
    """`POSTGRES_VECTORSTORE_HOST`, when it is not set; then database, port, user and password come from there too."""
    database: str = ""
    port: int | None = None
    ssl: bool = False
    tableName: str = ""
    distanceStrategy: postgres.Distance = "cosine"
    pgMetadataFilter: Templated = {}
    contentColumnName: str = "pageContent"

    async def _store(self, ctx: Context) -> ServedStore:
        wanted = Wanted(self.host, self.database, self.port, self.ssl, self.credential)
        environ = own(ctx, self.host, _POSTGRES)
        return postgres.PostgresStore(
            await postgres_place(ctx, wanted, _POSTGRES, "Postgres"),
            self.tableName or environ.get(f"{_POSTGRES}_TABLE_NAME") or "documents",
            self.contentColumnName,
            self.distanceStrategy,
            **self._how(self.pgMetadataFilter),
        )


class Qdrant(ServedNode, frozen=True, kw_only=True, tag="qdrant"):
    """A collection of Qdrant. It is made with as many dimensions as the embeddings have."""

    label = "Qdrant"
    way = "qdrant-client, extra `qdrant`"
    filters = '`{"must": [{"key": "metadata.source", "match": {"value": "a.txt"}}]}`'

    qdrantServerUrl: str
    qdrantCollection: str
    qdrantVectorDimension: int | None = None
    """Not used: the embeddings know."""
    contentPayloadKey: str = "content"
    metadataPayloadKey: str = "metadata"
    qdrantSimilarity: qdrant.Distance = "Cosine"
    qdrantCollectionConfiguration: dict[str, Any] = {}
    qdrantFilter: Templated = {}

    async def _store(self, ctx: Context) -> ServedStore:
        key = (await secrets(ctx, self.credential)).get("qdrantApiKey", "").strip()
        shape = qdrant.Shape(
            content=self.contentPayloadKey,
            metadata=self.metadataPayloadKey,
            distance=self.qdrantSimilarity,
            configuration=self.qdrantCollectionConfiguration,
        )
        return qdrant.QdrantStore(
            qdrant.server(_address(self.qdrantServerUrl, "Qdrant"), key),
            self.qdrantCollection,
            shape,
            key,
            **self._how(self.qdrantFilter),
        )


class Chroma(ServedNode, frozen=True, kw_only=True, tag="chroma"):
    """A collection of a Chroma server, version 0.6 or newer."""

    label = "Chroma"
    way = "HTTP"
    filters = '`{"source": {"$eq": "a.txt"}}`'

    collectionName: str
    chromaURL: str = "http://localhost:8000"
    chromaMetadataFilter: Templated = {}

    async def _store(self, ctx: Context) -> ServedStore:
        given = await secrets(ctx, self.credential)
        key = given.get("chromaApiKey", "").strip()
        headers = {"x-chroma-token": key, "Authorization": f"Bearer {key}"} if key else {}
        return chroma.ChromaStore(
            Site(ctx.http, _address(self.chromaURL, "Chroma"), headers, key, "Chroma"),
            given.get("chromaTenant") or "default_tenant",
            given.get("chromaDatabase") or "default_database",
            self.collectionName,
            **self._how(self.chromaMetadataFilter),
        )


class Elasticsearch(ServedNode, frozen=True, kw_only=True, tag="elasticsearch"):
    """An index of Elasticsearch. The credential holds its address, or a cloud id."""

    label = "Elasticsearch"
    way = "HTTP"
    filters = '`{"term": {"metadata.source.keyword": "a.txt"}}`'

    indexName: str
    similarity: elasticsearch.Similarity = "l2_norm"

    async def _store(self, ctx: Context) -> ServedStore:
        given = {name: value.strip() for name, value in (await secrets(ctx, self.credential)).items()}
        key, password = given.get("apiKey", ""), given.get("password", "")
        cloud = given.get("cloudId", "")
        address = given.get("endpoint") or (cloud if "://" in cloud else cloud and elasticsearch.cloud_address(cloud))
        headers = {"Authorization": f"ApiKey {key}"} if key else {}
        if password:
            pair = b64encode(f"{given.get('username', '')}:{password}".encode()).decode()
            headers = {"Authorization": f"Basic {pair}"}
        site = Site(ctx.http, _address(address, "Elasticsearch"), headers, key or password, "Elasticsearch")
        return elasticsearch.ElasticsearchStore(site, self.indexName, self.similarity, **self._how({}))


class Weaviate(_Spread, frozen=True, kw_only=True, tag="weaviate"):
    """A class of Weaviate. Everything goes over HTTP: what a flow says of gRPC is not used."""

    label = "Weaviate"
    way = "HTTP"
    filters = '`{"path": ["source"], "operator": "Equal", "valueText": "a.txt"}`'

    weaviateConnectionType: Literal["cloud", "local", "custom"] = "cloud"
    weaviateHost: str
    weaviateHttpSecure: bool = True
    weaviateGrpcHost: str = ""
    weaviateGrpcSecure: bool = True
    weaviateIndex: str
    weaviateTextKey: str = "text"
    weaviateMetadataKeys: str = ""
    """Not used: passages come with all of their metadata."""
    weaviateFilter: Templated = {}
    alpha: float | None = None
    """Not used: words are searched in the embedded store only."""

    async def _store(self, ctx: Context) -> ServedStore:
        key = (await secrets(ctx, self.credential)).get("weaviateApiKey", "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return weaviate.WeaviateStore(
            Site(ctx.http, self._base, headers, key, "Weaviate"),
            self.weaviateIndex,
            self.weaviateTextKey,
            **self._how(self.weaviateFilter),
        )

    @property
    def _base(self) -> str:
        """The address; a host alone gets the scheme, and on this machine the port, that its kind of server has."""
        host = self.weaviateHost.strip()
        if "://" in host or not host:
            return _address(host, "Weaviate")
        if self.weaviateConnectionType == "local":
            return f"http://{host}" if ":" in host else f"http://{host}:8080"
        secure = self.weaviateConnectionType == "cloud" or self.weaviateHttpSecure
        return f"{'https' if secure else 'http'}://{host.rstrip('/')}"


class Redis(ServedNode, frozen=True, kw_only=True, tag="redis"):
    """An index of Redis Stack, or of Redis from version 8 on. Without a credential, the one of this machine."""

    label = "Redis"
    way = "redis-py, extra `redis`"
    filters = "none"

    indexName: str
    replaceIndex: bool = False
    """An upsert deletes the index with its passages first."""
    contentKey: str = "content"
    metadataKey: str = "metadata"
    vectorKey: str = "content_vector"

    async def _store(self, ctx: Context) -> redis.RedisStore:
        given = await secrets(ctx, self.credential)
        fields = redis.Fields(self.contentKey, self.metadataKey, self.vectorKey)
        return redis.RedisStore(redis_address(given), redis_account(given), self.indexName, fields, **self._how({}))

    async def upsert(self, ctx: Context, progress: UpsertProgress) -> Upserted:
        """As the others do, into an empty index if the flow says so."""
        if self.replaceIndex:
            await (await self._store(ctx)).drop()
        return await ServedNode.upsert(self, ctx, progress)


class Milvus(ServedNode, frozen=True, kw_only=True, tag="milvus"):
    """A collection of Milvus or Zilliz Cloud. Certificates are files in the folder `files` of the data folder."""

    label = "Milvus"
    way = "pymilvus, extra `milvus`"
    filters = '`source == "a.txt"`'

    milvusServerUrl: str
    milvusCollection: str
    milvusPartition: str = "_default"
    """Another one is made by an upsert, and searched alone; `_default` searches the whole collection."""
    milvusTextField: str = "langchain_text"
    milvusFilter: Query = ""
    secure: bool = False
    serverName: str = ""
    caPemPath: str = ""
    clientPemPath: str = ""
    clientKeyPath: str = ""

    async def _store(self, ctx: Context) -> ServedStore:
        given = {name: value.strip() for name, value in (await secrets(ctx, self.credential)).items()}
        url = self.milvusServerUrl.strip()
        if _HOST_AND_PORT.fullmatch(url):
            url = f"http://{url}"
        place = milvus_server.Place(
            url=_address(url, "Milvus"),
            user=given.get("milvusUser", ""),
            password=given.get("milvusPassword", ""),
            secure=self.secure or url.startswith("https://"),
            server_name=self.serverName,
            authority=await _file(ctx, self.caPemPath),
            certificate=await _file(ctx, self.clientPemPath),
            key=await _file(ctx, self.clientKeyPath),
        )
        return milvus.MilvusStore(
            place,
            self.milvusCollection,
            self.milvusPartition,
            self.milvusTextField,
            self.milvusFilter,
            **self._how({}),
        )


async def _file(ctx: Context, name: str) -> str:
    """The path of a file of this server that flows may read; "" for no name. Raises FlowError when there is none."""
    if not name:
        return ""
    path = within(library(ctx).files, name)
    if not await asyncio.to_thread(path.is_file):
        raise FlowError(f"there is no file {name!r} among the files of this server: put it into its folder 'files'")
    return str(path)


def _address(url: str, label: str) -> str:
    """A server's address. Raises FlowError: some clients take a path for a folder to keep data in."""
    if not url.startswith(("http://", "https://")):
        raise FlowError(f"the {label} node needs an address that begins with http:// or https://, not {url!r}")
    return url.rstrip("/")


NODES = (Pinecone, Postgres, Qdrant, Chroma, Elasticsearch, Weaviate, Redis, Milvus)
