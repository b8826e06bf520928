"""Validation of values by JSON Schema. Both may be hostile: the schema comes from a tool's server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError
from jsonschema.validators import extend

_MOST: Final = 100_000  # keywords that are held against values: a tenth of a second or two
# Patterns and uniqueness could take for ever. References could lead in circles, and those to other servers would be
# fetched: whoever makes a tool resolves them.
_UNCHECKED: Final = (
    "pattern patternProperties uniqueItems unevaluatedItems unevaluatedProperties $ref $dynamicRef"
).split()
_NO_FORMATS: Final = FormatChecker(())
_left: ContextVar[int] = ContextVar("left")


class _TooMuchError(Exception):
    """Raised when a check takes too many steps."""


def _unchecked(*_: Any) -> tuple[()]:
    return ()


def _counted(check: Callable[..., Iterable[Any] | None]) -> Callable[..., Iterable[Any] | None]:
    def counted(*given: Any) -> Iterable[Any] | None:
        _left.set(_left.get() - 1)
        if _left.get() < 0:
            raise _TooMuchError
        return check(*given)

    return counted


_Validator = extend(
    Draft202012Validator,
    {name: _counted(check) for name, check in Draft202012Validator.VALIDATORS.items()}
    | dict.fromkeys(_UNCHECKED, _unchecked),
)


def mismatch(schema: Mapping[str, Any], value: Any) -> str:
    """The validation error, or "". An invalid schema accepts everything."""
    _left.set(_MOST)
    try:
        Draft202012Validator.check_schema(schema, format_checker=_NO_FORMATS)
        for error in _Validator(schema).iter_errors(value):
            return f"{error.message[:1000]} at {error.json_path[:200]}"  # which hold the value
    except (RecursionError, _TooMuchError):
        return "it is too large, or nested too deep, to be checked"
    except (SchemaError, ArithmeticError):
        pass
    return ""
