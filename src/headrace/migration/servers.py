"""Flowise's database on a PostgreSQL server, read as it was at one moment."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from headrace.errors import InvalidRequest
from headrace.installation import remedy
from headrace.migration.sources import BATCH, Row, Source, Wanted, checked, plain

if TYPE_CHECKING:
    import asyncpg

_COLUMNS: Final = (
    "SELECT table_name, column_name FROM information_schema.columns "
    "WHERE table_schema = ANY (current_schemas(false)) ORDER BY table_name, ordinal_position"
)


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Source]:
    """A server's rows in a transaction that cannot write. Raises InvalidRequest."""
    scheme = urlsplit(url).scheme
    if scheme in ("postgres", "postgresql"):
        async with _postgres(url) as source:
            yield source
        return
    raise InvalidRequest(f"{scheme}:// is not a database that can be read: use postgresql://, or the file of SQLite")


@asynccontextmanager
async def _postgres(url: str) -> AsyncGenerator[Source]:
    try:
        import asyncpg
    except ModuleNotFoundError:
        raise InvalidRequest(f"PostgreSQL needs a driver: {remedy('postgres')}") from None
    told = f"the database at {urlsplit(url).hostname or 'this machine'}"
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, TimeoutError) as error:
        raise InvalidRequest(f"{told} cannot be opened: {error or 'it does not answer'}") from None
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            columns: dict[str, list[str]] = {}
            for table, column in await connection.fetch(_COLUMNS):
                columns.setdefault(table, []).append(column)
            source = PostgresSource(connection, columns)
            checked(source, told)
            yield source
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise InvalidRequest(f"{told} could not be read on: {error}; run the same command again") from None
    finally:
        await connection.close()


class PostgresSource:
    """Implements `Source`."""

    def __init__(self, connection: asyncpg.Connection[Any], columns: Mapping[str, Sequence[str]]) -> None:
        self._connection, self.columns = connection, columns

    async def count(self, table: str) -> int:
        """See Source."""
        return await self._connection.fetchval(f"SELECT count(*) FROM {_quoted(table)}")

    async def rows(self, wanted: Wanted) -> AsyncIterator[list[Row]]:
        """See Source. Messages of one moment: the question comes before its answer."""
        statement, values = f"SELECT * FROM {_quoted(wanted.table)}", list[str]()
        if wanted.column:
            statement, values = f"{statement} WHERE {_quoted(wanted.column)}::text = $1", [wanted.value]
        if wanted.order in self.columns[wanted.table]:
            then = ["role DESC"] if "role" in self.columns[wanted.table] else []
            statement += f" ORDER BY {', '.join([_quoted(wanted.order), *then, 'id'])}"
        cursor = await self._connection.cursor(statement, *values)
        while found := await cursor.fetch(BATCH):
            yield [{name: plain(value) for name, value in row.items()} for row in found]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
