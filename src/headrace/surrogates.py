"""Halves of characters, which JavaScript and careless servers leave when they cut a text, and JSON that holds them.

A lone half cannot be written as UTF-8. Bytes that are no UTF-8 are held as Python's `surrogateescape` holds them.
"""

from __future__ import annotations

import json
import re
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_BYTES = re.compile("[\udc80-\udcff]+")
_BEGUN = re.compile(  # half of a pair, or the first bytes of a character, at the end of a text
    "(?:[\ud800-\udbff]|[\udcc2-\udcdf]|[\udce0-\udcef][\udc80-\udcbf]?|[\udcf0-\udcf4][\udc80-\udcbf]{0,2})$"
)


def whole(text: str) -> str:
    """The text with halves that meet joined, and U+FFFD for each that is alone."""
    if text.isascii() or not _HALF.search(text):
        return text
    text = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    text = _BYTES.sub(lambda found: found[0].encode("utf-8", "surrogateescape").decode("utf-8", "replace"), text)
    return _HALF.sub("\ufffd", text)


def parted(text: str) -> tuple[str, str]:
    """The text, and the beginning of a character at its end, whose rest may follow in another text."""
    begun = _BEGUN.search(text)
    return (text[: begun.start()], begun[0]) if begun else (text, "")


def all_whole(value: Any) -> Any:
    """A JSON value with every text in it made `whole`."""
    match value:
        case str():
            return whole(value)
        case list():
            return [all_whole(item) for item in value]
        case dict():
            return {whole(name): all_whole(item) for name, item in value.items()}
        case _:
            return value


def decoded(data: bytes | str) -> Any:
    """The value of JSON that may hold lone halves, which are kept. Raises ValueError, and RecursionError.

    Bytes must be UTF-8.
    """
    return json.loads(data.decode() if isinstance(data, bytes) else data, parse_constant=_no_number)


def rescued(data: bytes) -> Any:
    """The same for JSON of a careless server: other bytes, control characters and NaN are taken too."""
    return json.loads(data.decode("utf-8", "surrogateescape"), strict=False)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
