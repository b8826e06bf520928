"""Record managers: what an upsert does with passages that are no longer brought.

The embedded store keeps its own records beside the passages, so no other database is asked.
"""

from __future__ import annotations

from typing import Any

from headrace.engine.node import Node
from headrace.retrieval.upsert import Cleanup


class RecordManager(Node, frozen=True, kw_only=True):
    """Cleanup `none` keeps old passages, `incremental` deletes those of sources that come again, `full` all."""

    cleanup: Cleanup = "none"
    sourceIdKey: str = "source"
    """The key of the metadata that names a passage's source."""


class SQLiteRecordManager(RecordManager, frozen=True, kw_only=True, tag="SQLiteRecordManager"):
    """Records in the data folder's database: its table and namespace are the collection's own."""

    additionalConfig: dict[str, Any] = {}
    tableName: str = ""
    namespace: str = ""


class MemoryRecordManager(SQLiteRecordManager, frozen=True, kw_only=True, tag="memoryRecordManager"):
    """The same; nothing is lost with a restart."""


class PostgresRecordManager(SQLiteRecordManager, frozen=True, kw_only=True, tag="postgresRecordManager"):
    """The same: beside the embedded store no PostgreSQL is needed, and none is asked."""

    credential: str = ""
    host: str = ""
    database: str = ""
    port: int | None = None
    ssl: bool = False


NODES = (MemoryRecordManager, SQLiteRecordManager, PostgresRecordManager)
