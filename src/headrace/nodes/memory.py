"""Memory: the stored turns of a session, given to chains and agents."""

from __future__ import annotations

from headrace.engine.chat import ModelMessage
from headrace.engine.chatflow import remembered
from headrace.engine.node import Context, Node


class StoredTurns:
    """The turns that came with the request, then the newest `limit` stored messages (None: all of them)."""

    def __init__(self, ctx: Context, limit: int | None = None) -> None:
        self._ctx, self._limit = ctx, limit

    async def messages(self) -> list[ModelMessage]:
        """Earlier turns, oldest first."""
        rows = list(await self._ctx.history()) if self._limit != 0 else []
        kept = rows if self._limit is None else rows[-self._limit :]
        return [*self._ctx.prior, *remembered(kept)]


class BufferMemory(Node, frozen=True, kw_only=True, tag="bufferMemory"):
    """Remembers the whole session."""

    sessionId: str = ""
    memoryKey: str = "chat_history"

    async def build(self, ctx: Context) -> StoredTurns:
        """All turns of the run's session."""
        return StoredTurns(ctx)


class BufferWindowMemory(Node, frozen=True, kw_only=True, tag="bufferWindowMemory"):
    """Remembers the last `k` turns of the session, a turn being a question and its answer."""

    k: int = 4
    sessionId: str = ""
    memoryKey: str = "chat_history"

    async def build(self, ctx: Context) -> StoredTurns:
        """The newest turns of the run's session."""
        return StoredTurns(ctx, max(self.k, 0) * 2)


NODES = (BufferMemory, BufferWindowMemory)
