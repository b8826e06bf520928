"""The look of the server's pages: a name, colours and a logo from a brand file, checked so that CSS may hold them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

from headrace.errors import InvalidRequest

FILE: Final = "brand.json"
TYPES: Final = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".ico": "image/x-icon",
}
"""Media types of logos by the ending of the file's name."""
_MOST: Final = 1024 * 1024
_COLOR: Final = re.compile(r"#(?:[0-9a-fA-F]{3}){1,2}")


class Brand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A brand file. `color` is the accent, `darkColor` the same on dark ground, `logo` a file beside the brand file."""

    name: str = "Headrace"
    color: str = "#0b6e99"
    darkColor: str = ""
    logo: str = ""

    @property
    def on_dark(self) -> str:
        """The accent on dark ground."""
        return self.darkColor or (self.color if self.color != Brand().color else "#6cc4ea")


class Logo(msgspec.Struct, frozen=True):
    """A picture and its media type."""

    content: bytes
    kind: str


def checked(brand: Brand) -> Brand:
    """The brand, when a page can show it. Raises InvalidRequest."""
    if not brand.name.strip() or len(brand.name) > 80 or not brand.name.isprintable():
        raise InvalidRequest(f"the brand's name {brand.name!r} must be 1 to 80 printable characters")
    for color in filter(None, (brand.color, brand.darkColor)):
        if not _COLOR.fullmatch(color):
            raise InvalidRequest(f"the brand's color {color!r} must be written like '#0b6e99'")
    return brand


def read_logo(path: Path) -> Logo:
    """The picture in a file. Raises InvalidRequest that names it."""
    kind = TYPES.get(path.suffix.lower())
    if kind is None:
        raise InvalidRequest(f"the logo {str(path)!r} must be one of {', '.join(TYPES)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"the logo {str(path)!r} cannot be read: {error.strerror}") from None
    if not 0 < len(content) <= _MOST:
        raise InvalidRequest(f"the logo {str(path)!r} has {len(content)} bytes; it may have up to {_MOST}")
    return Logo(content, kind)


def read_brand(named: str, folder: Path) -> tuple[Brand, Logo | None]:
    """The brand in the file `named` or, without a name, in the data folder's brand.json; else our own.

    Raises InvalidRequest that names the file.
    """
    path = Path(named).expanduser() if named else folder / FILE
    if not named and not path.exists():
        return Brand(), None
    try:
        brand = checked(msgspec.json.decode(path.read_bytes(), type=Brand))
    except OSError as error:
        raise InvalidRequest(f"the brand file {str(path)!r} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, InvalidRequest) as error:
        raise InvalidRequest(f"the brand file {str(path)!r} is wrong: {error}") from None
    return brand, read_logo(path.parent / brand.logo) if brand.logo else None
