"""The vector store in PostgreSQL."""

from __future__ import annotations

from typing import Final

from headrace.engine.annotations import Additional, NodeInfo, Package
from headrace.engine.node import Context, Templated
from headrace.nodes.postgres_accounts import Wanted, own, postgres_place
from headrace.nodes.vector_stores.served import ServedNode
from headrace.vectors import postgres
from headrace.vectors.served import ServedStore

_POSTGRES: Final = "POSTGRES_VECTORSTORE"


class Postgres(ServedNode, frozen=True, kw_only=True, tag="postgres"):
    """A table of PostgreSQL with pgvector."""

    info = NodeInfo(version=7.1, credentials=("PostgresApi",), packages=(Package("asyncpg", "postgres"),))

    way = "asyncpg, extra `postgres`"
    filters = '`{"source": "a.txt"}`: metadata that contains this'

    host: str = ""
    """`POSTGRES_VECTORSTORE_HOST`, when it is not set; then database, port, user and password come from there too."""
    database: str = ""
    port: int | None = None
    ssl: Additional[bool] = False
    tableName: Additional[str] = ""
    distanceStrategy: Additional[postgres.Distance] = "cosine"
    pgMetadataFilter: Additional[Templated] = {}
    contentColumnName: Additional[str] = "pageContent"

    async def _store(self, ctx: Context) -> ServedStore:
        wanted = Wanted(self.host, self.database, self.port, self.ssl, self.credential)
        environ = own(ctx, self.host, _POSTGRES)
        return postgres.PostgresStore(
            await postgres_place(ctx, wanted, _POSTGRES, "Postgres"),
            self.tableName or environ.get(f"{_POSTGRES}_TABLE_NAME") or "documents",
            self.contentColumnName,
            self.distanceStrategy,
            **self._how(self.pgMetadataFilter),
        )


NODES = (Postgres,)
