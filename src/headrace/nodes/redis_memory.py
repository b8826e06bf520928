"""A memory in Redis, in the form that Flowise keeps there: a list for each session, its newest message first."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headrace.engine.annotations import Additional, NodeInfo, Package
from headrace.engine.chat import ModelMessage
from headrace.engine.chatflow import exchanged, remembered
from headrace.engine.node import Context, Node
from headrace.errors import FlowError, StorageError
from headrace.installation import remedy
from headrace.nodes.accounts import secrets
from headrace.schema import MemoryMessage

if TYPE_CHECKING:
    from redis.asyncio import Redis

_PATIENCE: Final = 5.0  # seconds for one command
_MOST: Final = 10_000  # messages that are read without a window


class _Data(msgspec.Struct, omit_defaults=True):
    content: Any = ""
    additional_kwargs: dict[str, Any] = {}


class _Stored(msgspec.Struct):
    """A message as LangChain stores it."""

    type: str
    data: _Data


class RedisTurns:
    """Implements `headrace.engine.ports.Memory`; what is said is added once it is stored on the server too."""

    def __init__(
        self, ctx: Context, fields: Mapping[str, str], seconds: int | None, window: int | None, *, tools: bool = False
    ) -> None:
        self._ctx, self._fields, self._seconds, self._tools = ctx, fields, seconds, tools
        self._most = window * 2 if window else _MOST

    async def messages(self) -> list[ModelMessage]:
        """Earlier turns, oldest first. Raises StorageError, and FlowError when the key holds something else."""
        return [*self._ctx.prior, *remembered(await self._turns())]

    async def exchanges(self) -> list[ModelMessage]:
        """See ToolMemory."""
        return [*self._ctx.prior, *exchanged(await self._turns())] if self._tools else await self.messages()

    async def _turns(self) -> list[MemoryMessage]:
        async with _connected(self._fields) as redis:
            stored = await redis.lrange(self._ctx.session, 0, self._most - 1)
        try:
            return [_turn(msgspec.json.decode(item, type=_Stored)) for item in reversed(stored)]
        except msgspec.MsgspecError:
            raise FlowError(
                f"the Redis key {self._ctx.session!r} holds something else than a conversation: use another session id"
            ) from None

    async def add(self, turns: Sequence[MemoryMessage]) -> None:
        """Adds what was said. Raises StorageError."""
        async with _connected(self._fields) as redis, redis.pipeline(transaction=True) as commands:
            for turn in turns:
                kind = "ai" if turn.role == "apiMessage" else "human"
                data = _Data(turn.content, {"usedTools": turn.tools} if self._tools and turn.tools else {})
                commands.lpush(self._ctx.session, msgspec.json.encode(_Stored(kind, data)))
            if self._seconds:
                commands.expire(self._ctx.session, self._seconds)
            await commands.execute()


def _turn(stored: _Stored) -> MemoryMessage:
    content = stored.data.content
    if isinstance(content, list):  # parts
        content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
    role = "apiMessage" if stored.type == "ai" else "userMessage"
    used = stored.data.additional_kwargs.get("usedTools")
    return MemoryMessage(role, str(content), tools=[each for each in _list(used) if isinstance(each, dict)])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


@asynccontextmanager
async def _connected(fields: Mapping[str, str]) -> AsyncGenerator[Redis]:
    """A connection for a few commands. Raises FlowError without the package, StorageError for what Redis says."""
    try:
        from redis.asyncio import Redis
        from redis.exceptions import RedisError
    except ImportError:
        raise FlowError(f"the Redis memory needs a package: {remedy('redis')}") from None
    options: dict[str, Any] = {
        "socket_timeout": _PATIENCE,
        "socket_connect_timeout": _PATIENCE,
        **redis_account(fields),
    }
    try:
        redis = Redis.from_url(redis_address(fields), **options)
    except ValueError:  # whose text may hold the password
        raise FlowError("the credential of the Redis memory holds no address of the form redis://host:port") from None
    try:
        async with redis:
            yield redis
    except (RedisError, OSError, TimeoutError) as error:
        raise StorageError(f"the Redis of the memory did not take or give this: {type(error).__name__}") from None


def redis_address(fields: Mapping[str, str]) -> str:
    """The URL of the Redis that a credential of either kind names; this machine's when it names none."""
    if url := fields.get("redisUrl", "").strip():
        return url
    scheme = "rediss" if str(fields.get("redisCacheSslEnabled", "")).lower() == "true" else "redis"
    return f"{scheme}://{fields.get('redisCacheHost') or '127.0.0.1'}:{fields.get('redisCachePort') or 6379}"


def redis_account(fields: Mapping[str, str]) -> dict[str, str]:
    """User and password, where they are not in the URL."""
    names = {"username": "redisCacheUser", "password": "redisCachePwd"}
    return {name: fields[field] for name, field in names.items() if not fields.get("redisUrl") and fields.get(field)}


class RedisBackedChatMemory(Node, frozen=True, kw_only=True, tag="RedisBackedChatMemory"):
    """Remembers the session in Redis, where other servers find it; `windowSize` counts questions with answers."""

    info = NodeInfo(
        label="Redis-Backed Chat Memory",
        version=2,
        category="Memory",
        credentials=("redisCacheApi", "redisCacheUrlApi"),
        packages=(Package("redis", "redis"),),
    )

    credential: str = ""
    sessionId: Additional[str] = ""
    sessionTTL: Additional[int | None] = None
    """Seconds after which a silent session is forgotten."""
    memoryKey: Additional[str] = "chat_history"
    windowSize: Additional[int | None] = None
    rememberTools: bool = False
    """Tool agents read again which tools they used and what these gave."""

    async def build(self, ctx: Context) -> RedisTurns:
        """The session's turns. Raises FlowError without a credential."""
        if not self.credential:
            raise FlowError("the Redis memory needs a credential with the address of the Redis: connect one")
        turns = RedisTurns(
            ctx, await secrets(ctx, self.credential), self.sessionTTL, self.windowSize, tools=self.rememberTools
        )
        ctx.listeners.append(turns.add)
        return turns


NODES = (RedisBackedChatMemory,)
