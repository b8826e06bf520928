"""Which PostgreSQL a node uses, and as whom: from the flow, its credential and the server's environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from headrace.engine.credentials import KINDS
from headrace.engine.node import Context
from headrace.errors import FlowError
from headrace.nodes.accounts import secrets
from headrace.vectors.postgres_server import Place


class Wanted(NamedTuple):
    """The connection that the flow names."""

    host: str
    database: str
    port: int | None
    ssl: bool
    credential: str


def own(ctx: Context, host: str, prefix: str) -> Mapping[str, str]:
    """The server's variables, when the flow names no other host than theirs."""
    return ctx.environ if not host or host == ctx.environ.get(f"{prefix}_HOST") else {}


async def postgres_place(ctx: Context, wanted: Wanted, prefix: str, node: str) -> Place:
    """The database. What the environment holds goes only to its own host. Raises FlowError without one, or a user."""
    given, environ = await secrets(ctx, wanted.credential), own(ctx, wanted.host, prefix)

    def found(value: str, name: str) -> str:
        return value or environ.get(f"{prefix}_{name}", "")

    def secret(name: str) -> str:
        if wanted.credential:
            return given.get(name, "")
        variables = KINDS["PostgresApi"].field(name).variables
        return next((environ.get(one, "") for one in variables if one.startswith(prefix)), "")

    host, database = found(wanted.host, "HOST"), found(wanted.database, "DATABASE")
    user = secret("user")
    if not (host and database and user):
        raise FlowError(
            f"the {node} node needs a host, a database and a credential with a user: set them, or "
            f"{prefix}_HOST, {prefix}_DATABASE and {prefix}_USER"
        )
    port = wanted.port or int(environ.get(f"{prefix}_PORT") or 5432)
    ssl = wanted.ssl or environ.get(f"{prefix}_SSL") == "true"
    return Place(host, port, database, user, secret("password"), ssl)
