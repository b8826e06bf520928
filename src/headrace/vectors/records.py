"""Records of record managers in PostgreSQL, in tables as Flowise makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headrace.retrieval.records import Record
from headrace.vectors.postgres_server import Place, connected, quoted

if TYPE_CHECKING:
    from headrace.vectors.postgres_server import Connection


class PostgresRecords:
    """Implements `headrace.retrieval.records.Records`. The first upsert makes the table."""

    def __init__(self, place: Place, table: str, namespace: str) -> None:
        """Raises FlowError for an invalid table name."""
        self._place, self._table, self._namespace = place, quoted(table), namespace

    async def begin(self) -> float:
        """See Records."""
        async with connected(self._place) as connection:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", self._table)
                await self._make(connection)
            statement = (
                "SELECT greatest(extract(epoch FROM clock_timestamp())::float8, max(updated_at) + 0.001) "
                f"FROM {self._table} WHERE namespace = $1"
            )
            return await connection.fetchval(statement, self._namespace)

    async def _make(self, connection: Connection) -> None:
        """Makes the table where it is missing; those of Flowise may lack a column."""
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self._table} (uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(), "
            "key text NOT NULL, namespace text NOT NULL, updated_at double precision NOT NULL, group_id text, "
            "doc_id text, UNIQUE (key, namespace))"
        )
        known = await connection.fetchval(
            "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'doc_id'", self._table
        )
        if not known:
            await connection.execute(f"ALTER TABLE {self._table} ADD COLUMN doc_id text")

    async def saw(self, moment: float, records: Sequence[Record]) -> None:
        """See Records."""
        statement = (
            f"INSERT INTO {self._table} AS old (key, namespace, updated_at, group_id, doc_id) "
            "SELECT key, $4, $5, source, loader FROM unnest($1::text[], $2::text[], $3::text[]) "
            "AS new (key, source, loader) ON CONFLICT (key, namespace) DO UPDATE SET "
            "updated_at = greatest(old.updated_at, excluded.updated_at), group_id = excluded.group_id, "
            "doc_id = excluded.doc_id"
        )
        columns = [[value.replace("\0", "") for value in column] for column in zip(*records, strict=True)]
        async with connected(self._place) as connection:
            await connection.execute(statement, *(columns or ([], [], [])), self._namespace, moment)

    async def sources(self) -> list[str]:
        """See Records."""
        return await self._texts("SELECT DISTINCT coalesce(group_id, '')")

    async def unseen(self, moment: float, sources: Sequence[str], most: int) -> list[str]:
        """See Records."""
        where = "AND coalesce(group_id, '') = ANY($2::text[]) AND updated_at < $3 LIMIT $4"
        return await self._texts("SELECT key", where, list(sources), moment, most)

    async def of_loaders(self, loaders: Sequence[str], most: int) -> list[str]:
        """See Records."""
        return await self._texts("SELECT key", "AND doc_id = ANY($2::text[]) LIMIT $3", list(loaders), most)

    async def _texts(self, what: str, where: str = "", *values: Any) -> list[str]:
        async with connected(self._place) as connection:
            if await connection.fetchval("SELECT to_regclass($1)", self._table) is None:
                return []
            statement = f"{what} FROM {self._table} WHERE namespace = $1 {where}"
            return [row[0] for row in await connection.fetch(statement, self._namespace, *values)]

    async def forget(self, keys: Sequence[str]) -> None:
        """See Records."""
        statement = f"DELETE FROM {self._table} WHERE namespace = $1 AND key = ANY($2::text[])"
        async with connected(self._place) as connection:
            await connection.execute(statement, self._namespace, list(keys))
