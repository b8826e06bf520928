"""Converts a flow file's loose inputs into the types that a node's record declares.

In the wild "" means "not set" for every type, numbers and booleans may be texts, and JSON comes as text
(see "What inputs look like" in docs/flows.md).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from math import isfinite
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from headrace.engine import ports
from headrace.engine.annotations import Input
from headrace.engine.catalog import Catalog
from headrace.engine.node import Node
from headrace.engine.overrides import Overrides, merged, read_json
from headrace.engine.references import is_dangling
from headrace.errors import FlowError, HeadraceError, InvalidRequest
from headrace.schema import NodeData

_PLACE = re.compile(r" - at `\$\.?.*`$")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TAB = re.compile(r"(selected[A-Za-z]+Tab)_\w+")
_SCALARS: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


class Field(msgspec.Struct, frozen=True):
    """The rules for reading one input. `port` is the capability that must be connected, None for a parameter.

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
    several: bool
    """A list is wanted."""
    scalar: type[Any] | None
    """The one plain type that is wanted."""
    refused: str
    refused_values: Sequence[str]
    """See `headrace.engine.annotations.Input`."""

    def refusal(self, value: Any) -> str:
        """The reason for which no flow with this value can run here; "" where it can."""
        if not self.refused or value in (None, "", False, "false", [], "[]", {}, "{}"):
            return ""
        return self.refused if not self.refused_values or value in self.refused_values else ""


@cache
def fields_of(kind: type[Node]) -> Mapping[str, Field]:
    """The inputs that a node type declares, by their names in the flow file."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.encode_name: _field(field, hints[field.name]) for field in msgspec.structs.fields(kind)}


def _field(field: msgspec.structs.FieldInfo, hint: Any) -> Field:
    options = parts_of(hint)
    metas = [meta for option in options for meta in getattr(option, "__metadata__", ())]
    plain = [getattr(option, "__origin__", option) for option in options]
    port = next((option for option in plain if _is_port(option)), None)
    several = any((get_origin(option) or option) is list for option in plain)
    is_json = port is None and (several or any((get_origin(option) or option) is dict for option in plain))
    scalars = [kind for kind in _SCALARS if kind in plain]
    return Field(
        field.name,
        hint,
        required=field.required,
        is_json=is_json,
        accepts_variables=_marked(metas, "acceptVariable"),
        is_late=_marked(metas, "late"),
        is_template=_marked(metas, "template"),
        port=port,
        several=several,
        scalar=scalars[0] if len(scalars) == 1 and not is_json and port is None else None,
        refused=next((meta.refused for meta in metas if isinstance(meta, Input) and meta.refused), ""),
        refused_values=next((meta.refusedFor for meta in metas if isinstance(meta, Input) and meta.refusedFor), ()),
    )


def _marked(metas: list[Any], mark: str) -> bool:
    return any((meta.extra or {}).get(mark) for meta in metas if isinstance(meta, msgspec.Meta))


def parts_of(hint: Any) -> list[Any]:
    """The hint and its parts: for `Memory | None` all three."""
    parts = (hint.__origin__,) if hasattr(hint, "__metadata__") else get_args(hint)
    return [hint, *(option for part in parts for option in parts_of(part))]


def _is_port(option: Any) -> bool:
    return isinstance(option, type) and (getattr(option, "_is_protocol", False) or issubclass(option, Node))


def parsed(value: Any, field: Field) -> Any:
    """The value, with JSON text read where the record wants an object, so that references land inside its texts."""
    if field.is_json and isinstance(value, str) and value.strip():
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            return value
    return value


def plain_name(name: str) -> str:
    """An input's name without the id that builders add where it only says which of several inputs is shown."""
    tab = _TAB.fullmatch(name)
    return tab[1] if tab else name


