"""Zod schemas as flows carry them: read as data, never run. `z.object({title: z.string()})` becomes JSON Schema.

What is read: objects, arrays, the simple types, enums, literals, unions, records, and their usual refinements. A
comment behind a field describes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<name>[A-Za-z_$][\w$]*)|(?P<number>-?\d+(?:\.\d+)?)"""
    r"""|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`)|(?P<regex>/(?:[^/\\\n]|\\.)+/\w*)|(?P<sign>[.(){}\[\]:,]))""",
    re.DOTALL,
)
_DEEPEST: Final = 50  # levels of the text, and 100 of the schema: neither is a place to exhaust the stack
_STRING_FORMATS: Final = {"email": "email", "url": "uri", "uuid": "uuid", "datetime": "date-time", "date": "date"}
_IGNORED: Final = frozenset(("strict", "passthrough", "strip", "trim", "readonly", "brand", "cuid", "finite", "safe"))


class Token(NamedTuple):
    """A piece of the text: what it is and how it is written."""

    kind: str
    text: str
    at: int


class Reading:
    """A schema on its way through the parser. Raises ValueError that names the place."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._cut())
        self._next = 0
        self._depth = 0

    def _cut(self) -> Any:
        at, end = 0, len(self._text.rstrip().rstrip(";").rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at, end)
            if not found:
                raise self.wrong("there is something that no schema has", at)
            kind = str(found.lastgroup)
            yield Token(kind, found[kind], found.start(kind))
            at = found.end()

    def wrong(self, what: str, at: int | None = None) -> ValueError:
        """The error for a place in the text."""
        at = self._peek().at if at is None else at
        return ValueError(f"the schema cannot be read at {self._text[at : at + 30]!r}: {what}")

    def schema(self) -> dict[str, Any]:
        """The whole text as one schema."""
        found, _ = self._type()
        self._comment()
        if self._next < len(self._tokens):
            raise self.wrong("there is more behind the schema")
        self._measure(found)
        return found

    def _measure(self, found: dict[str, Any]) -> None:
        """Chains of calls make a schema deeper than its text: `z.string().nullable().nullable()`…"""
        level: list[Any] = [found]
        for _ in range(2 * _DEEPEST):
            inner = [each.values() if isinstance(each, dict) else each for each in level]
            level = [each for values in inner for each in values if isinstance(each, dict | list)]
        if level:
            raise self.wrong("it is nested too deeply", 0)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self.wrong("it is nested too deeply")

    def _ahead(self) -> int:
        """The position of the next token that is no comment."""
        place = self._next
        while place < len(self._tokens) and self._tokens[place].kind == "comment":
            place += 1
        return place

    def _peek(self) -> Token:
        place = self._ahead()
        return self._tokens[place] if place < len(self._tokens) else Token("end", "", len(self._text))

    def _comment(self) -> str:
        """Takes the comments at this place and returns their text."""
        ahead = self._ahead()
        said = [token.text.strip("/* \n") for token in self._tokens[self._next : ahead]]
        self._next = ahead
        return " ".join(said)

    def _take(self, text: str = "") -> Token:
        token = self._peek()
        if token.kind == "end" or (text and token.text != text):
            raise self.wrong(f"{text!r} is missing" if text else "it ends too early")
        self._next = self._ahead() + 1
        return token

    def _took(self, text: str) -> bool:
        token = self._peek()
        if token.text == text and token.kind == "sign":
            self._next = self._ahead() + 1
            return True
        return False

    def _type(self) -> tuple[dict[str, Any], bool]:
        """A schema, and whether it may be left out."""
        self._deeper()
        self._take("z")
        self._take(".")
        name = self._take().text
        kind = _TYPES.get(name)
        if kind is None:
            raise self.wrong(f"z.{name} is not known here")
        self._take("(")
        found = kind(self)
        optional = False
        while self._took("."):
            optional = self._refined(found) or optional
        self._depth -= 1
        return found, optional

    def _refined(self, found: dict[str, Any]) -> bool:
        """Takes one call in; says whether it makes the value optional."""
        name = self._take().text
        self._take("(")
        if name in ("array", "or"):
            inner = dict(found)
            found.clear()
            found |= {"type": "array", "items": inner} if name == "array" else {"anyOf": [inner, self._type()[0]]}
            self._take(")")
            return False
        given = self._values()
        first = given[0] if given else None
        match name:
            case "optional" | "nullish":
                return True
            case "nullable":
                inner = dict(found)
                found.clear()
                found["anyOf"] = [inner, {"type": "null"}]
            case "describe" if isinstance(first, str):
                found["description"] = first
            case "default":
                found["default"] = first
                return True
            case _ if not _refine(found, name, first):
                raise self.wrong(f".{name}() is not known here, or not with this argument")
            case _:
                pass
        return False

    def _values(self) -> list[Any]:
        """The arguments of a call, up to its closing parenthesis."""
        values: list[Any] = []
        while not self._took(")"):
            values.append(self._value())
            self._took(",")
        return values

    def _value(self) -> Any:
        token = self._take()
        match token.kind, token.text:
            case "text", _:
                return unquoted(token.text)
            case "number", _:
                return msgspec.json.decode(token.text)
            case "regex", _:
                return token.text[1 : token.text.rindex("/")]
            case "name", "true" | "false" | "null":
                return msgspec.json.decode(token.text)
            case "sign", "[" | "{":
                self._deeper()
                values = self._until("]") if token.text == "[" else self._members()
                self._depth -= 1
                return values
            case _:
                self._next -= 1
                raise self.wrong("a value is expected")

    def _until(self, end: str) -> list[Any]:
        values: list[Any] = []
        while not self._took(end):
            values.append(self._value())
            self._took(",")
        return values

    def _members(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not self._took("}"):
            key = self._key()
            values[key] = self._value()
            self._took(",")
        return values

    def _key(self) -> str:
        token = self._take()
        if token.kind not in ("name", "text", "number"):
            raise self.wrong("a field's name is expected", token.at)
        self._take(":")
        return unquoted(token.text) if token.kind == "text" else token.text

    def object(self) -> dict[str, Any]:
        """Behind `z.object(`."""
        self._take("{")
        fields: dict[str, Any] = {}
        required: list[str] = []
        while not self._took("}"):
            key = self._key()
            fields[key], optional = self._type()
            if not optional:
                required.append(key)
            self._took_comma_and_comment(fields[key])
        self._take(")")
        return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}

    def _took_comma_and_comment(self, field: dict[str, Any]) -> None:
        """A comment stands before the comma or behind it, and describes the field in front."""
        said = self._comment()
        if self._took(","):
            said = said or self._comment()
        if said:
            field.setdefault("description", said)

    def array(self) -> dict[str, Any]:
        """Behind `z.array(`."""
        items, _ = self._type()
        self._take(")")
        return {"type": "array", "items": items}

    def union(self) -> dict[str, Any]:
        """Behind `z.union(`."""
        self._take("[")
        options: list[dict[str, Any]] = []
        while not self._took("]"):
            options.append(self._type()[0])
            self._took(",")
        self._take(")")
        return {"anyOf": options}

    def record(self) -> dict[str, Any]:
        """Behind `z.record(`: of values, or of keys and values."""
        kinds = [self._type()[0]]
        if self._took(","):
            kinds.append(self._type()[0])
        self._take(")")
        return {"type": "object", "additionalProperties": kinds[-1]}

    def enum(self) -> dict[str, Any]:
        """Behind `z.enum(`."""
        given = self._values()
        if not given or not isinstance(given[0], list):
            raise self.wrong("z.enum needs a list of texts")
        return {"type": "string", "enum": given[0]}

    def literal(self) -> dict[str, Any]:
        """Behind `z.literal(`."""
        given = self._values()
        if not given:
            raise self.wrong("z.literal needs a value")
        return {"const": given[0]}

    def plain(self, **schema: Any) -> dict[str, Any]:
        """Behind the opening of a type without arguments that count."""
        self._values()
        return schema


def _plain(**schema: Any) -> Callable[[Reading], dict[str, Any]]:
    return lambda reading: reading.plain(**schema)


_TYPES: Final[dict[str, Callable[[Reading], dict[str, Any]]]] = {
    "object": Reading.object,
    "array": Reading.array,
    "union": Reading.union,
    "record": Reading.record,
    "enum": Reading.enum,
    "literal": Reading.literal,
    "string": _plain(type="string"),
    "number": _plain(type="number"),
    "bigint": _plain(type="integer"),
    "boolean": _plain(type="boolean"),
    "date": _plain(type="string", format="date-time"),
    "null": _plain(type="null"),
    "any": _plain(),
    "unknown": _plain(),
}


def _refine(found: dict[str, Any], name: str, value: Any) -> bool:
    """Narrows a schema by one refinement; says whether it is known."""
    sizes = {"string": "Length", "array": "Items"}.get(str(found.get("type")), "")
    match name:
        case "min" | "max" | "length" | "gte" | "lte" | "gt" | "lt" if not isinstance(value, int | float):
            return False
        case "min" | "max" | "length" | "gte" | "lte" | "nonempty":
            least, most = (f"min{sizes}", f"max{sizes}") if sizes else ("minimum", "maximum")
            found |= {least: 1 if name == "nonempty" else value} if name not in ("max", "lte") else {}
            found |= {most: value} if name in ("max", "lte", "length") else {}
        case "gt" | "lt":
            found["exclusiveMinimum" if name == "gt" else "exclusiveMaximum"] = value
        case "int":
            found["type"] = "integer"
        case "positive" | "nonnegative":
            found["exclusiveMinimum" if name == "positive" else "minimum"] = 0
        case "regex":
            return _pattern(found, value)
        case _ if name in _STRING_FORMATS:
            found["format"] = _STRING_FORMATS[name]
        case _:
            return name in _IGNORED
    return True


def _pattern(found: dict[str, Any], value: Any) -> bool:
    """Takes a pattern in, if it means something outside of JavaScript too."""
    try:
        re.compile(value)
    except (re.error, TypeError, OverflowError, RecursionError):
        return False
    found["pattern"] = value
    return True


_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def unquoted(text: str) -> str:
    """The content of a quoted text."""
    said = re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|(.))",
        lambda found: chr(int(found[1], 16)) if found[1] else _ESCAPES.get(found[2], found[2]),
        text[1:-1],
        flags=re.DOTALL,
    )
    return said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # JavaScript writes pairs of them


def json_schema(text: str) -> dict[str, Any]:
    """The JSON Schema of a Zod schema. Raises ValueError that names the place that cannot be read."""
    return Reading(text).schema()
