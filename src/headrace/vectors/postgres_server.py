"""A way to a PostgreSQL server, through asyncpg (the extra `postgres`), and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

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
from headrace.installation import remedy

if TYPE_CHECKING:
    import asyncpg

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}")
_PATIENCE: Final = 60.0  # seconds for a statement
_CONNECT: Final = 10.0  # seconds


class Place(msgspec.Struct, frozen=True):
    """A database and who asks it."""

    host: str
    port: int
    database: str
    user: str
    password: str
    ssl: bool = False


@asynccontextmanager
async def connected(place: Place) -> AsyncGenerator[Connection]:
    """A connection of its own, since nothing tells a flow's nodes when to close one. Raises ProviderError."""
    asyncpg = _driver()
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
        raise FlowError(f"PostgreSQL needs asyncpg: {remedy('postgres')}") from None
    return asyncpg


def quoted(name: str) -> str:
    """A name as SQL takes it; a schema may stand before it. Raises FlowError."""
    parts = name.split(".")
    if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts):
        raise FlowError(f"{name!r} is no name for a table or a column: use letters, digits and underscores")
    return ".".join(f'"{part}"' for part in parts)


def _failure(error: Exception, place: Place) -> ProviderError:
    """Translates the driver's error. The server's own words hold no password."""
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
