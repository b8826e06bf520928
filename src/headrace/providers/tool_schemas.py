"""JSON Schemas of tools in a form that every provider takes, whichever draft they were written in.

One schema that a provider does not take has the whole request refused. What is left out is checked all the same, when
the model's arguments are there: a schema only tells the model less than it could.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_DEEPEST: Final = 32  # schemas within schemas
_INNER: Final = frozenset(("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"))
_NAMED: Final = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
_LISTED: Final = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))
_DROPPED: Final = frozenset(("$schema", "$id", "id", "$comment", "dependencies", "additionalItems", "example"))
_DEFS: Final = "#/$defs/"
_TYPES: Final = frozenset(("string", "number", "integer", "boolean", "object", "array", "null"))
# https://ai.google.dev/api/caching#FunctionDeclaration, `parametersJsonSchema`
_GEMINI: Final = frozenset(
    "type title description enum items prefixItems minItems maxItems minimum maximum anyOf properties "
    "additionalProperties required $ref $defs format".split()
)
_GEMINI_FORMATS: Final = frozenset(("date-time", "date", "time", "int32", "int64", "float", "double"))


def portable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments: an object with `properties` and no alternatives at its top."""
    kept = _kept(schema, 0)
    if isinstance(reference := kept.pop("$ref", None), str):
        found = (kept.get("$defs") or {}).get(reference.removeprefix(_DEFS), {})
        kept = {**found, **kept}
    for name in ("allOf", "anyOf", "oneOf"):
        _spread(kept, name)
    for name in ("enum", "not", "const", "if", "then", "else"):
        kept.pop(name, None)
    return {**kept, "type": "object", "properties": kept.get("properties") or {}}


def for_gemini(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same in the part of JSON Schema that Gemini knows."""
    return _known(portable(schema))


def _spread(schema: dict[str, Any], name: str) -> None:
    """Puts alternatives for the whole into it: what all of them must have is required, what some have is allowed."""
    parts = [part for part in schema.pop(name, None) or () if isinstance(part, dict)]
    required = [set(_texts(part.get("required"))) for part in parts]
    for part in parts:
        schema["properties"] = {**(part.get("properties") or {}), **(schema.get("properties") or {})}
    if required:
        wanted = set.union(*required) if name == "allOf" else set.intersection(*required)
        if more := [*_texts(schema.get("required")), *sorted(wanted - set(_texts(schema.get("required"))))]:
            schema["required"] = more


def _kept(schema: Any, depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:  # true and false are schemas too
        return {}
    kept: dict[str, Any] = {}
    for name, value in schema.items():
        if name not in _DROPPED:
            _keep(kept, str(name), value, depth + 1)
    _bound(kept, "minimum", "exclusiveMinimum")
    _bound(kept, "maximum", "exclusiveMaximum")
    _typed(kept, schema)
    if "array" in _types(kept):
        kept.setdefault("items", {})
    if "object" in _types(kept):
        kept.setdefault("properties", {})
    if "required" in kept and not isinstance(kept["required"], list):  # draft 3 says it at each property
        del kept["required"]
    if needed := [key for key, part in _named(schema) if isinstance(part, Mapping) and part.get("required") is True]:
        kept["required"] = [*kept.get("required", ()), *needed]
    return kept


def _keep(kept: dict[str, Any], name: str, value: Any, depth: int) -> None:
    if name == "items" and isinstance(value, list):  # a tuple, before draft 2020-12
        kept["prefixItems"] = [_kept(part, depth) for part in value]
        kept["items"] = {"anyOf": kept["prefixItems"]} if value else {}
    elif name in _INNER:
        kept[name] = value if isinstance(value, bool) and name == "additionalProperties" else _kept(value, depth)
    elif name in _NAMED:
        name = "$defs" if name == "definitions" else name
        kept[name] = {str(key): _kept(part, depth) for key, part in value.items()} if isinstance(value, dict) else {}
    elif name in _LISTED:
        if parts := [_kept(part, depth) for part in value] if isinstance(value, list) else []:
            kept[name] = parts
    elif name == "$ref":
        kept[name] = str(value).replace("#/definitions/", _DEFS)
    elif name == "enum":
        if isinstance(value, list) and value:
            kept[name] = value
    elif value is not None or name in ("default", "const"):
        kept[name] = value


def _named(schema: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    properties = schema.get("properties")
    return [(str(key), part) for key, part in properties.items()] if isinstance(properties, Mapping) else []


def _bound(schema: dict[str, Any], bound: str, exclusive: str) -> None:
    """Draft 4 says with a boolean that a bound is exclusive."""
    if isinstance(strict := schema.get(exclusive), bool):
        del schema[exclusive]
        if strict and bound in schema:
            schema[exclusive] = schema.pop(bound)


def _typed(schema: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Leaves types that are none, adds `null` where OpenAPI says `nullable`, and the type that keywords imply."""
    types = [each for each in _types(schema) if each in _TYPES]
    if schema.pop("nullable", None) is True and types and "null" not in types:
        types.append("null")
    if not types and "type" not in given and "properties" in schema:
        types = ["object"]
    schema.pop("type", None)
    if types:
        schema["type"] = types if len(types) > 1 else types[0]


def _types(schema: Mapping[str, Any]) -> list[str]:
    found = schema.get("type")
    return [each.lower() for each in _texts(found if isinstance(found, list) else [found])]


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _known(schema: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if "const" in schema:
        kept["enum"] = [schema["const"]]
    for name, value in schema.items():
        if name in ("oneOf", "allOf") and "anyOf" not in schema:
            name = "anyOf"
        if name in _GEMINI and (name != "format" or value in _GEMINI_FORMATS):
            kept[name] = _known_part(name, value)
    if "enum" in kept:
        kept["enum"] = [value for value in kept["enum"] if value != ""]  # an empty one is refused
        if not kept["enum"]:
            del kept["enum"]
    for strict, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if strict in schema:
            kept.setdefault(bound, schema[strict])
    if "$ref" in kept:  # which may have no neighbours
        return {"$ref": kept["$ref"]}
    return kept


def _known_part(name: str, value: Any) -> Any:
    if name in ("properties", "$defs"):
        return {key: _known(part) for key, part in value.items()}
    if name in ("anyOf", "prefixItems"):
        return [_known(part) for part in value]
    return _known(value) if name in ("items", "additionalProperties") and isinstance(value, Mapping) else value
