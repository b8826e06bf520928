"""Metadata filters, as users of vector stores write them, turned into SQL with bound values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from headrace.errors import FlowError

_COMPARISONS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")
_ORDERS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_LISTS = ("$in", "$nin")
_JOINTS = {"$and": " AND ", "$or": " OR "}
_DEPTH = 20
_OPERATORS = ", ".join([*_COMPARISONS, *_LISTS, "$exists", *_JOINTS, "$not"])


class Condition(NamedTuple):
    """A piece of SQL over the table `chunk`, and the values for its question marks."""

    sql: str
    values: tuple[Any, ...] = ()


class _Sqlite:
    """SQLite's words for a member of the metadata: it puts every text after every number, and knows no booleans."""

    value = "json_extract(chunk.metadata, ?)"
    kind = "json_type(chunk.metadata, ?)"
    mark, same, other = "?", "IS", "IS NOT"
    texts, numbers = "('text')", "('integer', 'real')"
    text, text_mark = value, "?"

    def path(self, parts: Sequence[str]) -> Any:
        return "$" + "".join(f'."{part}"' for part in parts)

    def operand(self, value: str | float | None) -> Any:
        return value


class _PostgreSQL:
    """PostgreSQL's words for the same, so that the same metadata are found: true is 1 there too."""

    kind = "jsonb_typeof(CAST(chunk.metadata AS jsonb) #> ?)"
    value = (
        "(SELECT CASE jsonb_typeof(found) WHEN 'null' THEN NULL "
        "WHEN 'boolean' THEN to_jsonb(CAST(found = 'true' AS int)) ELSE found END "
        "FROM (SELECT CAST(chunk.metadata AS jsonb) #> ? AS found) AS member)"
    )
    text, text_mark = "(CAST(chunk.metadata AS jsonb) #>> ?)", '? COLLATE "C"'
    mark, same, other = "CAST(? AS jsonb)", "IS NOT DISTINCT FROM", "IS DISTINCT FROM"
    texts, numbers = "('string')", "('number')"

    def path(self, parts: Sequence[str]) -> Any:
        return list(parts)

    def operand(self, value: str | float | None) -> Any:
        if value is None:
            return None
        return msgspec.json.encode(int(value) if isinstance(value, bool) else value).decode()


def condition(c: Connection, wanted: Mapping[str, Any]) -> Condition:
    """The filter's condition for this database. Raises FlowError for an operator that does not exist or a value that
    does not fit it."""
    return _Filter(_PostgreSQL() if c.dialect.name == "postgresql" else _Sqlite()).condition(wanted)


class _Filter:
    def __init__(self, words: _Sqlite | _PostgreSQL) -> None:
        self._words = words

    def condition(self, wanted: Mapping[str, Any], depth: int = 0) -> Condition:
        if depth > _DEPTH:
            raise FlowError(f"the filter is nested more than {_DEPTH} deep: flatten it")
        return _joined(" AND ", [self._entry(key, value, depth) for key, value in wanted.items()])

    def _entry(self, key: str, value: Any, depth: int) -> Condition:
        if key in _JOINTS:
            if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
                raise FlowError(f"the filter's {key!r} takes a list of conditions")
            return _joined(_JOINTS[key], [self.condition(item, depth + 1) for item in value])
        if key == "$not":
            if not isinstance(value, dict):
                raise FlowError("the filter's '$not' takes a condition")
            inner = self.condition(value, depth + 1)
            return Condition(f"NOT coalesce({inner.sql}, false)", inner.values)
        if key.startswith("$"):
            raise FlowError(f"the filter has no operator {key!r}: use one of {_OPERATORS}")
        path = self._words.path(_parts(key))
        if isinstance(value, dict) and value and all(name.startswith("$") for name in value):
            return _joined(" AND ", [self._compared(path, key, name, operand) for name, operand in value.items()])
        return self._compared(path, key, "$in" if isinstance(value, list) else "$eq", value)

    def _compared(self, path: Any, key: str, operator: str, operand: Any) -> Condition:
        words = self._words
        if operator == "$exists":
            return Condition(f"{words.kind} IS {'NOT ' if operand else ''}NULL", (path,))
        if operator in _LISTS:
            if not isinstance(operand, list):
                raise FlowError(f"the filter's {operator!r} for {key!r} takes a list")
            values = [words.operand(_plain(key, item)) for item in operand]
            found = (
                f"coalesce({words.value} IN ({', '.join([words.mark] * len(values))}), false)" if values else "false"
            )
            return Condition(found if operator == "$in" else f"NOT {found}", (path, *values) if values else ())
        if operator not in _COMPARISONS:
            raise FlowError(f"the filter has no operator {operator!r}: use one of {_OPERATORS}")
        value = _plain(key, operand)
        if operator not in _ORDERS:
            sign = words.same if operator == "$eq" else words.other
            return Condition(f"{words.value} {sign} {words.mark}", (path, words.operand(value)))
        # Only like is compared with like.
        if isinstance(value, str):
            compared = Condition(f"{words.text} {_ORDERS[operator]} {words.text_mark}", (path, value))
            return Condition(f"{compared.sql} AND {words.kind} IN {words.texts}", (*compared.values, path))
        sql = f"{words.value} {_ORDERS[operator]} {words.mark} AND {words.kind} IN {words.numbers}"
        return Condition(sql, (path, words.operand(value), path))


def _joined(joint: str, parts: Sequence[Condition]) -> Condition:
    if not parts:
        return Condition("true")
    sql = joint.join(f"({part.sql})" for part in parts)
    return Condition(sql, tuple(value for part in parts for value in part.values))


def _parts(key: str) -> list[str]:
    """The names that lead to a member; dots lead into objects, as in `loc.pageNumber`."""
    if '"' in key or "\\" in key or not key:
        raise FlowError(f"the filter cannot look at the key {key!r}: quotes and backslashes are not possible in it")
    return key.split(".")


def _plain(key: str, value: Any) -> str | int | float | None:
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise FlowError(f"the filter compares {key!r} with {value!r}: give a text, a number, true, false or null")
