"""The form that a node of an agent flow wants its model's answer in, as JSON Schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from headrace.engine.complaints import complaint
from headrace.errors import FlowError

_LOOSE: dict[str, Any] = {"type": "object", "additionalProperties": True}


class FormField(msgspec.Struct, frozen=True):
    """A value that the answer has."""

    key: str
    type: Literal["string", "stringArray", "number", "boolean", "enum", "jsonArray"] = "string"
    enumValues: str = ""
    """A comma list."""
    jsonSchema: str = ""
    """For each item of a `jsonArray` its values: `{name: {type, description, required}}`."""
    description: str = ""


def form(fields: Sequence[FormField]) -> dict[str, Any]:
    """The schema of an object with all these values. Raises FlowError."""
    return _object({field.key: _described(_field(field), field.description) for field in fields})


def _object(properties: dict[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    names = list(properties) if required is None else list(required)
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _described(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {**schema, "description": description} if description else schema


def _field(field: FormField) -> dict[str, Any]:
    match field.type:
        case "string" | "number" | "boolean":
            return {"type": field.type}
        case "stringArray":
            return {"type": "array", "items": {"type": "string"}}
        case "enum":
            values = [value.strip() for value in field.enumValues.split(",") if value.strip()]
            if not values:
                raise FlowError(f"the structured output {field.key!r} is an enum without values: name some")
            return {"type": "string", "enum": values}
        case "jsonArray":
            return {"type": "array", "items": _item(field)}


def _item(field: FormField) -> dict[str, Any]:
    if not field.jsonSchema.strip():
        return _LOOSE
    try:
        values = msgspec.json.decode(field.jsonSchema, type=dict[str, dict[str, Any]])
    except msgspec.MsgspecError as error:
        raise FlowError(
            f"the JSON schema of the structured output {field.key!r} cannot be read: {complaint(error)}"
        ) from None
    if isinstance(properties := values.get("properties"), dict):  # a JSON Schema proper
        return {**values, "type": "object"}
    properties = {key: {k: v for k, v in value.items() if k != "required"} for key, value in values.items()}
    return _object(properties, [key for key, value in values.items() if value.get("required", True)])
