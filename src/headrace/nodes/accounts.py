"""Whose key goes where: a node's address and key, from the flow, its credential and the server's environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from headrace.engine.node import Context
from headrace.errors import FlowError
from headrace.nodes.providers import Provider


class Account(NamedTuple):
    """The address of an account's API and its key; "" for none."""

    base: str
    key: str


async def account(ctx: Context, provider: Provider, *, base: str = "", key: str = "", credential: str = "") -> Account:
    """The account that a node uses. `base`, `key` and `credential` are what the flow says.

    Raises FlowError when the provider itself is asked without a key.
    """
    default = ctx.environ.get(provider.base_environ) or provider.base
    address = (base or default).rstrip("/")
    if not key:
        fields = await secrets(ctx, credential)
        own = provider.own_key(ctx.environ) if _is_own(base, default) else ""
        key = fields.get(provider.field, "").strip() if credential else own  # pasted with its line break
    if not address:
        raise FlowError(f"the {provider.label} node needs the address of its server: set its base path")
    if not key and not provider.keyless and address == provider.base:
        ways = [f"connect a credential to the {provider.label} node", f"set {provider.environ}"]
        if provider.protocol != "Lookup":
            ways.append("put the address of a server of your own into its base path")
        raise FlowError(f"{provider.label} needs a key: {', '.join(ways[:-1])}, or {ways[-1]}")
    return Account(address, key)


async def secrets(ctx: Context, credential: str) -> Mapping[str, str]:
    """The fields of a credential; none when the flow names no credential."""
    return await ctx.secrets(credential) if credential else {}


def _is_own(base: str, default: str) -> bool:
    """True when the server's own key may go there: to its operator's address or to one on this machine.

    An imported flow must not be able to send it to an address of its own choice.
    """
    return base in ("", default) or is_loopback(base)


def is_loopback(url: str) -> bool:
    """True for an address on this machine."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def words(text: str) -> list[str] | None:
    """The words of a list with commas, as stop sequences are written; None for an empty one."""
    return [word.strip() for word in text.split(",") if word.strip()] or None
