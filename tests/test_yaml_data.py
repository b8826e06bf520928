"""YAML as plain data: what it means, what is refused, and that what one library writes is read again."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headrace.formats.yaml_data import loaded

YAML: dict[str, Any] = {
    "{a: 12:30, b: 1:5.5, c: no, d: 2024-05-01, e: '7'}": {
        "a": "12:30", "b": "1:5.5", "c": "no", "d": "2024-05-01", "e": "7",
    },
    "[7, -7, 0x1F, 0o17, 017, 0.5, .5, 1e3, 1., 9999999999999999999, 1_000]": [
        7, -7, 31, 15, 17, 0.5, 0.5, 1000.0, 1.0, 1e19, "1_000",
    ],
    "[null, ~, true, False, .inf, <<, '<<', '']": [None, None, True, False, ".inf", "<<", "<<", ""],
    "a: |\n  one\n  two\nb: >-\n  one\n  two\n": {"a": "one\ntwo\n", "b": "one two"},
    "{a: &x {k: 1, l: 2}, b: {l: 3, <<: *x}, c: {<<: [{k: 4}, *x], m: 5}}": {
        "a": {"k": 1, "l": 2}, "b": {"l": 3, "k": 1}, "c": {"k": 4, "l": 2, "m": 5},
    },
    "{a: &x [1], b: *x, c: !!str 5, d: !!int '5', 7: e, ~: f}": {
        "a": [1], "b": [1], "c": "5", "d": 5, 7: "e", None: "f",
    },
    "": None,
    "--- # nothing": None,
}  # fmt: skip


@pytest.mark.parametrize("text", YAML)
def test_yaml_is_plain_data(text: str) -> None:
    assert loaded(text) == YAML[text]


@pytest.mark.parametrize(
    "text",
    [
        "a: *x", "[1", "{a: 1}}", "--- 1\n--- 2", "!!python/object/apply:os.system [id]", "!!binary aGk=",
        "!mine {a: 1}", "{[1]: 2}", "<<: 5", "<<: [5]", "!!set {a}", "!!omap [a: 1]", "\0",
    ],
)  # fmt: skip
def test_yaml_that_is_no_plain_data_is_refused(text: str) -> None:
    with pytest.raises((yaml.YAMLError, ValueError)):
        loaded(text)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet="ab:-#&*!|>'\"%@`{}[], \n\té😀", max_size=9)
)
KEYS = st.text(alphabet="ab: <\n", max_size=4)


@given(
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)),
    st.sampled_from([None, True, False]),
)
def test_what_is_written_as_yaml_is_read_again(value: Any, flow: bool | None) -> None:
    assert loaded(yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)) == value
    assert loaded(yaml.safe_dump(value, default_style='"')) == value
