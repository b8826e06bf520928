"""Messages on values of a wrong shape: JSON's words and the place, nothing of the library or of classes."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from headrace.engine.complaints import complaint


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    count: int
    kind: Literal["a", "b"] = "a"
    name: str | UnsetType | None = UNSET
    short: Annotated[str, Meta(max_length=3)] = ""
    share: float = 0
    flag: bool = False
    either: dict[str, int] | str = ""
    parts: list["Thing"] = []
    pair: tuple[int, int] = (0, 0)


CASES: list[tuple[Any, str]] = [
    ({}, "`count` is missing at $"),
    ([], "expected an object, not a list at $"),
    (None, "expected an object, not null at $"),
    ({"count": "x"}, "expected a whole number, not a text at $.count"),
    ({"count": 1.5}, "expected a whole number, not a number at $.count"),
    ({"count": 1, "kind": "z"}, "'z' is none of the values that there are at $.kind"),
    ({"count": 1, "name": 5}, "expected a text or null, not a whole number at $.name"),
    ({"count": 1, "short": "long"}, "expected a text of length <= 3 at $.short"),
    ({"count": 1, "share": "x"}, "expected a number, not a text at $.share"),
    ({"count": 1, "flag": 1}, "expected true or false, not a whole number at $.flag"),
    ({"count": 1, "either": True}, "expected a text or an object, not true or false at $.either"),
    ({"count": 1, "either": {"x": "y"}}, "expected a whole number, not a text at $.either[...]"),
    ({"count": 1, "parts": [{}]}, "`count` is missing at $.parts[0]"),
    ({"count": 1, "pair": [1]}, "expected a list of length 2, not 1 at $.pair"),
    ({"count": 1, "more": 1}, "`more` is not known at $"),
]


@pytest.mark.parametrize(("value", "said"), CASES, ids=[said for _, said in CASES])
def test_a_mistake_is_told_in_words_of_json(value: Any, said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, Thing)
    assert complaint(caught.value) == said
