"""The form that an agent flow begins with: its fields, and what a filled form may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.engine.overrides import read_json
from headrace.errors import FlowError, InvalidForm
from headrace.schema import NodeData

_NUMBER: Final = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")
_TRUTHS: Final = ("true", "false", "yes", "no")


class FormInput(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field of the form that a flow begins with."""

    type: str = "string"
    label: str = ""
    name: str = ""
    addOptions: list[dict[str, Any]] | str = []
    """The options of a field; the builder writes "" for fields without options."""

    @property
    def options(self) -> list[str]:
        """The values that may be chosen."""
        return [str(one.get("option")) for one in self.addOptions if isinstance(one, dict) and one.get("option")]

    def wrong(self, value: Any) -> str:
        """The reason for which this is no value of the field; "" where it is one."""
        match self.type:
            case "number" if not _is_number(value):
                return "it is not a number"
            case "boolean" if not (isinstance(value, bool) or str(value).lower() in _TRUTHS):
                return "it is not true or false"
            case "options" if self.options and value not in self.options:
                return f"it is none of {', '.join(map(repr, self.options))}"
            case "string" if not isinstance(value, (str, int, float)):
                return "it is not a text"
            case _:
                return ""


def form_of(start: NodeData) -> Sequence[FormInput]:
    """The fields of the form that a Start node wants; none when it begins with something else. Raises FlowError."""
    if start.inputs.get("startInputType") != "formInput":
        return ()
    try:
        return msgspec.convert(read_json(start.inputs.get("formInputTypes")) or [], list[FormInput])
    except msgspec.ValidationError as error:
        raise FlowError(f"the form of {start.id!r} cannot be read: {error}") from None


def check_form(fields: Sequence[FormInput], form: Mapping[str, Any]) -> None:
    """Raises InvalidForm that names each field that is missing or wrong; others may be there."""
    found: list[str] = []
    for field in filter(lambda one: one.name, fields):
        value = form.get(field.name)
        if reason := "it is missing" if value is None else field.wrong(value):
            found.append(f"{field.name!r}: {reason}")
    if found:
        raise InvalidForm(f"the form at $.form does not fit, {'; '.join(found)}")


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return _NUMBER.fullmatch(value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool)
