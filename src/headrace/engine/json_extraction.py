"""JSON as models say it: alone, in a code fence, or with words around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from headrace.surrogates import all_whole, decoded

_FENCE: Final = re.compile(r"(?:```|~~~)[ \t]*\w*[ \t]*\n?")
_MOST_TRIALS: Final = 200  # braces and brackets that are looked at in one answer
_OPENING: Final = re.compile(r"[{\[]")
_DECODER: Final = json.JSONDecoder()


def extract_json(text: str) -> Any:
    """The value: the whole text if that is JSON, else what a fence holds, else the first object or list of objects.

    Raises ValueError that says what is wrong with the text as a whole. Fences inside a value are part of it.
    """
    text = text.strip().lstrip("\ufeff")
    try:
        return all_whole(decoded(text))
    except (ValueError, RecursionError) as error:
        wrong = f"JSON is malformed: {error}"
    for inner in _fenced(text):
        try:
            return all_whole(decoded(inner))
        except (ValueError, RecursionError):
            continue
    values = list(_values(text))
    if not values:
        raise ValueError(wrong)
    return all_whole(next(filter(_is_told, values), values[0]))


def extract_object(text: str) -> dict[str, Any]:
    """The same where it is an object. Raises ValueError."""
    value = extract_json(text)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def _is_told(value: Any) -> bool:
    """True for more than a mark in brackets, such as the number of a source."""
    return isinstance(value, dict) or (bool(value) and isinstance(value[0], dict | list))


def _fenced(text: str) -> Iterator[str]:
    """The text between the first fence and another one, the last one first."""
    if begun := _FENCE.search(text):
        inner = text[begun.end() :]
        yield inner
        ends = [found.start() for found in re.finditer("```|~~~", inner)]
        for end in reversed(ends[-_MOST_TRIALS:]):
            yield inner[:end]


def _values(text: str) -> Iterator[Any]:
    at = 0
    for _ in range(_MOST_TRIALS):
        found = _OPENING.search(text, at)
        if not found:
            return
        try:
            value, at = _DECODER.raw_decode(text, found.start())
            yield value
        except (ValueError, RecursionError):
            at = found.end()
