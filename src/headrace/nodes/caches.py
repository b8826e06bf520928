"""Caches of models' answers: the same request to the same model gets the same text again, without a call.

Those of embeddings pass on what is connected to them, since vectors are kept in any case.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from hashlib import sha256
from typing import Annotated, Any, Final

import msgspec

from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.chat import ChatRequest, Delta, FinishDelta, TextDelta, ToolCallDelta
from headrace.engine.model_events import PIECES
from headrace.engine.node import Context, Node
from headrace.engine.ports import Cache, ChatModel, Embeddings, Images

_MOST: Final = 1000  # answers that one cache node keeps


class CachedChat:
    """A chat model that asks its cache first. An answer that calls tools or is cut short is not kept."""

    images: Images

    def __init__(self, model: ChatModel, cache: Cache, identity: str) -> None:
        self.images = model.images
        self._model, self._cache, self._identity = model, cache, identity

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel."""
        key = sha256(self._identity.encode() + msgspec.json.encode(request)).hexdigest()
        if (kept := await self._cache.get(key)) is not None:
            yield [*map(TextDelta, PIECES.findall(kept) or [""]), FinishDelta("stop")]
            return
        said: list[Delta] = []
        async with aclosing(self._model.stream(request)) as batches:
            async for deltas in batches:
                said += deltas
                yield deltas
        whole = FinishDelta("stop") in said and not any(isinstance(delta, ToolCallDelta) for delta in said)
        if whole:
            await self._cache.put(key, "".join(delta.text for delta in said if isinstance(delta, TextDelta)))


def cached(cache: Cache | None, model: ChatModel, url: str, options: Mapping[str, Any]) -> ChatModel:
    """The model behind its cache, if the flow has connected one."""
    return CachedChat(model, cache, url + msgspec.json.encode(options).decode()) if cache else model


class MemoryCache:
    """Implements `headrace.engine.ports.Cache` in this process; the answers not used for longest go first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, str] = OrderedDict()

    async def get(self, key: str) -> str | None:
        """See Cache."""
        if key in self._answers:
            self._answers.move_to_end(key)
        return self._answers.get(key)

    async def put(self, key: str, answer: str) -> None:
        """See Cache."""
        self._answers[key] = answer
        if len(self._answers) > _MOST:
            self._answers.popitem(last=False)


class InMemoryCache(Node, frozen=True, kw_only=True, tag="inMemoryCache"):
    """Keeps answers in the server's memory until it stops; each flow has its own."""

    info = NodeInfo(label="InMemory Cache")

    async def build(self, ctx: Context) -> Cache:
        """The flow's cache."""
        return ctx.kept.setdefault("inMemoryCache", MemoryCache())


class EmbeddingCache(Node, frozen=True, kw_only=True, tag="inMemoryEmbeddingCache"):
    """The embeddings that are connected: their vectors are kept in the data folder anyway, and made once."""

    info = NodeInfo(label="InMemory Embedding Cache", category="Cache", bases=("Embeddings",))

    embeddings: Embeddings
    namespace: Annotated[Additional[str], Input(unread="vectors are kept by model and text")] = ""

    async def build(self, ctx: Context) -> Embeddings:
        """The embeddings."""
        return self.embeddings


class RedisEmbeddingCache(EmbeddingCache, frozen=True, kw_only=True, tag="redisEmbeddingsCache"):
    """The same for flows that keep the vectors in Redis, which is not asked here."""

    info = NodeInfo(
        label="Redis Embeddings Cache",
        type="RedisEmbeddingsCache",
        credentials=("redisCacheApi", "redisCacheUrlApi"),
        keyless=True,
    )

    credential: Annotated[str, Input(unread="vectors are kept in the data folder")] = ""
    ttl: Annotated[Additional[int], Input(label="Time to Live (ms)", unread="vectors do not get old")] = 3600


NODES = (InMemoryCache, EmbeddingCache, RedisEmbeddingCache)
