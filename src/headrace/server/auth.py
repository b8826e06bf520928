"""Access control: API keys on the administration, on flows that are bound to one, and web origins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from headrace.errors import Forbidden, InvalidRequest, OriginRefused, Unauthorized
from headrace.runtime.flows import ChatbotConfig, Flow
from headrace.runtime.local import Local
from headrace.schema import ApiKey
from headrace.server.origins import Sites
from headrace.storage.storage import ADMIN

PERMISSIONS: Final = {ADMIN}
"""Every permission that an endpoint asks for, and the one that includes all."""
OF_A_FLOW: Final = {"key": "of the flow"}
"""Among an endpoint's options: it asks for the key and for the sites of the flow that it is about, if that has any."""

ANY_KEY: Final = {"asks": "any key"}
"""Among an endpoint's options: it asks for a key, whatever that may do."""


def local(connection: ASGIConnection[Any, Any, Any, Any]) -> Local:
    """The process's store, flows and runs."""
    return connection.app.state.local


class Guard:
    """Lets in keys with one of its permissions. Raises Unauthorized and Forbidden."""

    open_too = False
    """True for a guard that lets some requests in without a key."""

    def __init__(self, *permissions: str) -> None:
        PERMISSIONS.update(permissions)
        self.permissions = permissions

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """Called before the endpoint."""
        await check_permission(connection, *self.permissions)


def needs(*permissions: str) -> Guard:
    """A guard that lets in keys with one of these permissions."""
    return Guard(*permissions)


def guards_of(handler: BaseRouteHandler) -> list[Guard]:
    """The endpoint's guards."""
    return [guard for guard in handler.guards or () if isinstance(guard, Guard)]


async def check_permission(connection: ASGIConnection[Any, Any, Any, Any], *permissions: str) -> None:
    """Lets in keys with one of these permissions. Raises Unauthorized and Forbidden."""
    if not {ADMIN, *permissions} & set((await _held(connection)).permissions):
        raise Forbidden(f"this key does not have the permission {' or '.join(map(repr, permissions))}")


async def may(connection: ASGIConnection[Any, Any, Any, Any], permission: str) -> bool:
    """True when the caller has a key with this permission. Reads nothing for a caller who sends none."""
    if not _token(connection):
        return False
    await local(connection).storage.refresh()
    key = await caller_key(connection)
    return key is not None and not _beyond([permission], key)


async def check_gift(connection: ASGIConnection[Any, Any, Any, Any], permissions: Sequence[str]) -> None:
    """Lets a key give another one these permissions when it has them itself. Raises InvalidRequest, Forbidden."""
    if unknown := [permission for permission in permissions if permission not in PERMISSIONS]:
        known = ", ".join(sorted(PERMISSIONS))
        raise InvalidRequest(f"{unknown[0]!r} at $.permissions is not a permission of this server: use {known}")
    if lacks := _beyond(permissions, await _held(connection)):
        raise Forbidden(f"this key cannot give the permission {lacks[0]!r}, which it does not have itself")


async def check_above(connection: ASGIConnection[Any, Any, Any, Any], *key_ids: str | None) -> None:
    """Lets a key delete, change and bind flows to other keys unless they may do what it may not. Raises Forbidden.

    None and unknown ids pass.
    """
    wanted = {key_id for key_id in key_ids if key_id}
    if not wanted:
        return
    held = await _held(connection)
    for key in await local(connection).storage.keys():
        if key.id in wanted and _beyond(key.permissions, held):
            raise Forbidden(f"the key {key.keyName!r} has permissions that this key does not have")


def _beyond(permissions: Sequence[str], held: ApiKey) -> list[str]:
    """Those of the permissions that a key does not have."""
    every = ADMIN in held.permissions
    return [] if every else [permission for permission in permissions if permission not in held.permissions]


async def _held(connection: ASGIConnection[Any, Any, Any, Any]) -> ApiKey:
    """The caller's key. Raises Unauthorized."""
    await local(connection).storage.refresh()
    key = await caller_key(connection)
    if key is None:
        raise Unauthorized("send an API key of this server as `Authorization: Bearer <key>`")
    return key


async def check_flow_key(connection: ASGIConnection[Any, Any, Any, Any], flow: Flow) -> None:
    """Lets callers of a flow that is bound to a key in only with that key. Raises Unauthorized."""
    if not flow.row.apikeyid:
        return
    key = await caller_key(connection)
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
    """True when a flow may be called from this site; a flow that names no site allows all."""
    allowed = config.allowedOrigins
    # As with the original, a flow's list names hosts: `https://x.example` allows `http://x.example` too.
    return not allowed or not allowed[0] or Sites(allowed, any_scheme=True).allow(origin)


async def caller_key(connection: ASGIConnection[Any, Any, Any, Any]) -> ApiKey | None:
    """The key of this server that the caller has sent; None without one, and for an unknown one."""
    token = _token(connection)
    if not token:
        return None
    here = local(connection)
    key = await here.storage.key(token)
    if key:
        here.key_uses.note(key.id)
    return key


def _token(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The key that the caller has sent, "" without one."""
    return connection.headers.get("authorization", "").rpartition("Bearer ")[2].strip()
