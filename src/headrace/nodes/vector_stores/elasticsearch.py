"""The vector store in Elasticsearch."""

from __future__ import annotations

from base64 import b64encode

from headrace.engine.annotations import Additional, NodeInfo
from headrace.engine.node import Context
from headrace.nodes.accounts import secrets
from headrace.nodes.vector_stores.served import ServedNode, server_address
from headrace.vectors import elasticsearch
from headrace.vectors.served import ServedStore, Site


class Elasticsearch(ServedNode, frozen=True, kw_only=True, tag="elasticsearch"):
    """An index of Elasticsearch. The credential holds its address, or a cloud id."""

    info = NodeInfo(version=2, credentials=("elasticsearchApi", "elasticSearchUserPassword"))

    way = "HTTP"
    filters = '`{"term": {"metadata.source.keyword": "a.txt"}}`'

    indexName: str
    similarity: Additional[elasticsearch.Similarity] = "l2_norm"

    async def _store(self, ctx: Context) -> ServedStore:
        given = {name: value.strip() for name, value in (await secrets(ctx, self.credential)).items()}
        key, password = given.get("apiKey", ""), given.get("password", "")
        cloud = given.get("cloudId", "")
        address = given.get("endpoint") or (cloud if "://" in cloud else cloud and elasticsearch.cloud_address(cloud))
        headers = {"Authorization": f"ApiKey {key}"} if key else {}
        if password:
            pair = b64encode(f"{given.get('username', '')}:{password}".encode()).decode()
            headers = {"Authorization": f"Basic {pair}"}
        site = Site(ctx.http, server_address(address, "Elasticsearch"), headers, key or password, "Elasticsearch")
        return elasticsearch.ElasticsearchStore(site, self.indexName, self.similarity, **self._how({}))


NODES = (Elasticsearch,)
