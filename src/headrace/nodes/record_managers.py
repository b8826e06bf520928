"""Record managers: what an upsert does with passages that are no longer brought.

The embedded store keeps its own records beside the passages, so there only the cleanup and the key of sources count.
"""

from __future__ import annotations

from typing import Annotated, Any

from headrace.engine.annotations import Additional, Input, NodeInfo, Package
from headrace.engine.node import Context, Node
from headrace.nodes.postgres_accounts import Wanted, postgres_place
from headrace.retrieval.embedded.collection import Cleanup
from headrace.retrieval.library import library
from headrace.retrieval.records import Records
from headrace.vectors.records import PostgresRecords

_TABLE = "upsertion_records"
_PREFIX = "POSTGRES_RECORDMANAGER"


class RecordManager(Node, frozen=True, kw_only=True):
    """Cleanup `none` keeps old passages, `incremental` deletes those of sources that come again, `full` all."""

    cleanup: Additional[Cleanup] = "none"
    sourceIdKey: Additional[str] = "source"
    """The key of the metadata that names a passage's source."""
    tableName: Additional[str] = ""
    namespace: Additional[str] = ""
    """Record managers with the same table and namespace share their records; without one each node has its own."""

    async def records(self, ctx: Context, node: str) -> Records:
        """The records for a vector store node of another server, by its id."""
        return library(ctx).records(self.tableName or _TABLE, self._name(ctx, node))

    def _name(self, ctx: Context, node: str) -> str:
        return self.namespace or f"{ctx.flow}/{node}"


class SQLiteRecordManager(RecordManager, frozen=True, kw_only=True, tag="SQLiteRecordManager"):
    """Records in the data folder's database."""

    info = NodeInfo(version=1.1, category="Record Manager", type="SQLite RecordManager")

    additionalConfig: Additional[dict[str, Any]] = {}


class MemoryRecordManager(SQLiteRecordManager, frozen=True, kw_only=True, tag="memoryRecordManager"):
    """The same; nothing is lost with a restart."""


class PostgresRecordManager(RecordManager, frozen=True, kw_only=True, tag="postgresRecordManager"):
    """Records in PostgreSQL, in a table as Flowise makes it."""

    info = NodeInfo(
        category="Record Manager",
        type="Postgres RecordManager",
        credentials=("PostgresApi",),
        packages=(Package("asyncpg", "postgres"),),
    )

    credential: str = ""
    host: str = ""
    """`POSTGRES_RECORDMANAGER_HOST`, when it is not set; then database, port, user and password come from there too."""
    database: str = ""
    port: int | None = None
    ssl: Additional[bool] = False
    additionalConfig: Annotated[
        dict[str, Any],
        Input(additionalParams=True, unread="this server takes host, database, port and ssl only: set those"),
    ] = {}

    async def records(self, ctx: Context, node: str) -> Records:
        """The records. Raises FlowError without host, database or user."""
        wanted = Wanted(self.host, self.database, self.port, self.ssl, self.credential)
        place = await postgres_place(ctx, wanted, _PREFIX, "Postgres Record Manager")
        table = self.tableName or ctx.environ.get(f"{_PREFIX}_TABLE_NAME") or _TABLE
        return PostgresRecords(place, table, self._name(ctx, node))


NODES = (MemoryRecordManager, SQLiteRecordManager, PostgresRecordManager)
