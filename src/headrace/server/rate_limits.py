"""Per-flow rate limits, counted per caller in fixed windows."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, ip_address, ip_network
from time import monotonic
from typing import Any

from litestar.connection import ASGIConnection

from headrace.errors import RateLimited
from headrace.runtime.flows import RateLimit

_TIDY_ABOVE = 10_000  # windows


class RateLimiter:
    """Counts predictions of one process."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}

    def check(self, flow_id: str, caller: str, limit: RateLimit | None) -> None:
        """Counts one prediction. Raises RateLimited with the seconds left in the window."""
        if not limit or not limit.status or not limit.limitMax or not limit.limitDuration:
            return
        now, key = self._clock(), (flow_id, caller)
        ends, count = self._windows.get(key, (0.0, 0))
        if now >= ends:
            self._tidy(now)
            ends, count = now + limit.limitDuration, 0
        if count >= limit.limitMax:
            raise RateLimited(limit.limitMsg or "too many requests: try again later", ends - now)
        self._windows[key] = ends, count + 1

    def _tidy(self, now: float) -> None:
        if len(self._windows) > _TIDY_ABOVE:
            self._windows = {key: window for key, window in self._windows.items() if window[0] > now}


def caller_of(connection: ASGIConnection[Any, Any, Any, Any], trusted: frozenset[str]) -> str:
    """The caller's address; see `caller`."""
    address = connection.client.host if connection.client else ""
    return caller(address, connection.headers.get("x-forwarded-for", ""), trusted)


def caller(address: str, forwarded: str, trusted: frozenset[str]) -> str:
    """The caller's address. X-Forwarded-For counts only as far as trusted proxies wrote it."""
    for hop in reversed(forwarded.split(",")):
        if address not in trusted or not hop.strip():
            break
        address = hop.strip()
    return address


def block_of(address: str) -> str:
    """The block that counts as one address: whoever has an IPv6 address has the 2**64 beside it too."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return address
    return str(found.ipv4_mapped or ip_network((int(found) >> 64 << 64, 64)))