def current(kind: type[Node], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs under their names of today: flows keep those of the version that they were drawn with."""
    named = {plain_name(name): value for name, value in inputs.items()}
    for former, name in kind.former.items():
        value = named.pop(former, None)
        if value is not None and value != "":
            named[name] = value
    return named


class InputValues(NamedTuple):
    """A node's inputs, and on their own those of them that the request sets."""

    inputs: dict[str, Any]
    asked: dict[str, Any]


def input_values(node: NodeData, kind: type[Node], overrides: Overrides) -> InputValues:
    """The node's inputs with those that the request sets, both read in the same way."""
    fields, inputs = fields_of(kind), current(kind, node.inputs)
    asked = {
        name: parsed(value, fields[name]) if name in fields else read_json(value)
        for name, value in current(kind, overrides.of(node)).items()
        if not (name in fields and _is_no_number(value, fields[name]))
    }
    return InputValues(inputs | {name: merged(inputs.get(name), value) for name, value in asked.items()}, asked)


def _is_no_number(value: Any, field: Field) -> bool:
    """True for plain words where a number is wanted: such an override sets nothing, as recordings have it."""
    if field.scalar not in (int, float) or not isinstance(value, str) or value.strip().startswith(("{", "[")):
        return False
    try:
        return not isfinite(float(value))
    except ValueError:
        return True


def check_asked(nodes: Iterable[NodeData], catalog: Catalog, overrides: Overrides) -> None:
    """Raises InvalidRequest for what a request sets, and may set, but no node reads, or cannot read."""
    taken: set[str] = set()
    unread: dict[str, NodeData] = {}
    for node in nodes:
        kind = catalog[node.name]
        for name, value in overrides.of(node).items():
            fields = fields_of(kind)
            if field := fields.get(kind.former.get(name, name)):
                taken.add(name)
                _check(name, value, field, where(node))
            elif name.removesuffix("Config") not in fields:  # with it, the inputs of what an agent flow's node holds
                unread.setdefault(name, node)
    for name, node in unread.items():
        if name not in taken:
            raise InvalidRequest(
                f"{where(node)} does not read the input {name!r} here: leave it out at $.overrideConfig.{name}"
            )


def _check(name: str, value: Any, field: Field, place: str) -> None:
    """Raises InvalidRequest at once for what no reference could make readable."""
    if field.port is None and "{{" not in str(value) and not _is_no_number(value, field):
        try:
            _value(parsed(value, field), field)
        except ValueError as error:
            raise _wrong(name, place, _PLACE.sub("", str(error)), asked=True) from None


def unset(kind: type[Node], inputs: Mapping[str, Any]) -> list[str]:
    """The inputs that the node needs and does not have."""
    return [name for name, field in fields_of(kind).items() if field.required and inputs.get(name) in (None, "", [])]


def unreadable(kind: type[Node], inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The inputs whose values no run could read, each with the reason; what references lead to is not known yet."""
    for name, field in fields_of(kind).items():
        if field.port is None and "{{" not in str(value := inputs.get(name)):
            try:
                _value(parsed(value, field), field)
            except ValueError as error:
                yield name, _PLACE.sub("", str(error))


def where(node: NodeData) -> str:
    """A node as messages name it."""
    return f"{node.label or node.name} ({node.id})"


def read(kind: type[Node], values: Mapping[str, Any], place: str, asked: Collection[str] = ()) -> Node:
    """The record. Raises FlowError that names node and input when a value does not fit or is refused here.

    For a value that the request has `asked` for that is InvalidRequest.
    """
    record: dict[str, Any] = {}
    for name, field in fields_of(kind).items():
        try:
            value = _value(parsed(values.get(name), field), field)
        except ValueError as error:
            raise _wrong(name, place, _PLACE.sub("", str(error)), asked=name in asked) from None
        if reason := field.refusal(value):
            raise FlowError(f"{place} {reason}")
        if value is not None:
            record[field.name] = value
        elif field.required:
            raise FlowError(f"{place}: input {name!r} is not set or not connected")
    return kind(**record)


def _wrong(name: str, place: str, reason: str, *, asked: bool) -> HeadraceError:
    if asked:
        return InvalidRequest(f"{place}: the input {name!r} cannot be set to this at $.overrideConfig.{name}: {reason}")
    return FlowError(f"{place}: input {name!r} cannot be used: {reason}")


def _value(value: Any, field: Field) -> Any:
    """The value as declared, None for one that is not set. Raises ValueError (which msgspec's errors are)."""
    if value is None or value == "" or value == []:
        return None
    if field.port is not None:
        return _connected(value, field, field.port)
    if field.scalar is not None:
        return msgspec.convert(_scalar(value, field.scalar), field.type, strict=False)
    if isinstance(value, str) and field.is_json and not _takes_texts(field):
        if not value.strip():
            return None
        raise ValueError(f"{_value_text(value)} is not JSON")
    if field.several and isinstance(value, (str, dict)):
        value = _listed(value, field)
    return msgspec.convert(value, field.type, strict=False)


@cache
def _members(hint: Any) -> list[Any]:
    """The types of a union, or the one type."""
    plain = getattr(hint, "__origin__", hint) if hasattr(hint, "__metadata__") else hint
    return list(get_args(plain)) if get_origin(plain) in (Union, UnionType) else [plain]


def _takes_texts(field: Field) -> bool:
    """True for a type that takes a text, alone or in a list."""
    return any(member is str or member == list[str] for member in _members(field.type))


def _listed(value: Any, field: Field) -> Any:
    """A single value as a list, where it may not stand alone."""
    kinds = [get_origin(member) or member for member in _members(field.type)]
    return value if type(value) in kinds else [value]


def _scalar(value: Any, kind: type[Any]) -> Any:
    """The value as the builder's own code would read it. Raises ValueError for one that is of another kind."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if kind is str:
        return _text(value)
    if isinstance(value, str):
        value = value.strip()
    if kind is int and isinstance(value, (str, float)) and not isinstance(value, bool):
        value = _whole(value)
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        raise ValueError(f"{_value_text(value)} is not {_SCALARS[kind]}") from None


def _whole(value: str | float) -> Any:
    """A number without its fraction; what is no number as it is."""
    try:
        return int(float(value))
    except (ValueError, OverflowError):
        return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, (bool, int, float, dict, list)):
        raise ValueError(f"it is {_described(value)}, not a text")
    try:
        return msgspec.json.encode(value).decode()
    except TypeError:
        raise ValueError("it holds what is not a text") from None


def _value_text(value: Any) -> str:
    return repr(value if len(str(value)) <= 60 else f"{str(value)[:60]}…")


# Connections


def _connected(value: Any, field: Field, port: type[Any]) -> Any:
    """The connected nodes, without those that were removed from the flow."""
    items: list[Any] = []
    for one in value if isinstance(value, list) else (value,):
        items += one if isinstance(one, list) else (one,)  # a node may build a list, such as the tools of a server
    items = [item for item in items if item is not None and item != "" and not is_dangling(item)]
    for item in items:
        if not provides(type(item), port):
            raise ValueError(f"{_named(port)} must be connected here, not {_described(item)}")
    if field.several:
        return items or None
    if len(items) > 1:
        raise ValueError(f"{_named(port)} can be connected here, not {len(items)} nodes")
    return items[0] if items else None


def _named(port: type[Any]) -> str:
    """A capability in words, with its article."""
    words = _WORDS.sub(" ", port.__name__).lower()
    if words.endswith("s"):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


_KINDS: tuple[type[Any], ...] = (
    ports.ChatModel,
    ports.Embeddings,
    ports.VectorStore,
    ports.Retriever,
    ports.Memory,
    ports.Tool,
    ports.Prompt,
    ports.OutputParser,
    ports.Documents,
    ports.Splitter,
    ports.Moderation,
    ports.Cache,
)


def _described(value: Any) -> str:
    """A value's kind in words."""
    match value:
        case str():
            return "a text"
        case bool() | int() | float():
            return f"{value!r}"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return next((_named(kind) for kind in _KINDS if provides(type(value), kind)), "another kind of node")


@cache
def provides(kind: type[Any], port: type[Any]) -> bool:
    """True when objects of this class have the port's capability. Cached: asking a protocol takes microseconds."""
    if not getattr(port, "_is_protocol", False):
        return issubclass(kind, port)
    members = [name for name in vars(port) if not name.startswith("_")] + list(port.__annotations__)
    return all(hasattr(kind, name) or name in getattr(kind, "__annotations__", ()) for name in members)
