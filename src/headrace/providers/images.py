"""Pictures on their way to a model: read from data URIs, and held to the provider's limits."""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple

from headrace.engine.chat import ImagePart
from headrace.errors import InvalidRequest

_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.-]+)*;base64,", re.ASCII)


class Picture(NamedTuple):
    """A picture as its base64 text and media type."""

    media_type: str
    base64: str


class ImageLimits(NamedTuple):
    """A provider's limits: media types, and bytes of one picture."""

    types: frozenset[str]
    size: int


def picture(part: ImagePart, limits: ImageLimits) -> Picture | None:
    """The picture that a data URI holds; None for an address.

    Raises InvalidRequest for what is no picture, and for one that the provider would refuse.
    """
    if not part.url.startswith("data:"):
        return None
    found = _DATA.match(part.url)
    if not found:
        raise InvalidRequest("an uploaded picture is not a data URI in base64: send `data:image/png;base64,…`")
    media_type, text = found[1] or "", part.url[found.end() :]
    if media_type not in limits.types:
        known = ", ".join(sorted(limits.types))
        raise InvalidRequest(f"this model takes no pictures of type {media_type!r}, only {known}")
    if (size := len(text) * 3 // 4 - text[-2:].count("=")) > limits.size:
        raise InvalidRequest(f"a picture has {size} bytes, and this model takes {limits.size} at most: make it smaller")
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise InvalidRequest(f"an uploaded picture is not valid base64: {error}") from None
    return Picture(media_type, text)
