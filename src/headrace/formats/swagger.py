"""OpenAPI documents of version 2, which was called Swagger: their parts in the form of version 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

_ABOUT_ITSELF: Final = ("name", "in", "required", "description", "collectionFormat", "allowEmptyValue")
_FORM: Final = "application/x-www-form-urlencoded"


def is_swagger(document: Mapping[str, Any]) -> bool:
    """True for a document of version 2."""
    return str(document.get("swagger", "")).startswith("2")


def servers(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """The API's addresses: the document's host, by each scheme; without a host, a path on the document's own."""
    host, path = str(document.get("host") or ""), str(document.get("basePath") or "/")
    named = document.get("schemes")
    schemes = [str(scheme) for scheme in named] if isinstance(named, list) else ["https"]
    known = sorted({scheme for scheme in schemes if scheme in ("http", "https")}, reverse=True)
    return [{"url": f"{scheme}://{host}{path}"} for scheme in known] if host else [{"url": path}]


def operation(
    entries: Sequence[Any], given: Mapping[str, Any], document: Mapping[str, Any], target: Callable[[Any], Any]
) -> dict[str, Any]:
    """An operation with the parameters `entries`; `target` follows references."""
    parameters: list[dict[str, Any]] = []
    form: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    content: dict[str, Any] = {}
    for entry in [found for found in map(target, entries) if isinstance(found, dict)]:
        place = entry.get("in")
        if place == "body":
            content = {"application/json": {"schema": entry.get("schema")}}
        elif place == "formData" and entry.get("type") != "file":
            form["properties"][str(entry.get("name"))] = _plain(entry)
            form["required"] += [str(entry.get("name"))] if entry.get("required") else []
        elif place != "formData":
            parameters.append(_parameter(entry))
    if form["properties"]:
        consumed = given.get("consumes") or document.get("consumes")
        content = {"application/json" if consumed == ["application/json"] else _FORM: {"schema": form}}
    return {**given, "parameters": parameters, **({"requestBody": {"content": content}} if content else {})}


def _parameter(entry: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: entry[name] for name in ("name", "in", "required", "description") if name in entry}
    several = entry.get("type") == "array" and entry.get("collectionFormat") == "multi"
    return {**kept, "explode": several, "schema": _plain(entry)}


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The parameter's schema, which stands in the parameter itself here."""
    return {name: value for name, value in entry.items() if name not in _ABOUT_ITSELF}
