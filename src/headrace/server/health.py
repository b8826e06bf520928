"""Signs of life for what watches over the process: a load balancer, an orchestrator, a service manager."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from litestar import MediaType, Request, get
from sqlalchemy import Connection, literal, select

from headrace import __version__
from headrace.errors import Interrupted, StorageError
from headrace.server.auth import local

PROBES: Final = frozenset({"/healthz", "/readyz"})
"""Paths that are asked every few seconds: the access log has a line of theirs only when the answer is no."""
_PATIENCE: Final = 2.0  # seconds in which each of the database's threads must answer


@get("/api/v1/ping", media_type=MediaType.TEXT, summary="Is the server there?", tags=["server"])
async def ping() -> str:
    """Says pong."""
    return "pong"


@get("/api/v1/version", summary="The server's version", tags=["server"])
async def version() -> dict[str, str]:
    """Headrace's version."""
    return {"version": __version__}


@get("/healthz", media_type=MediaType.TEXT, summary="Is the process alive?", tags=["server"])
async def alive() -> str:
    """Says ok as long as the process answers at all. It looks at nothing else: a restart mends no database."""
    return "ok"


@get("/readyz", media_type=MediaType.TEXT, summary="Does the process take predictions?", tags=["server"])
async def ready(request: Request[Any, Any, Any]) -> str:
    """Says ok when the process takes new runs and its database can be read and written. Raises Interrupted while the
    process stops, StorageError when the database does not answer in time."""
    here = local(request)
    if here.stopping:
        raise Interrupted("the server is stopping")
    database = here.storage.database
    try:
        async with asyncio.timeout(_PATIENCE):
            await asyncio.gather(database.read(_answer), database.write(_answer))
    except TimeoutError:
        raise StorageError(f"the database has not answered for {_PATIENCE:g} s") from None
    return "ok"


def _answer(connection: Connection) -> None:
    connection.execute(select(literal(1)))


ROUTES = (ping, version, alive, ready)
