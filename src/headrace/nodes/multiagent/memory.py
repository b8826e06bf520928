"""Agent memories. Whatever database a flow names, the session is kept in this server's own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.multiagent.memory import AgentMemory, NotedMemory
from headrace.engine.node import Context, Node

_ELSEWHERE = "sessions of agents are kept in this server's own database"


class _Memory(Node, frozen=True, kw_only=True):
    info = NodeInfo(category="Memory", bases=("BaseCheckpointSaver",), type="AgentMemory", keyless=True)

    additionalConfig: Annotated[Additional[Any], Input(type="json", unread=_ELSEWHERE)] = None

    async def build(self, ctx: Context) -> AgentMemory:
        """The memory of the run's session."""
        return NotedMemory(ctx)


class SQLiteAgentMemory(_Memory, frozen=True, kw_only=True, tag="sqliteAgentMemory"):
    """Remembers a session's agents: all that they have said, and their state."""

    info = NodeInfo(label="SQLite Agent Memory", type="SQLiteAgentMemory")


class _ServedMemory(_Memory, frozen=True, kw_only=True):
    credential: Annotated[str, Input(unread=_ELSEWHERE)] = ""
    host: Annotated[str, Input(unread=_ELSEWHERE)] = ""
    database: Annotated[str, Input(unread=_ELSEWHERE)] = ""
    port: Annotated[int | None, Input(unread=_ELSEWHERE)] = None


class PostgresAgentMemory(_ServedMemory, frozen=True, kw_only=True, tag="postgresAgentMemory"):
    """The same for flows that name a PostgreSQL database."""

    info = NodeInfo(credentials=("PostgresApi",))

    port: Annotated[int | None, Input(unread=_ELSEWHERE)] = 5432


class MySQLAgentMemory(_ServedMemory, frozen=True, kw_only=True, tag="mySQLAgentMemory"):
    """The same for flows that name a MySQL database."""

    info = NodeInfo(label="MySQL Agent Memory", credentials=("MySQLApi",))

    port: Annotated[int | None, Input(unread=_ELSEWHERE)] = 3306


class AnyAgentMemory(_ServedMemory, frozen=True, kw_only=True, tag="agentMemory"):
    """The older node for all of these."""

    info = NodeInfo(label="Agent Memory", version=2, credentials=("PostgresApi", "MySQLApi"))

    databaseType: Literal["sqlite", "postgres", "mysql"] = "sqlite"
    databaseFilePath: Annotated[Additional[str], Input(unread=_ELSEWHERE)] = ""


NODES = (AnyAgentMemory, SQLiteAgentMemory, PostgresAgentMemory, MySQLAgentMemory)
