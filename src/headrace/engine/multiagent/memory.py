"""The memory of a multi-agent flow's session: the whole conversation of its agents, and their state."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from headrace.engine.chat import ModelMessage
from headrace.engine.node import Context

_NAME: Final = "agent memory"


class Remembered(msgspec.Struct, frozen=True):
    """Everything that a session's next run goes on from."""

    messages: list[ModelMessage] = []
    state: dict[str, Any] = {}


class AgentMemory(Protocol):
    """Keeps what the agents of a session have said to each other."""

    async def recall(self) -> Remembered:
        """The session so far."""
        ...

    async def keep(self, session: Remembered) -> None:
        """Keeps it for the next run."""
        ...


class NotedMemory:
    """Implements AgentMemory with the session's notes in this server's database."""

    def __init__(self, ctx: Context) -> None:
        self._notes = ctx.notes

    async def recall(self) -> Remembered:
        """See AgentMemory."""
        text = await self._notes.get(_NAME)
        return msgspec.json.decode(text, type=Remembered) if text else Remembered()

    async def keep(self, session: Remembered) -> None:
        """See AgentMemory. Raises FlowNotFound when the flow was deleted meanwhile."""
        await self._notes.put(_NAME, msgspec.json.encode(session).decode())
