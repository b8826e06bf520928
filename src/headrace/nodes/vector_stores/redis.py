"""The vector store in Redis."""

from __future__ import annotations

from headrace.engine.annotations import Additional, NodeInfo, Package
from headrace.engine.node import Context
from headrace.engine.ports import Upserted, UpsertProgress
from headrace.nodes.accounts import secrets
from headrace.nodes.redis_memory import redis_account, redis_address
from headrace.nodes.vector_stores.served import ServedNode
from headrace.vectors import redis


class Redis(ServedNode, frozen=True, kw_only=True, tag="redis"):
    """An index of Redis Stack, or of Redis from version 8 on. Without a credential, the one of this machine."""

    info = NodeInfo(credentials=("redisCacheUrlApi", "redisCacheApi"), packages=(Package("redis", "redis"),))

    way = "redis-py, extra `redis`"
    filters = "none"

    indexName: str
    replaceIndex: bool = False
    """An upsert deletes the index with its passages first."""
    contentKey: Additional[str] = "content"
    metadataKey: Additional[str] = "metadata"
    vectorKey: Additional[str] = "content_vector"

    async def _store(self, ctx: Context) -> redis.RedisStore:
        given = await secrets(ctx, self.credential)
        fields = redis.Fields(self.contentKey, self.metadataKey, self.vectorKey)
        return redis.RedisStore(redis_address(given), redis_account(given), self.indexName, fields, **self._how({}))

    async def upsert(self, ctx: Context, progress: UpsertProgress) -> Upserted:
        """As the others do, into an empty index if the flow says so."""
        if self.replaceIndex:
            await (await self._store(ctx)).drop()
        return await ServedNode.upsert(self, ctx, progress)


NODES = (Redis,)
