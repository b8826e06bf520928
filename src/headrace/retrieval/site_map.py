"""Site maps: which pages a web site says that it has. https://www.sitemaps.org/protocol.html"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from xml.etree import ElementTree

from headrace.errors import FlowError

_MOST = 10 << 20  # bytes, unpacked


def listed(data: bytes) -> tuple[Sequence[str], Sequence[str]]:
    """Pages and further maps that a site map names, packed or not. Raises FlowError for what is none."""
    try:
        if data[:2] == b"\x1f\x8b":
            data = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data, _MOST)
        tree = ElementTree.fromstring(data)  # noqa: S314  # expat limits what entities may grow to
    except (ElementTree.ParseError, LookupError, ValueError, zlib.error) as error:  # encodings that XML cannot have
        raise FlowError(f"it is no site map: {error}") from None
    found: dict[str, list[str]] = {"url": [], "sitemap": []}
    for entry in tree:
        places = [(child.text or "").strip() for child in entry if child.tag.rpartition("}")[2] == "loc"]
        found.get(entry.tag.rpartition("}")[2], []).extend(filter(None, places))
    return found["url"], found["sitemap"]
