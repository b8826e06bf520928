"""Complaints about values of a wrong shape, in the words of JSON, with the place of the mistake."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_PLACE: Final = re.compile(r" - at `(.+)`$")
_MISSING: Final = re.compile(r"Object missing required field (`.+`)")
_UNKNOWN: Final = re.compile(r"Object contains unknown field (`.+`)")
_CHOICE: Final = re.compile(r"Invalid (?:enum )?value (.+)")
_EXPECTED: Final = re.compile(r"Expected `([^`]+)`(.*)")
_GOT: Final = re.compile(r"got `([^`]+)`")
_WORDS: Final = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
}


def complaint(error: msgspec.MsgspecError) -> str:
    """The mistake and its place, such as "expected a text, not a list at $.name"."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return text
    place = _PLACE.search(text)
    return f"{worded(_PLACE.sub('', text))} at {place[1] if place else '$'}"


def worded(text: str) -> str:
    """The mistake alone: the library's message without its place."""
    if found := _MISSING.fullmatch(text):
        return f"{found[1]} is missing"
    if found := _UNKNOWN.fullmatch(text):
        return f"{found[1]} is not known"
    if found := _CHOICE.fullmatch(text):
        return f"{found[1]} is none of the values that there are"
    if found := _EXPECTED.fullmatch(text):
        kinds = " or ".join(_kind(name) for name in found[1].split(" | "))
        return f"expected {kinds}{_GOT.sub(lambda got: f'not {_kind(got[1])}', found[2]).replace(', got ', ', not ')}"
    return text[:1].lower() + text[1:]


def _kind(name: str) -> str:
    return _WORDS.get(name, name)
