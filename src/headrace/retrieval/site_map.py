"""Site maps: which pages a web site says that it has. https://www.sitemaps.org/protocol.html"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from xml.etree import ElementTree

import msgspec

from headrace.errors import FlowError
from headrace.retrieval.parser_processes import result

_MOST = 10 << 20  # bytes, unpacked


class SiteMap(msgspec.Struct, frozen=True):
    """The addresses of pages, and of further maps."""

    pages: Sequence[str] = ()
    maps: Sequence[str] = ()


async def site_map_of(data: bytes) -> SiteMap:
    """Reads a site map, packed or not, in a child process. Raises FlowError for what is none."""
    return await result(partial(_site_maps, data), SiteMap)


def _site_maps(data: bytes) -> Iterator[SiteMap]:
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
    yield SiteMap(found["url"], found["sitemap"])
