"""Reads JSON as a record: strictly and fast where it fits, and else field by field, without what does not fit.

Providers and what stands before them send fields of other types than they document: null, a number as text, `[]` for an
empty object. Only what an answer needs may spoil it, so every field of a record that is read here has a default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import inspect

from headrace.surrogates import rescued

T = TypeVar("T")

_TEXT_FIELDS: Final = ("text", "content", "parts")  # what a text is where a record is wanted
_Fit: TypeAlias = Callable[[Any, Any], Any]


class _UnfitError(ValueError):
    """The value cannot be read as what is wanted."""


class LenientDecoder(Generic[T]):
    """A reader of one kind of record."""

    def __init__(self, kind: type[T]) -> None:
        self.strict: Callable[[bytes | str], T] = msgspec.json.Decoder(kind).decode
        """Reads JSON that is as documented. Raises msgspec.MsgspecError and UnicodeDecodeError."""
        self._kind = kind
        self._shape = inspect.type_info(kind)

    def read(self, data: bytes) -> T:
        """Reads JSON in which only what is needed is right. Raises ValueError."""
        try:
            return self.strict(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return self.of(value_of(data))

    def of(self, value: Any) -> T:
        """Reads a JSON value. Raises ValueError for what is no object."""
        if not isinstance(value, dict):
            raise ValueError("it is no JSON object")
        try:
            return msgspec.convert(_fitted(value, self._shape), self._kind)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None


def value_of(data: bytes) -> Any:
    """The JSON value. Raises ValueError."""
    try:
        return rescued(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def as_json(value: Any) -> bytes:
    """The value as JSON again, halves of characters included."""
    return json.dumps(value).encode()


def _fitted(value: Any, shape: inspect.Type) -> Any:
    """The value as the shape wants it. Raises _UnfitError."""
    if fit := _FITS.get(type(shape)):
        return fit(value, shape)
    return value  # anything goes


def _record(value: Any, shape: inspect.StructType) -> dict[str, Any]:
    if isinstance(value, str):
        value = _parsed(value) or _said(value, shape)
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, dict)), None)
    if not isinstance(value, dict):
        raise _UnfitError
    fitting: dict[str, Any] = {}
    for field in shape.fields:
        if field.encode_name in value:
            try:
                fitting[field.encode_name] = _fitted(value[field.encode_name], field.type)
            except _UnfitError:
                continue
    return fitting


def _said(text: str, shape: inspect.StructType) -> dict[str, Any] | None:
    names = [field.encode_name for field in shape.fields]
    return next(({name: text} for name in _TEXT_FIELDS if name in names), None)


def _parsed(text: str) -> Any:
    """The object that a text holds as JSON, or None."""
    if text.lstrip()[:1] != "{":
        return None
    try:
        return value_of(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return None


def _mapping(value: Any, shape: inspect.DictType) -> dict[Any, Any]:
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, dict)), {})
    if not isinstance(value, dict):
        raise _UnfitError
    return value


def _items(value: Any, shape: inspect.ListType) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, dict):  # PHP writes a list so whose numbering has gaps, and others a list of one
        value = [*value.values()] if all(str(name).isdigit() for name in value) else [value]
    found: list[Any] = []
    for item in value if isinstance(value, list) else [value]:
        try:
            found.append(_fitted(item, shape.item_type))
        except _UnfitError:
            continue
    return found


def _union(value: Any, shape: inspect.UnionType) -> Any:
    """The value as the first member that takes it; those of its own kind come first."""
    if value is None and any(isinstance(member, inspect.NoneType) for member in shape.types):
        return None
    own = _KINDS.get(type(value), ())
    for member in sorted(shape.types, key=lambda member: not isinstance(member, own)):
        try:
            return _fitted(value, member)
        except _UnfitError:
            continue
    raise _UnfitError


def _text(value: Any, shape: inspect.StrType) -> str:
    match value:
        case str():
            return value
        case bool() | None:
            raise _UnfitError
        case int() | float():
            return str(value)
        case list():
            return "".join(_text(item, shape) for item in value if isinstance(item, str | dict))
        case {"text": inner} | {"content": inner}:
            return _text(inner, shape)
        case _:
            raise _UnfitError


def _float(value: Any, shape: inspect.Type) -> float:
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise _UnfitError from None
    if not math.isfinite(found):
        raise _UnfitError
    return found


def _int(value: Any, shape: inspect.Type) -> int:
    return value if type(value) is int else int(_float(value, shape))


def _bool(value: Any, shape: inspect.BoolType) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1", "yes")
    if value is None:
        raise _UnfitError
    return bool(value)


def _none(value: Any, shape: inspect.NoneType) -> None:
    raise _UnfitError


_FITS: Final[Mapping[type[Any], _Fit]] = {
    inspect.StructType: _record,
    inspect.DictType: _mapping,
    inspect.ListType: _items,
    inspect.UnionType: _union,
    inspect.StrType: _text,
    inspect.FloatType: _float,
    inspect.IntType: _int,
    inspect.BoolType: _bool,
    inspect.NoneType: _none,
}
_KINDS: Final[Mapping[type[Any], tuple[type[Any], ...]]] = {
    str: (inspect.StrType,),
    dict: (inspect.StructType, inspect.DictType),
    list: (inspect.ListType,),
    bool: (inspect.BoolType,),
    int: (inspect.IntType, inspect.FloatType),
    float: (inspect.FloatType, inspect.IntType),
}
