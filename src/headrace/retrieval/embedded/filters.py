"""Metadata filters, as users of vector stores write them, turned into SQL with bound values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from headrace.errors import FlowError

_COMPARISONS = {"$eq": "IS", "$ne": "IS NOT", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_LISTS = ("$in", "$nin")
_JOINTS = {"$and": " AND ", "$or": " OR "}
_DEPTH = 20
_OPERATORS = ", ".join([*_COMPARISONS, *_LISTS, "$exists", *_JOINTS, "$not"])
_VALUE = "json_extract(chunk.metadata, ?)"


class Condition(NamedTuple):
    """A piece of SQL over the table `chunk`, and the values for its question marks."""

    sql: str
    values: tuple[Any, ...] = ()


def condition(wanted: Mapping[str, Any], depth: int = 0) -> Condition:
    """The filter's condition. Raises FlowError for an operator that does not exist or a value that does not fit it."""
    if depth > _DEPTH:
        raise FlowError(f"the filter is nested more than {_DEPTH} deep: flatten it")
    return _joined(" AND ", [_entry(key, value, depth) for key, value in wanted.items()])


def _joined(joint: str, parts: Sequence[Condition]) -> Condition:
    if not parts:
        return Condition("1")
    sql = joint.join(f"({part.sql})" for part in parts)
    return Condition(sql, tuple(value for part in parts for value in part.values))


def _entry(key: str, value: Any, depth: int) -> Condition:
    if key in _JOINTS:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise FlowError(f"the filter's {key!r} takes a list of conditions")
        return _joined(_JOINTS[key], [condition(item, depth + 1) for item in value])
    if key == "$not":
        if not isinstance(value, dict):
            raise FlowError("the filter's '$not' takes a condition")
        inner = condition(value, depth + 1)
        return Condition(f"NOT coalesce({inner.sql}, 0)", inner.values)
    if key.startswith("$"):
        raise FlowError(f"the filter has no operator {key!r}: use one of {_OPERATORS}")
    path = _path(key)
    if isinstance(value, dict) and value and all(name.startswith("$") for name in value):
        return _joined(" AND ", [_compared(path, key, name, operand) for name, operand in value.items()])
    return _compared(path, key, "$in" if isinstance(value, list) else "$eq", value)


def _path(key: str) -> str:
    """A JSON path; dots lead into objects, as in `loc.pageNumber`."""
    if '"' in key or "\\" in key or not key:
        raise FlowError(f"the filter cannot look at the key {key!r}: quotes and backslashes are not possible in it")
    return "$" + "".join(f'."{part}"' for part in key.split("."))


def _compared(path: str, key: str, operator: str, operand: Any) -> Condition:
    if operator == "$exists":
        return Condition(f"json_type(chunk.metadata, ?) IS {'NOT ' if operand else ''}NULL", (path,))
    if operator in _LISTS:
        if not isinstance(operand, list):
            raise FlowError(f"the filter's {operator!r} for {key!r} takes a list")
        values = [_plain(key, item) for item in operand]
        marks = ", ".join("?" * len(values))
        found = f"coalesce({_VALUE} IN ({marks}), 0)"
        return Condition(found if operator == "$in" else f"NOT {found}", (path, *values))
    if operator not in _COMPARISONS:
        raise FlowError(f"the filter has no operator {operator!r}: use one of {_OPERATORS}")
    value = _plain(key, operand)
    compared = Condition(f"{_VALUE} {_COMPARISONS[operator]} ?", (path, value))
    if operator in ("$eq", "$ne"):
        return compared
    # SQLite puts every text after every number, so only like is compared with like.
    types = "('text')" if isinstance(value, str) else "('integer', 'real')"
    return Condition(f"{compared.sql} AND json_type(chunk.metadata, ?) IN {types}", (*compared.values, path))


def _plain(key: str, value: Any) -> str | int | float | None:
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise FlowError(f"the filter compares {key!r} with {value!r}: give a text, a number, true, false or null")
