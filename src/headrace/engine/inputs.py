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
from headrace.engine.overrides import Overrides
from headrace.errors import FlowError
from headrace.schema import NodeData

_PLACE = re.compile(r" - at `\$\.?.*`$")


class Field(msgspec.Struct, frozen=True):
    """How one input is read. `port` is the capability that must be connected, None for a parameter.

    What `is_late` is resolved by the node itself, once it knows its output.
    """

    name: str
    """The record's field; the flow file may call it something else."""
    type: Any
    required: bool
    is_json: bool
    accepts_variables: bool
    is_late: bool
    is_template: bool
    port: type[Any] | None


@cache
def fields_of(kind: type[Node]) -> Mapping[str, Field]:
    """The inputs that a node type declares, by their names in the flow file."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.encode_name: _field(field, hints[field.name]) for field in msgspec.structs.fields(kind)}


def _field(field: msgspec.structs.FieldInfo, hint: Any) -> Field:
    options = list(_options(hint))
    metas = [meta for option in options for meta in getattr(option, "__metadata__", ())]
    plain = [getattr(option, "__origin__", option) for option in options]
    port = next((option for option in plain if _is_port(option)), None)
    return Field(
        field.name,
        hint,
        required=field.required,
        is_json=port is None and any((get_origin(option) or option) in (dict, list) for option in plain),
        accepts_variables=_marked(metas, "acceptVariable"),
        is_late=_marked(metas, "late"),
        is_template=_marked(metas, "template"),
        port=port,
    )


def _marked(metas: list[Any], mark: str) -> bool:
    return any((meta.extra or {}).get(mark) for meta in metas if isinstance(meta, msgspec.Meta))


def _options(hint: Any) -> list[Any]:
    """The hint itself and what it is made of: for `Memory | None` all three."""
    parts = [] if hasattr(hint, "__metadata__") else get_args(hint)
    return [hint, *(option for part in parts for option in _options(part))]


def _is_port(option: Any) -> bool:
    return isinstance(option, type) and (getattr(option, "_is_protocol", False) or issubclass(option, Node))


def parsed(value: Any, field: Field) -> Any:
    """The value, with JSON text read where the record wants an object, so that references land inside its texts."""
    if field.is_json and isinstance(value, str) and value.strip():
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    return value


def given(node: NodeData, kind: type[Node], overrides: Overrides) -> dict[str, Any]:
    """The node's inputs with those that the request sets."""
    fields = fields_of(kind)
    changed = overrides.apply(node.id, node.name, node.label, node.inputs)
    return node.inputs | {  # a value that does not fit is ignored: the flow's author did not choose it
        name: value for name, value in changed.items() if name not in fields or fits(value, fields[name])
    }


def fits(value: Any, field: Field) -> bool:
    """Whether the value can be read as what the record declares."""
    try:
        _value(value, field)
    except ValueError:
        return False
    return True


def read(kind: type[Node], values: Mapping[str, Any], where: str) -> Node:
    """The record. Raises FlowError that names node and input when a value does not fit."""
    record: dict[str, Any] = {}
    for name, field in fields_of(kind).items():
        value = parsed(values.get(name), field)
        if value is None or value == "" or value == []:
            if field.required:
                raise FlowError(f"{where}: input {name!r} is not set or not connected")
            continue
        try:
            record[field.name] = _value(value, field)
        except ValueError as error:
            raise FlowError(f"{where}: input {name!r} cannot be used: {_PLACE.sub('', str(error))}") from None
    return kind(**record)


def _value(value: Any, field: Field) -> Any:
    """The value as declared. Raises ValueError (which msgspec's errors are)."""
    if field.port is None:
        return msgspec.convert(value, field.type, strict=False)
    several = isinstance(value, list)
    if several:  # a node may build a list, such as the tools of a server
        value = [one for item in value for one in (item if isinstance(item, list) else (item,))]
    for item in value if several else (value,):
        if not provides(type(item), field.port):
            got = "a text" if isinstance(item, str) else type(item).__name__
            raise ValueError(f"a {field.port.__name__} must be connected here, not {got}")
    return value


@cache
def provides(kind: type[Any], port: type[Any]) -> bool:
    """Whether objects of this class have the port's capability. Kept: asking a protocol takes microseconds."""
    if not getattr(port, "_is_protocol", False):
        return issubclass(kind, port)
    members = [name for name in vars(port) if not name.startswith("_")] + list(port.__annotations__)
    return all(hasattr(kind, name) or name in getattr(kind, "__annotations__", ()) for name in members)
