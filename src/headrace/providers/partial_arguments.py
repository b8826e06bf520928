"""Arguments of a Gemini call that come value by value, each with its place: `{"jsonPath": "$.a", "boolValue": 1}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_STEP: Final = re.compile(r"""\.?([^.\[\]]+)|\[(\d{1,20})\]|\[['"]([^'"]*)['"]\]""")
_MOST: Final = 10_000  # places of a list
_VALUES: Final = ("stringValue", "numberValue", "boolValue", "nullValue")


class PartialArguments:
    """The arguments of one call so far."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}
        self._open = ""  # the place whose text goes on

    def add(self, part: Mapping[str, Any]) -> None:
        """Adds a value, or a further piece of a text. A part without a place or a value is left out."""
        place = part.get("jsonPath")
        name = next((name for name in _VALUES if name in part), None)
        steps = _steps(place) if isinstance(place, str) else []
        if not name or not steps or not isinstance(steps[0], str):
            return
        value = None if name == "nullValue" else part[name]
        _put(self.value, steps, value, joined=place == self._open)
        self._open = str(place) if part.get("willContinue") else ""


def _steps(place: str) -> list[str | int]:
    """`$.a[0].b` as `["a", 0, "b"]`."""
    found = _STEP.finditer(place.removeprefix("$"))
    return [int(step[2]) if step[2] else step[1] or step[3] or "" for step in found]


def _put(root: dict[str, Any], steps: list[str | int], value: Any, *, joined: bool) -> None:
    box: Any = root
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if not _made(box, step):
            return  # the places do not fit each other
        before = box[step]
        if following is None:
            box[step] = before + value if joined and isinstance(before, str) and isinstance(value, str) else value
        elif before is None:
            box[step] = [] if isinstance(following, int) else {}
        box = box[step]


def _made(box: object, step: str | int) -> bool:
    """True when the box has such a place, made as null where it was missing."""
    match box, step:
        case list(), int() if step < _MOST:
            box.extend([None] * (step + 1 - len(box)))
        case dict(), str():
            box.setdefault(step, None)
        case _:
            return False
    return True
