"""The contract as TypeScript: sdk/typescript/src/events.ts, made of events.py, errors.py and schema.py by `make gen`.

Beside the types it holds their shapes as values, with which the library checks what comes over the wire.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import NoneType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from headrace import errors, events, schema
from headrace.errors import HeadraceError, RequestError

FILE: Final = "sdk/typescript/src/events.ts"
_HEAD: Final = """\
// Made by `make gen` from headrace.events, headrace.errors and headrace.schema: change those instead.

/** What a value from the wire must be: a plain type, a list, or a record by its fields. */
export type Shape = Plain | readonly ["list", Shape] | Fields;
type Plain = "string" | "number" | "integer" | "boolean" | "object" | "unknown";

/** The fields of a record: required ones, and those that may be absent, with what they are then. */
export interface Fields {
  readonly [name: string]: Shape | readonly ["optional", Shape, unknown?];
}
"""
_UNKNOWN: Final = """\
/** An event of a kind, or with a payload, that this version does not know. */
export interface UnknownEvent {
  event: "unknown";
  /** Its name on the wire. */
  kind: string;
  /** The payload, if it has one. */
  data: unknown;
  /** The event as it came. */
  fields: Record<string, unknown>;
}
"""
_PLAIN: Final = {str: "string", int: "number", float: "number", bool: "boolean", Any: "unknown"}
_FAMILIES: Final = (errors.ConnectionFailed, errors.ProviderError, errors.FlowError, RequestError, HeadraceError)
_PARTS: Final = (events.Document, events.UsedTool, events.Usage, events.RunMetadata)
_ANSWERS: Final = (events.Prediction, schema.RunInfo, schema.FlowRow, schema.Attachment, schema.Feedback)
_SHAPES: Final = (*_PARTS, events.Error)
_LITERALS: Final = {schema.RunState: "RunState", schema.Rating: "Rating"}
_REQUESTS: Final = (
    schema.FileUpload,
    schema.HistoryMessage,
    schema.ContinueFor,
    schema.HumanInput,
    schema.PredictionRequest,
)


def contract() -> str:
    """The whole file."""
    kinds = get_args(events.Known)
    union = "".join(f"\n  | {name(kind)}" for kind in kinds)
    parts = [
        _HEAD,
        *(_interface(record) for record in (*_PARTS, *_ANSWERS, *kinds)),
        _UNKNOWN,
        f"/** An event that this version knows. */\nexport type KnownEvent ={union};\n",
        "/** Every event that a stream can give; `event` tells them apart. */\n"
        "export type HeadraceEvent = KnownEvent | UnknownEvent;\n",
        f"/** How far a run is. */\nexport type RunState = {_literal(schema.RunState)};\n",
        f"/** What a visitor says of an answer. */\nexport type Rating = {_literal(schema.Rating)};\n",
        *(_interface(record, request=True) for record in _REQUESTS),
        *(f"export const {_constant(record)}: Fields = {{\n{_fields(record)}}};\n" for record in (*_SHAPES, *_ANSWERS)),
        "/** The fields of each kind of event. */\n"
        f"export const EVENTS: {{ readonly [kind: string]: Fields }} = {{\n{''.join(map(_event, kinds))}}};\n",
        _errors(),
    ]
    return "\n".join(parts)


def name(record: type) -> str:
    """A record's name in TypeScript, where `Error` and `Error events` need two names."""
    tagged = issubclass(record, events.Base) and not record.__name__.endswith("Event")
    return record.__name__ + "Event" * tagged


def _constant(record: type) -> str:
    return "".join("_" * (n > 0 and c.isupper()) + c.upper() for n, c in enumerate(record.__name__))


def _doc(text: str | None, indent: str = "") -> str:
    words = " ".join((text or "").split()).replace("`retry_after`", "`retryAfter`")
    return f"{indent}/** {words} */\n" if words else ""


