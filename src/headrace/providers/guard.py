"""Which addresses a flow, a script or a model may make the server call. Pure rules: it looks nothing up."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import yarl

from headrace.errors import FetchRefused, InvalidRequest

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

SETTING = "HEADRACE_ALLOWED_HOSTS"
# https://www.iana.org/assignments/iana-ipv4-special-registry and the same for IPv6, spelled out since what
# `is_global` says differs between versions of Python.
_CLASSES: Sequence[tuple[str, str]] = (
    ("loopback", "127.0.0.0/8 ::1/128"),
    ("unspecified", "0.0.0.0/8 ::/128"),
    ("private", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10"),
    ("link-local", "169.254.0.0/16 fe80::/10"),
    ("shared (carrier)", "100.64.0.0/10"),
    ("benchmark", "198.18.0.0/15 2001:2::/48"),
    ("multicast", "224.0.0.0/4 ff00::/8"),
    ("documentation", "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20"),
    ("reserved", "192.0.0.0/24 192.88.99.0/24 240.0.0.0/4 100::/64 100:0:0:1::/64 2001:10::/28 5f00::/16"),
    ("cloud platform", "168.63.129.16/32"),  # Azure's own services, which every machine there reaches
    ("translated", "64:ff9b:1::/48 2001::/32 ::/96 ::ffff:0:0:0/96"),
)
_REFUSED = [(name, ipaddress.ip_network(text)) for name, texts in _CLASSES for text in texts.split()]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_NAMES = frozenset("localhost localhost.localdomain ip6-localhost ip6-loopback broadcasthost".split())
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
# Ports of protocols that a request could be mistaken for: https://fetch.spec.whatwg.org/#port-blocking
_PORTS = frozenset(
    int(port)
    for port in (
        "0 1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 "
        "117 119 123 135 137 139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 "
        "587 601 636 989 990 993 995 1719 1720 1723 2049 3659 4045 4190 5060 5061 6000 6379 6566 6665 6666 "
        "6667 6668 6669 6679 6697 10080 11211"
    ).split()
)


def refused_class(address: Address) -> str | None:
    """The class of forbidden addresses that this one is in, by its own or an embedded IPv4 address."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return refused_class(inner)
    for name, network in _REFUSED:
        if address in network:
            return name
    return None


class Target(msgspec.Struct, frozen=True):
    """The target of a URL: the URL without user and fragment, its host in lower case, its port."""

    url: yarl.URL
    host: str
    port: int
    address: Address | None = None
    """When the host is an address and no name."""

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: what secrets belong to."""
        return self.url.scheme, self.host, self.port


def target(text: str) -> Target:
    """Reads a URL. Raises FetchRefused for what is no plain http or https address."""
    if len(text) > 16_384 or re.search(r"[\x00-\x20\x7f\\]", text.strip()):
        raise FetchRefused("the address holds blanks, backslashes or control characters, or is too long")
    try:
        # What is ASCII goes out as it is: quoting it anew may break a signature.
        url = yarl.URL(text.strip(), encoded=text.isascii())
        host, port = url.raw_host, url.explicit_port if url.explicit_port is not None else url.port
    except (ValueError, UnicodeError):
        raise FetchRefused(f"{_printable(text)!r} is not an address") from None
    if url.scheme not in ("http", "https") or not host:
        raise FetchRefused(f"{_printable(text)!r} is not an http or https address")
    if url.raw_user is not None or url.raw_password is not None:
        raise FetchRefused(f"the address of {host!r} holds a user or password: send them in a header")
    name = host.lower().removesuffix(".")
    address = _address(name)
    if address is None and not _NAME.fullmatch(name):
        raise FetchRefused(f"{host!r} is not a host name")
    # The canonical host in the URL too, so that nobody after us reads it in another way.
    return Target(url.with_host(str(address or name)).with_fragment(None), str(address or name), port or 0, address)


def _printable(text: str) -> str:
    """The address without what may be secret in it."""
    return re.sub(r"//[^/?#]*@", "//", re.split(r"[?#]", text)[0])[:200]


def _address(host: str) -> Address | None:
    """The host as an address. Raises FetchRefused for one that is written so that programs read it differently."""
    if ":" in host:
        if "%" in host:
            raise FetchRefused(f"{host!r} names a link of this machine")
        try:
            return ipaddress.IPv6Address(host)
        except ValueError:
            raise FetchRefused(f"{host!r} is not an address") from None
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return None
    try:
        return ipaddress.IPv4Address(host)
    except ValueError:
        raise FetchRefused(f"{host!r} is an unusual way to write an address: use four decimal numbers") from None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


class Allowed:
    """An installation's own services: host names, host:port, addresses and networks, as a comma list.

    Raises InvalidRequest for an entry that is none of these.
    """

    def __init__(self, text: str = "") -> None:
        self._names: set[tuple[str, int | None]] = set()
        self._networks: list[Network] = []
        for entry in filter(None, (part.strip().lower() for part in text.split(","))):
            self._add(entry)

    def _add(self, entry: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(entry.strip("[]")))
            return
        except ValueError:
            pass
        host, _, port = entry.rpartition(":") if re.search(r":\d+$", entry) else (entry, "", "")
        host = host.strip("[]").removesuffix(".")
        if not (_NAME.fullmatch(host) or (":" in host and _is_ipv6(host))):
            raise InvalidRequest(f"{SETTING}: {entry!r} is not a host, host:port, address or network")
        self._names.add((host, int(port) if port else None))

    def named(self, target: Target) -> bool:
        """True when the host itself is listed, whatever it resolves to."""
        return (target.host, None) in self._names or (target.host, target.port) in self._names

    def inside(self, address: Address) -> bool:
        """True when the address is in a listed network."""
        return any(address in network for network in self._networks)


def check_target(target: Target, allowed: Allowed) -> None:
    """Raises FetchRefused for what can be refused without a look-up."""
    if allowed.named(target) or (target.address and allowed.inside(target.address)):
        return
    if target.host in _LOCAL_NAMES or target.host.endswith(".localhost"):
        raise _refusal(target, "is this machine")
    if target.port in _PORTS:
        raise _refusal(target, f"is asked for on port {target.port}, which is not for HTTP")


def check_addresses(target: Target, addresses: Sequence[Address], allowed: Allowed) -> None:
    """Raises FetchRefused unless each of the target's addresses may be reached."""
    if allowed.named(target):
        return
    for address in addresses:
        kind = refused_class(address)
        if kind is not None and not allowed.inside(address):
            raise _refusal(target, f"leads to a {kind} address")


def _refusal(target: Target, why: str) -> FetchRefused:
    return FetchRefused(f"{target.host!r} {why}: to allow it, list it in {SETTING}")
