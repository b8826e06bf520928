"""PostgreSQL with pgvector, through asyncpg (the extra `postgres`), in tables as Flowise makes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from headrace.events import Document
from headrace.vectors.postgres_server import Place, connected, quoted
from headrace.vectors.served import Hit, Near, Point, ServedStore

if TYPE_CHECKING:
    import asyncpg

    from headrace.vectors.postgres_server import Connection

Distance: TypeAlias = Literal["cosine", "euclidean", "innerProduct"]

_OPERATORS: Final[dict[Distance, str]] = {"cosine": "<=>", "euclidean": "<->", "innerProduct": "<#>"}
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class PostgresStore(ServedStore):
    """A table; adding makes it. Each step opens a connection: nothing tells a flow's nodes when to close one."""

    def __init__(self, place: Place, table: str, column: str, distance: Distance, **how: Any) -> None:
        """Raises FlowError for names that are none."""
        super().__init__(f"the PostgreSQL table {table!r}", **how)
        self._place = place
        self._distance: Distance = distance
        self._table, self._column = quoted(table), quoted(column)

    async def _known(self, ids: Sequence[str]) -> set[str]:
        wanted = [one for one in ids if _UUID.fullmatch(one)]
        async with connected(self._place) as connection:
            if await connection.fetchval("SELECT to_regclass($1)", self._table) is None:
                return set()
            rows = await connection.fetch(f"SELECT id FROM {self._table} WHERE id = ANY($1::uuid[])", wanted)
        return {str(row["id"]) for row in rows}

    async def _put(self, points: Sequence[Point]) -> None:
        rows = [
            (
                point.id,
                point.document.pageContent.replace("\0", ""),
                msgspec.json.encode(point.document.metadata).decode().replace("\\u0000", ""),
                _text(point.vector),
            )
            for point in points
        ]
        async with connected(self._place) as connection:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", self._table)
                await self._make(connection, len(points[0].vector))
            async with connection.transaction():
                await connection.executemany(
                    f"INSERT INTO {self._table} (id, {self._column}, metadata, embedding) "
                    "VALUES ($1, $2, $3::text::jsonb, $4::text::vector) ON CONFLICT (id) DO NOTHING",
                    rows,
                )

    async def _make(self, connection: Connection, dimensions: int) -> None:
        """Makes extension and table where they are missing; two that do so at once would collide."""
        if await connection.fetchval("SELECT to_regclass($1)", self._table) is not None:
            return
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        await connection.execute(
            f"CREATE TABLE {self._table} (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), {self._column} text, "
            f"metadata jsonb, embedding vector({dimensions}))"
        )

    async def _near(self, wanted: Near) -> list[Hit]:
        vector = ", embedding::text AS vector" if wanted.vectors else ""
        async with connected(self._place) as connection:
            rows = await connection.fetch(
                f"SELECT id, {self._column} AS text, metadata::text AS metadata, "
                f"embedding {_OPERATORS[self._distance]} $1::text::vector AS distance{vector} "
                f"FROM {self._table} WHERE metadata @> ALL($2::text[]::jsonb[]) ORDER BY distance LIMIT $3",
                _text(wanted.vector),
                [msgspec.json.encode(one).decode() for one in wanted.filters],
                wanted.k,
            )
        return [self._hit(row) for row in rows]

    def _hit(self, row: asyncpg.Record) -> Hit:
        document = Document(row["text"] or "", msgspec.json.decode(row["metadata"] or "{}"), str(row["id"]))
        vector = msgspec.json.decode(row["vector"], type=list[float]) if "vector" in row else ()
        return Hit(document, _score(row["distance"], self._distance), vector)

    async def _remove(self, ids: Sequence[str]) -> None:
        async with connected(self._place) as connection:
            await connection.execute(f"DELETE FROM {self._table} WHERE id = ANY($1::uuid[])", list(ids))


def _text(vector: Sequence[float]) -> str:
    return msgspec.json.encode(list(vector)).decode()


def _score(distance: float, by: Distance) -> float:
    """The cosine; for the other two of vectors of length 1."""
    match by:
        case "cosine":
            return 1 - distance
        case "euclidean":
            return 1 - distance * distance / 2
        case "innerProduct":
            return -distance
