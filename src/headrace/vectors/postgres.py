"""PostgreSQL with pgvector, through asyncpg (the extra `postgres`), in tables as Flowise makes them."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

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
from headrace.vectors.served import Hit, Near, Point, ServedStore

if TYPE_CHECKING:
    import asyncpg

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

Distance: TypeAlias = Literal["cosine", "euclidean", "innerProduct"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}")
_OPERATORS: Final[dict[Distance, str]] = {"cosine": "<=>", "euclidean": "<->", "innerProduct": "<#>"}
_PATIENCE: Final = 60.0  # seconds for a statement
_CONNECT: Final = 10.0  # seconds
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Place(msgspec.Struct, frozen=True):
    """A database and who asks it."""

    host: str
    port: int
    database: str
    user: str
    password: str
    ssl: bool = False


class PostgresStore(ServedStore):
    """A table; adding makes it. Each step opens a connection: nothing tells a flow's nodes when to close one."""

    def __init__(self, place: Place, table: str, column: str, distance: Distance, **how: Any) -> None:
        """Raises FlowError for names that are none."""
        super().__init__(f"the PostgreSQL table {table!r}", **how)
        self._place = place
        self._distance: Distance = distance
        self._table, self._column = _quoted(table), _quoted(column)

    async def _known(self, ids: Sequence[str]) -> set[str]:
        wanted = [one for one in ids if _UUID.fullmatch(one)]
        async with self._connected() as connection:
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
        async with self._connected() as connection:
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
        async with self._connected() as connection:
            rows = await connection.fetch(
                f"SELECT id, {self._column} AS text, metadata::text AS metadata, "
                f"embedding {_OPERATORS[self._distance]} $1::text::vector AS distance{vector} "
                f"FROM {self._table} WHERE metadata @> $2::text::jsonb ORDER BY distance LIMIT $3",
                _text(wanted.vector),
                msgspec.json.encode(wanted.filter).decode(),
                wanted.k,
            )
        return [self._hit(row) for row in rows]

    def _hit(self, row: asyncpg.Record) -> Hit:
        document = Document(row["text"] or "", msgspec.json.decode(row["metadata"] or "{}"), str(row["id"]))
        vector = msgspec.json.decode(row["vector"], type=list[float]) if "vector" in row else ()
        return Hit(document, _score(row["distance"], self._distance), vector)

    async def _remove(self, ids: Sequence[str]) -> None:
        async with self._connected() as connection:
            await connection.execute(f"DELETE FROM {self._table} WHERE id = ANY($1::uuid[])", list(ids))

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Connection]:
        asyncpg = _driver()
        place = self._place
        try:
            connection: Connection = await asyncpg.connect(
                host=place.host,
                port=place.port,
                database=place.database,
                user=place.user,
                password=place.password,
                ssl="require" if place.ssl else "prefer",
                timeout=_CONNECT,
                command_timeout=_PATIENCE,
            )
            try:
                yield connection
            finally:
                with suppress(OSError, TimeoutError):  # it has aborted the connection then
                    await connection.close(timeout=1)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise _failure(error, place) from None


def _driver() -> Any:
    try:
        import asyncpg
    except ImportError:
        raise FlowError("the Postgres node needs asyncpg: pip install 'headrace[server,postgres]'") from None
    return asyncpg


def _quoted(name: str) -> str:
    """A name as SQL takes it; a schema may stand before it. Raises FlowError."""
    parts = name.split(".")
    if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts):
        raise FlowError(f"{name!r} is no name for a table or a column: use letters, digits and underscores")
    return ".".join(f'"{part}"' for part in parts)


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


def _failure(error: Exception, place: Place) -> ProviderError:
    """What the driver's error means. The server's own words hold no password."""
    where = f"PostgreSQL at {place.host}:{place.port}"
    if isinstance(error, TimeoutError):
        return ProviderTimeout(f"{where} did not answer in time")
    if isinstance(error, OSError):
        return ProviderUnavailable(f"cannot reach {where}: {error.strerror or 'connection refused'}")
    state, said = str(getattr(error, "sqlstate", "") or ""), f"{where} answered: {str(error).splitlines()[0]}"
    match state[:2]:
        case "28":
            return ProviderUnauthorized(said)
        case "3D" | "3F":
            return ProviderNotFound(said)
        case "08" | "53" | "57":
            return ProviderUnavailable(said)
        case _:
            return ProviderNotFound(said) if state == "42P01" else ProviderRefused(said)
