"""Schemas of tools, which may be hostile, held against arguments that a model wrote."""

from typing import Any

import pytest
from sites import Site

from headrace.engine.schemas import mismatch

DOUBLED = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)} | {"d60": {}}
ODD: dict[str, tuple[dict[str, Any], Any]] = {
    "references that double": ({"$defs": DOUBLED, "$ref": "#/$defs/d0"}, {"a": 1}),
    "itself": ({"allOf": [{"$ref": "#"}]}, {"a": 1}),
    "nowhere": ({"properties": {"a": {"$ref": "#/nowhere", "$dynamicRef": "#nobody"}}}, {"a": 1}),
    "a pattern that takes for ever": ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 50 + "!"}),
    "a pattern that is too deep": ({"properties": {"a": {"pattern": "(" * 5000}}}, {"a": 1}),
    "a pattern that is too large": ({"properties": {"a": {"pattern": "a{99999999999999}"}}}, {"a": 1}),
    "thousands to be unique": (
        {"properties": {"a": {"uniqueItems": True}}}, {"a": [{"x": n} for n in range(100_000)]}
    ),
    "a number beyond all": ({"properties": {"a": {"multipleOf": 0.1}}}, {"a": 10**400}),
    "no schema": ({"properties": 5, "required": "x"}, {}),
}  # fmt: skip


@pytest.mark.parametrize(("schema", "value"), ODD.values(), ids=ODD.keys())
def test_what_cannot_be_checked_is_let_through(schema: dict[str, Any], value: Any) -> None:
    assert mismatch({"type": "object", **schema}, value) == ""


def test_a_schema_cannot_make_the_server_fetch_another(web: Site) -> None:
    assert mismatch({"type": "object", "properties": {"a": {"$ref": f"{web.url}/schema"}}}, {"a": 1}) == ""
    assert web.visits == []


def test_what_would_take_too_long_is_refused() -> None:
    many = {"type": "array", "items": {"anyOf": [*[{"type": "null"}] * 99, {"type": "number"}]}}
    assert "too large" in mismatch(many, [1] * 2000)
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"not": deep}
    assert "too deep" in mismatch(deep, {})


def test_a_mismatch_is_told_in_few_words() -> None:
    told = mismatch({"properties": {"a": {"type": "number"}}}, {"a": "x" * 100_000})
    assert told.endswith("at $.a")
    assert len(told) < 2000
