"""Whether a value has the form that a JSON Schema describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.validators import extend


def _unchecked(*_: Any) -> tuple[()]:
    return ()


# A flow's pattern on a model's text could take for ever to match, so patterns only go to the model.
_Validator = extend(Draft202012Validator, dict.fromkeys(("pattern", "patternProperties"), _unchecked))


def mismatch(schema: Mapping[str, Any], value: Any) -> str:
    """What is wrong with the value, or "". A schema that is none itself lets everything through."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        return ""
    for error in _Validator(schema).iter_errors(value):
        return f"{error.message} at {error.json_path}"
    return ""