def _interface(record: type, *, request: bool = False) -> str:
    """A record as an interface. In a request null and undefined stand for what is left out, and defaults too."""
    hints, docs = get_type_hints(record), _field_docs(record)
    lines = [f"  event: {json.dumps(_tag(record))};\n"] if _tag(record) else []
    for field in msgspec.structs.fields(record):
        absent = not field.required and (request or field.default is None)
        optional = absent or _nullable(hints[field.name])
        kind = _type(hints[field.name])
        kind += " | null | undefined" if optional and request and kind != "unknown" else ""
        lines.append(f"{_doc(docs.get(field.name), '  ')}  {field.name}{'?' * optional}: {kind};\n")
    if record is schema.RunInfo:
        links = schema.RunInfo.links
        lines.append(f"{_doc(inspect.getdoc(links), '  ')}  links: {_type(get_type_hints(links.fget)['return'])};\n")
    return f"{_doc(inspect.getdoc(record))}export interface {name(record)} {{\n{''.join(lines)}}}\n"


def _tag(record: Any) -> str | None:
    return record.__struct_config__.tag


def _type(hint: Any) -> str:
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _LITERALS.get(hint) or _literal(hint)
    if origin is list:
        inner = _type(args[0])
        return f"Array<{inner}>" if " " in inner else f"{inner}[]"
    if origin is dict:
        return f"Record<string, {_type(args[1])}>"
    if _is_union(hint):
        return " | ".join(_type(arg) for arg in args if arg is not NoneType)
    return name(hint)


def _literal(hint: Any) -> str:
    return " | ".join(json.dumps(value) for value in get_args(hint))


def _is_union(hint: Any) -> bool:
    return get_origin(hint) is Union or type(hint).__name__ == "UnionType"


def _nullable(hint: Any) -> bool:
    return _is_union(hint) and NoneType in get_args(hint)


def _fields(record: type) -> str:
    return "".join(f"  {line},\n" for line in _field_shapes(record))


def _field_shapes(record: type) -> list[str]:
    hints = get_type_hints(record)
    return [f"{field.name}: {_field(field, hints[field.name])}" for field in msgspec.structs.fields(record)]


def _field(field: msgspec.structs.FieldInfo, hint: Any) -> str:
    shape = _shape(hint)
    if field.required:
        return f'["optional", {shape}]' if _nullable(hint) else shape
    factory = field.default_factory
    default = field.default if factory is msgspec.NODEFAULT else factory()
    return f'["optional", {shape}]' if default is None else f'["optional", {shape}, {json.dumps(default)}]'


def _shape(hint: Any) -> str:
    if hint is int:
        return '"integer"'
    origin, args = get_origin(hint), get_args(hint)
    if origin is list:
        return f'["list", {_shape(args[0])}]'
    if origin is dict:
        return '"object"'
    if origin is Literal:
        return '"string"'  # a newer server may know another value
    if _is_union(hint):
        (shape,) = [_shape(arg) for arg in args if arg is not NoneType]
        return shape
    return f'"{_PLAIN[hint]}"' if hint in _PLAIN else _constant(hint)


def _event(kind: type) -> str:
    shape = _constant(kind) if kind in _SHAPES else f"{{ {', '.join(_field_shapes(kind))} }}"
    return f"  {_tag(kind)}: {shape},\n"


def _field_docs(record: type) -> dict[str, str]:
    """The texts below a record's fields."""
    body = ast.parse(inspect.getsource(record)).body[0]
    return dict(_documented(body.body if isinstance(body, ast.ClassDef) else []))


def _documented(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(said))):
                yield key, said
            case _:
                pass


def error_kinds() -> list[type[HeadraceError]]:
    """The errors that are raised, parents before their children."""
    return [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, HeadraceError) and kind not in (HeadraceError, RequestError)
    ]


def _errors() -> str:
    kinds = error_kinds()
    codes = "".join(f"\n  {_doc(inspect.getdoc(kind)).strip()}\n  | {json.dumps(kind.code)}" for kind in kinds)
    rows = "".join(f"  {kind.code}: {_error(kind)},\n" for kind in kinds)
    row = "readonly [status: number, retryable: boolean, family: string]"
    return (
        f"/** What can go wrong. */\nexport type ErrorCode ={codes};\n\n"
        "/** Of each code its HTTP status (0 for none), whether to retry, and its class; parents come first. */\n"
        f"export const ERRORS: {{ readonly [code in ErrorCode]: {row} }} = {{\n{rows}}};\n"
    )


def _error(kind: type[HeadraceError]) -> str:
    family = next(family.__name__ for family in _FAMILIES if issubclass(kind, family))
    return json.dumps([kind.status, kind.retryable, family])
