"""Who may do what: API keys on the administration, on flows that are bound to one, and web origins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from headrace.errors import Forbidden, OriginRefused, Unauthorized
from headrace.runtime.flows import ChatbotConfig, Flow
from headrace.runtime.local import Local
from headrace.schema import ApiKey
from headrace.store.store import ADMIN


def local(connection: ASGIConnection[Any, Any, Any, Any]) -> Local:
    """The process's store, flows and runs."""
    return connection.app.state.local


def needs(*permissions: str) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]:
    """A guard that lets in keys with one of these permissions. Raises Unauthorized and Forbidden."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        await check_permission(connection, *permissions)

    return guard


async def check_permission(connection: ASGIConnection[Any, Any, Any, Any], *permissions: str) -> None:
    """Lets in keys with one of these permissions. Raises Unauthorized and Forbidden."""
    local(connection).store.refresh()
    key = await _key(connection)
    if key is None:
        raise Unauthorized("send an API key of this server as `Authorization: Bearer <key>`")
    if not {ADMIN, *permissions} & set(key.permissions):
        raise Forbidden(f"this key does not have the permission {' or '.join(map(repr, permissions))}")


async def check_flow_key(connection: ASGIConnection[Any, Any, Any, Any], flow: Flow) -> None:
    """Lets callers of a flow that is bound to a key in only with that key. Raises Unauthorized."""
    if not flow.row.apikeyid:
        return
    key = await _key(connection)
    if key is None or key.id != flow.row.apikeyid:
        raise Unauthorized("this flow needs its API key: send it as `Authorization: Bearer <key>`")


def check_origin(origin: str | None, config: ChatbotConfig) -> None:
    """Lets web pages in only from the sites that the flow allows. Raises OriginRefused."""
    if origin and not origin_allowed(origin, config):
        raise OriginRefused(config.allowedOriginsError or "this site is not allowed to use this flow")


async def check_caller(connection: ASGIConnection[Any, Any, Any, Any], flow: Flow) -> None:
    """Lets in who may use the flow. Raises OriginRefused, Unauthorized."""
    check_origin(connection.headers.get("origin"), flow.chatbot)
    await check_flow_key(connection, flow)


def origin_allowed(origin: str, config: ChatbotConfig) -> bool:
    """Whether a flow may be called from this site; a flow that names no site allows all."""
    allowed = config.allowedOrigins
    if not allowed or not allowed[0]:
        return True
    host = _host(origin)
    return bool(host) and host in {_host(site) for site in allowed}


def _host(url: str) -> str | None:
    try:
        return urlsplit(url if "//" in url else f"//{url}").netloc.lower()
    except ValueError:
        return None


async def _key(connection: ASGIConnection[Any, Any, Any, Any]) -> ApiKey | None:
    header = connection.headers.get("authorization", "")
    token = header.rpartition("Bearer ")[2].strip()
    return await local(connection).store.key(token) if token else None
