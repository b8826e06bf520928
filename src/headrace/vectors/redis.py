r"""Redis with its search (Redis Stack, or Redis from version 8 on), through redis-py.

A passage is a hash `doc:<index>:<id>` with its text, its vector, and its metadata as JSON in which `-` is written `\-`:
the form of Flowise, whose indexes are read as they are.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headrace.errors import (
    FlowError,
    ProviderError,
    ProviderNotFound,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnauthorized,
    ProviderUnavailable,
)
from headrace.events import Document
from headrace.installation import remedy
from headrace.retrieval.embedded.vector_bytes import packed, unpacked
from headrace.vectors.served import Hit, Near, Point, ServedStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

_PATIENCE: Final = 30.0  # seconds for one command
_FIELD: Final = re.compile(r"\w+")


class Fields(msgspec.Struct, frozen=True):
    """Names of a hash's fields."""

    content: str = "content"
    metadata: str = "metadata"
    vector: str = "content_vector"


class RedisStore(ServedStore):
    """An index over hashes; adding makes it, measured by the cosine."""

    def __init__(self, url: str, account: Mapping[str, str], index: str, fields: Fields, **how: Any) -> None:
        """Raises FlowError for field names that cannot be."""
        super().__init__(f"the Redis index {index!r}", **how)
        for name in (fields.content, fields.metadata, fields.vector):
            if not _FIELD.fullmatch(name):
                raise FlowError(f"the Redis node cannot use the field name {name!r}: use letters, digits and _")
        self._url, self._account, self._index, self._fields = url, account, index, fields

    async def drop(self) -> None:
        """Deletes the index with all of its passages, if there is one. Raises ProviderError."""
        with suppress(ProviderNotFound):
            async with self._connected() as redis:
                await redis.execute_command("FT.DROPINDEX", self._index, "DD")

    async def _known(self, ids: Sequence[str]) -> set[str]:
        async with self._connected() as redis, redis.pipeline(transaction=False) as commands:
            for one in ids:
                commands.exists(self._key(one))
            found = await commands.execute()
        return {one for one, there in zip(ids, found, strict=True) if there}

    def _key(self, one: str) -> str:
        return f"doc:{self._index}:{one}"

    async def _put(self, points: Sequence[Point]) -> None:
        await self._make(len(points[0].vector))
        async with self._connected() as redis, redis.pipeline(transaction=False) as commands:
            for point in points:
                commands.hset(self._key(point.id), mapping=self._hash(point))
            await commands.execute()

    def _hash(self, point: Point) -> dict[Any, Any]:
        metadata = msgspec.json.encode(point.document.metadata).decode().replace("-", "\\-")
        names = self._fields
        text = point.document.pageContent
        return {names.content: text, names.metadata: metadata, names.vector: packed(point.vector)}

    async def _make(self, dimensions: int) -> None:
        """Makes the index, or looks at the one there: a vector of other dimensions would be left out silently."""
        try:
            async with self._connected() as redis:
                held = _dimensions(await redis.execute_command("FT.INFO", self._index))
        except ProviderNotFound:
            await self._create(dimensions)
            return
        if held not in (None, dimensions):
            raise ProviderRefused(f"the index holds vectors of {held} dimensions")

    async def _create(self, dimensions: int) -> None:
        names = self._fields
        vector = (names.vector, "VECTOR", "HNSW", 6, "TYPE", "FLOAT32", "DIM", dimensions, "DISTANCE_METRIC", "COSINE")
        schema = (*vector, names.content, "TEXT", names.metadata, "TEXT")
        prefix = ("ON", "HASH", "PREFIX", 1, self._key(""))
        try:
            async with self._connected() as redis:
                await redis.execute_command("FT.CREATE", self._index, *prefix, "SCHEMA", *schema)
        except ProviderRefused as error:
            if "already exists" not in str(error):  # somebody else has just made it
                raise

    async def _near(self, wanted: Near) -> list[Hit]:
        if wanted.filters:
            raise FlowError("Redis is searched without a condition on metadata: take the filter away")
        names = self._fields
        returned = (names.content, names.metadata, "distance", *([names.vector] if wanted.vectors else []))
        query = f"*=>[KNN {wanted.k} @{names.vector} $vector AS distance]"
        async with self._connected() as redis:
            found: Any = await redis.execute_command(
                "FT.SEARCH", self._index, query, "PARAMS", 2, "vector", packed(wanted.vector), "SORTBY", "distance",
                "RETURN", len(returned), *returned, "LIMIT", 0, wanted.k, "DIALECT", 2,
            )  # fmt: skip
        return [self._hit(key, values) for key, values in zip(found[1::2], found[2::2], strict=True)]

    def _hit(self, key: bytes, values: Sequence[bytes]) -> Hit:
        names = self._fields
        found = {name.decode(): value for name, value in zip(values[::2], values[1::2], strict=True)}
        metadata = found.get(names.metadata, b"").decode().replace("\\-", "-") or "{}"
        text = found.get(names.content, b"").decode()
        one = key.decode().removeprefix(self._key(""))
        document = Document(text, msgspec.json.decode(metadata, type=dict[str, Any]), one)
        return Hit(document, 1 - float(found["distance"]), unpacked(found.get(names.vector, b"")))

    async def _remove(self, ids: Sequence[str]) -> None:
        async with self._connected() as redis:
            await redis.delete(*map(self._key, ids))

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Redis]:
        """A connection for a few commands. Raises ProviderError for what Redis says, FlowError without the package."""
        try:
            from redis.asyncio import Redis
            from redis.exceptions import RedisError
        except ImportError:
            raise FlowError(f"the Redis node needs a package: {remedy('redis')}") from None
        limits = {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE}
        options: dict[str, Any] = {"protocol": 2, **limits, **self._account}
        try:
            redis = Redis.from_url(self._url, **options)
        except ValueError:  # whose text may hold the password
            raise FlowError("the Redis credential holds no address of the form redis://host:port") from None
        try:
            async with redis:
                yield redis
        except (RedisError, OSError, TimeoutError) as error:
            raise _translated(error) from None


def _translated(error: Exception) -> ProviderError:
    """Converts Redis errors to ours."""
    from redis import exceptions

    match error:
        case exceptions.AuthenticationError() | exceptions.NoPermissionError():
            return ProviderUnauthorized("Redis does not accept the user or the password")
        case exceptions.TimeoutError() | TimeoutError():
            return ProviderTimeout("Redis took too long")
        case exceptions.ResponseError() if "NOAUTH" in str(error):
            return ProviderUnauthorized("Redis asks for a password")
        case exceptions.ResponseError() if re.search(r"(?i)unknown index|no such index|not found", str(error)):
            return ProviderNotFound(f"Redis has no such index: {error}")
        case exceptions.ResponseError() if "unknown command" in str(error):
            return ProviderRefused("this Redis has no search: use Redis Stack, or Redis from version 8 on")
        case exceptions.ResponseError():
            return ProviderRefused(f"Redis did not take it: {error}")
        case _:
            return ProviderUnavailable("cannot reach Redis, or it hung up")


def _dimensions(told: Any) -> int | None:
    """The dimensions of the index's vectors, out of what FT.INFO says in nested lists of names and values."""
    if not isinstance(told, list):
        return None
    for place, item in enumerate(told):
        if isinstance(item, bytes) and item.lower() == b"dim" and place + 1 < len(told):
            return int(told[place + 1])
        if (found := _dimensions(item)) is not None:
            return found
    return None
