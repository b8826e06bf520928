"""From a flow file's loose inputs to what a node's record declares.

In the wild "" means "not set" for every type, numbers and booleans may be texts, and JSON comes as text
(see "What inputs look like" in docs/flows.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from headrace.engine.node import Node
from headrace.errors import FlowError

_PLACE = re.compile(r" - at `\$\.?(.*)`$")


class Field(msgspec.Struct, frozen=True):
    """How one input is read."""

    name: str
    type: Any
    is_json: bool
    accepts_variables: bool


@cache
def fields_of(kind: type[Node]) -> Mapping[str, Field]:
    """The inputs that a node type declares."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: _field(name, hints[name]) for name in kind.__struct_fields__}


def _field(name: str, hint: Any) -> Field:
    options = [hint] if get_origin(hint) is not None and hasattr(hint, "__metadata__") else [hint, *get_args(hint)]
    metas = [meta for option in options for meta in getattr(option, "__metadata__", ())]
    plain = [getattr(option, "__origin__", option) for option in options]
    is_json = any(option is dict or get_origin(option) is dict for option in plain)
    accepts = any((meta.extra or {}).get("acceptVariable") for meta in metas if isinstance(meta, msgspec.Meta))
    return Field(name, hint, is_json, accepts)


def parsed(value: Any, field: Field | None) -> Any:
    """The value, with JSON text read where the record wants an object, so that references land inside its texts."""
    if field and field.is_json and isinstance(value, str) and value.strip():
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    return value


def fits(value: Any, field: Field) -> bool:
    """Whether the value can be read as what the record declares."""
    try:
        msgspec.convert(value, field.type, strict=False, dec_hook=_port)
    except (msgspec.ValidationError, NotImplementedError):
        return False
    return True


def read(kind: type[Node], values: Mapping[str, Any], where: str) -> Node:
    """The record. Raises FlowError that names node and input when a value does not fit."""
    known = fields_of(kind)
    given = {name: parsed(values[name], known[name]) for name in known if not _unset(values.get(name))}
    try:
        return msgspec.convert(given, kind, strict=False, dec_hook=_port)
    except msgspec.ValidationError as error:
        raise FlowError(f"{where}: {_explained(str(error))}") from None


def _unset(value: Any) -> bool:
    return value is None or value == "" or value == []


def _explained(message: str) -> str:
    place = _PLACE.search(message)
    name = place[1] if place else ""
    text = message[: place.start()] if place else message
    if missing := re.search(r"missing required field `(\w+)`", text):
        return f"input {missing[1]!r} is not set or not connected"
    return f"input {name!r} cannot be used: {text}" if name else text


def _port(kind: type[Any], value: object) -> object:
    if isinstance(value, kind):
        return value
    got = "a text" if isinstance(value, str) else type(value).__name__
    raise ValueError(f"a {kind.__name__} must be connected here, not {got}")
