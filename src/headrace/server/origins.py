"""Web origins, read from however people write them and compared as origins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """A site. Without a scheme it stands for the site over any."""

    scheme: str
    host: str
    port: int | None
    """None is the scheme's default."""


def read_origin(text: str) -> Origin | None:
    """Reads a site such as `https://x.example`, also with quotes, capitals, the default port, a path or no scheme.

    None when it names no site.
    """
    text = text.strip(" \t\r\n\"'")
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    usual = (_DEFAULT_PORTS.get(parts.scheme),) if parts.scheme else _DEFAULT_PORTS.values()
    return Origin(parts.scheme, _ascii(host).rstrip("."), None if port in usual else port)


def _ascii(host: str) -> str:
    """A host's name as browsers send it."""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


class Sites:
    """Sites that may do something."""

    def __init__(self, written: Iterable[str], *, any_scheme: bool = False) -> None:
        entries = [text.strip(" \t\r\n\"'") for text in written]
        self.all = "*" in entries
        """Every site may."""
        self._origins = frozenset(filter(None, map(read_origin, entries)))
        self._hosts = frozenset((site.host, site.port) for site in self._origins if any_scheme or not site.scheme)

    def allow(self, origin: str) -> bool:
        """True when the site of an `Origin` header is one of them."""
        if self.all:
            return True
        site = read_origin(origin)
        return site is not None and (site in self._origins or (site.host, site.port) in self._hosts)
