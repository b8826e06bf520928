"""YAML as plain data, by the rules of version 1.2 for JSON: `12:30`, `no` and `2024-05-01` are texts.

It is built from the parser's events: nodes, as the library makes them, take six times as long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST: Final = 1_000_000  # values, and ends of lists and mappings
_MERGED: Final = 100_000  # entries that `<<` copies
_NO_KEY: Final = object()
_MERGE: Final = object()
_NAMED: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    "<<": _MERGE,
}
_NUMBER: Final = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")  # longer ones become floats
_FRACTION: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_TAG: Final = "tag:yaml.org,2002:"


def loaded(text: str | bytes) -> Any:
    """The one document in the text. Raises yaml.YAMLError and ValueError for what is no plain data."""
    data = _Data()
    documents = 0
    for number, event in enumerate(yaml.parse(text, _Loader)):
        if number > _MOST:
            raise yaml.YAMLError(f"it has more than {_MOST} parts")
        match event:
            case yaml.ScalarEvent():
                data.put(_scalar(event), event.anchor)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                data.begin(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                data.end()
            case yaml.AliasEvent():
                data.put(data.anchored(event.anchor))
            case yaml.DocumentStartEvent():
                documents += 1
            case _:
                pass
    if documents > 1:
        raise yaml.YAMLError("it holds several documents")
    return data.top[0] if data.top else None


class _Data:
    """The data read so far."""

    def __init__(self) -> None:
        self.top: list[Any] = []
        self._open: list[dict[Any, Any] | list[Any]] = [self.top]
        self._keys: list[Any] = [_NO_KEY]
        """Of each open mapping the key that waits for its value."""
        self._anchors: dict[str, Any] = {}
        self._merged = 0

    def anchored(self, name: str) -> Any:
        """The value at an anchor."""
        if name not in self._anchors:
            raise yaml.YAMLError(f"nothing has the anchor {name!r}")
        return self._anchors[name]

    def put(self, value: Any, anchor: str | None = None) -> None:
        """Puts a value where the next one belongs."""
        if anchor:
            self._anchors[anchor] = value
        place, key = self._open[-1], self._keys[-1]
        if isinstance(place, list):
            place.append("<<" if value is _MERGE else value)
        elif key is _NO_KEY:
            if isinstance(value, dict | list):
                raise yaml.YAMLError("a key of it is no text")
            self._keys[-1] = value
        elif key is _MERGE:
            self._keys[-1] = _NO_KEY
            self._merge(place, value)
        else:
            self._keys[-1] = _NO_KEY
            place[key] = "<<" if value is _MERGE else value

    def begin(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        """Opens a mapping or a sequence."""
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", f"{_TAG}{'map' if mapping else 'seq'}"):
            raise yaml.YAMLError(f"it holds a {event.tag!r}, which is no plain data")
        value: dict[Any, Any] | list[Any] = {} if mapping else []
        # What `<<` merges is complete only at its end.
        if self._keys[-1] is not _MERGE:
            self.put(value, event.anchor)
        elif event.anchor:
            self._anchors[event.anchor] = value
        self._open.append(value)
        self._keys.append(_NO_KEY)

    def end(self) -> None:
        """Closes what was opened last."""
        value = self._open.pop()
        self._keys.pop()
        if self._keys[-1] is _MERGE:
            self.put(value)

    def _merge(self, place: dict[Any, Any], value: Any) -> None:
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, dict):
                raise yaml.YAMLError("it merges what is no mapping")
            self._merged += len(part)
            if self._merged > _MERGED:
                raise yaml.YAMLError(f"it merges more than {_MERGED} entries")
            for key, inner in part.items():
                place.setdefault(key, inner)


def _scalar(event: yaml.ScalarEvent) -> Any:
    plain, _ = event.implicit
    if event.tag in (None, "!"):
        return _resolved(event.value) if plain else event.value
    kind = event.tag.removeprefix(_TAG)
    if kind == "str":
        return event.value
    if kind in ("null", "bool", "int", "float"):
        return _resolved(event.value)
    raise yaml.YAMLError(f"it holds a {event.tag!r}, which is no plain data")


def _resolved(text: str) -> Any:
    """The value of a text without quotes."""
    if text in _NAMED:
        return _NAMED[text]
    if text[0] not in "+-.0123456789":
        return text
    if _NUMBER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text) if _FRACTION.fullmatch(text) else text
