"""Zod schemas as flows carry them: what is read, what is refused with its place, and that no text does harm."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from headrace.formats.zod import json_schema


def field(kind: str) -> Any:
    """The schema of one field."""
    return json_schema("z.object({f: " + kind + "})")["properties"]["f"]


STRING, NUMBER = {"type": "string"}, {"type": "number"}
FIELDS: dict[str, Any] = {
    "z.string()": STRING,
    "z.number()": NUMBER,
    "z.bigint()": {"type": "integer"},
    "z.boolean()": {"type": "boolean"},
    "z.date()": {"type": "string", "format": "date-time"},
    "z.null()": {"type": "null"},
    "z.any()": {},
    "z.unknown()": {},
    "z.number().int()": {"type": "integer"},
    "z.number().min(1).max(5)": {"type": "number", "minimum": 1, "maximum": 5},
    "z.number().gt(-0.5).lt(2)": {"type": "number", "exclusiveMinimum": -0.5, "exclusiveMaximum": 2},
    "z.number().gte(1).lte(2)": {"type": "number", "minimum": 1, "maximum": 2},
    "z.number().positive()": {"type": "number", "exclusiveMinimum": 0},
    "z.number().int().nonnegative()": {"type": "integer", "minimum": 0},
    "z.string().min(2).max(9)": {"type": "string", "minLength": 2, "maxLength": 9},
    'z.string().min(1, { message: "say it" })': {"type": "string", "minLength": 1},
    "z.string().length(3)": {"type": "string", "minLength": 3, "maxLength": 3},
    "z.string().nonempty()": {"type": "string", "minLength": 1},
    "z.string().email()": {"type": "string", "format": "email"},
    "z.string().url()": {"type": "string", "format": "uri"},
    "z.string().uuid().trim()": {"type": "string", "format": "uuid"},
    r"z.string().regex(/^a\/[b-d]+$/i)": {"type": "string", "pattern": r"^a\/[b-d]+$"},
    'z.enum(["a", "b"])': {"type": "string", "enum": ["a", "b"]},
    "z.enum(['a', `b`,])": {"type": "string", "enum": ["a", "b"]},
    'z.literal("x")': {"const": "x"},
    "z.literal(-2.5)": {"const": -2.5},
    "z.literal(null)": {"const": None},
    "z.array(z.string())": {"type": "array", "items": STRING},
    "z.array(z.string()).min(1).max(3)": {"type": "array", "items": STRING, "minItems": 1, "maxItems": 3},
    "z.string().array().nonempty()": {"type": "array", "items": STRING, "minItems": 1},
    "z.union([z.string(), z.number()])": {"anyOf": [STRING, NUMBER]},
    "z.string().or(z.number())": {"anyOf": [STRING, NUMBER]},
    "z.string().nullable()": {"anyOf": [STRING, {"type": "null"}]},
    "z.record(z.number())": {"type": "object", "additionalProperties": NUMBER},
    "z.record(z.string(), z.number())": {"type": "object", "additionalProperties": NUMBER},
    'z.string().describe("it\\u0027s \\"so\\"\\n\\ud83d\\ude00")': {"type": "string", "description": 'it\'s "so"\n😀'},
    "z.string().default('x')": {"type": "string", "default": "x"},
    "z.array(z.any()).default([{a: [1, true]}])": {"type": "array", "items": {}, "default": [{"a": [1, True]}]},
    "z.object({}).strict()": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
}


@pytest.mark.parametrize(("text", "expected"), FIELDS.items(), ids=FIELDS.keys())
def test_a_type_becomes_json_schema(text: str, expected: Any) -> None:
    assert field(text) == expected
    Draft202012Validator.check_schema(field(text))


def test_a_whole_schema_with_comments_and_optional_fields_is_read() -> None:
    found = json_schema("""
        // A film
        z.object({
            title: z.string(), // Its name
            "the year": z.number().int().optional() /* when it
                was shown */,
            1: z.string().nullish(),
            cast: z.array(z.object({ name: z.string().describe("who"), // not this
            })).default([]),
        });
    """)
    assert found["required"] == ["title"]
    assert list(found["properties"]) == ["title", "the year", "1", "cast"]
    assert found["properties"]["title"]["description"] == "Its name"
    assert found["properties"]["the year"]["description"].startswith("when it")
    assert found["properties"]["cast"]["items"]["properties"]["name"]["description"] == "who"


BROKEN: dict[str, str] = {
    "": "'z' is missing",
    "z": "'.' is missing",
    "z.object({": "ends too early",
    "z.object({a: z.string()": "ends too early",
    "z.object({a: z.string()}) z": "more behind the schema",
    "z.object({a z.string()})": "':' is missing",
    "z.object({a: string})": "'z' is missing",
    "z.object({[a]: z.string()})": "a field's name is expected",
    "z.tuple([z.string()])": "z.tuple is not known here",
    "z.coerce.number()": "z.coerce is not known here",
    "z.string().transform(x => x)": "there is something that no schema has",
    "z.string().refine(check)": "a value is expected",
    "z.string().partial()": ".partial() is not known here",
    "z.string().min()": ".min() is not known here, or not with this argument",
    'z.string().max("x")': ".max() is not known here, or not with this argument",
    "z.number().gt(null)": ".gt() is not known here, or not with this argument",
    "z.string().describe()": ".describe() is not known here, or not with this argument",
    "z.string().regex()": ".regex() is not known here, or not with this argument",
    "z.string().regex(/(?<year>[0-9]/)": ".regex() is not known here, or not with this argument",
    "z.enum()": "z.enum needs a list",
    "z.enum('a')": "z.enum needs a list",
    "z.literal()": "z.literal needs a value",
    "z.literal(process)": "a value is expected",
    "require('fs')": "'z' is missing",
    "z.string('unclosed)": "there is something that no schema has",
    "z.array(" * 60 + "z.string()" + ")" * 60: "nested too deeply",
    "z.string()" + ".nullable()" * 500: "nested too deeply",
    "z.any().default(" + "[" * 5000 + "]" * 5000 + ")": "nested too deeply",
    "z.any().default(" + "{a:" * 5000 + "1" + "}" * 5000 + ")": "nested too deeply",
}


@pytest.mark.parametrize(("text", "message"), BROKEN.items(), ids=[text[:40] for text in BROKEN])
def test_what_cannot_be_read_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="the schema cannot be read at") as caught:
        json_schema(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


def test_the_deepest_schema_that_is_read_can_be_written_and_used() -> None:
    found = json_schema("z.string()" + ".nullable()" * 48)
    assert msgspec.json.encode(found)
    assert not list(Draft202012Validator(found).iter_errors("x"))
    assert list(Draft202012Validator(found).iter_errors(5))


PIECES = (
    "z . object string number array enum literal union record any min max length regex describe default nullable "
    "optional or int ( ) { } [ ] , : ; 1 -2.5 007 9e9 true null 'a' \"b\" `c` '\\u' '\\ud800' /x/ /(/ // /* */ a "
    "z.string() z.object({ .array() .optional() z.array( \n"
).split(" ")


@settings(deadline=1000, max_examples=500)
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=40).map("".join)))
def test_no_text_makes_the_reader_fail_otherwise_than_with_its_error(text: str) -> None:
    try:
        found = json_schema(text)
    except ValueError:
        return
    written = msgspec.json.encode(found)
    assert msgspec.json.decode(written) == found


@pytest.mark.parametrize(
    "piece", ["/*", "//", "'", "/", "(", "z.", "z.string().", "\\", "/a", "{a:", " ", "\n//\n", ";"]
)
def test_a_long_text_is_read_or_refused_at_once(piece: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        json_schema("z.object({a: " + piece * 20_000)


simple = st.sampled_from(["z.string()", "z.number()", "z.boolean()", "z.any()", 'z.enum(["x"])', "z.string().min(1)"])
nested = st.recursive(
    simple,
    lambda inner: st.one_of(
        inner.map("z.array({})".format),
        inner.map("{}.nullable()".format),
        st.dictionaries(st.from_regex(r"[a-z]{1,3}", fullmatch=True), inner, max_size=3).map(
            lambda fields: "z.object({" + ", ".join(f"{key}: {kind}" for key, kind in fields.items()) + "})"
        ),
    ),
    max_leaves=8,
)


@settings(deadline=1000)
@given(nested)
def test_any_schema_of_known_parts_is_read_as_valid_json_schema(text: str) -> None:
    Draft202012Validator.check_schema(json_schema(text))
