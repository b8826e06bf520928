"""No regular expression takes the square of the time: each of the package's is run over long, monotonous texts."""

import ast
import re
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "headrace"
SEARCHES = ("search", "split", "sub", "subn", "findall", "finditer")  # `match` and `fullmatch` begin at one place only
REPEATED = [
    "a", "0", " ", "\n", ".", "<", "{", "`", "a.", "a b", " \n", "a\n", "|", "-", "#", "\\", '"', "'", "=", "_", "/",
    "[", "(", "$", "~", "> ", "a:", "{{a", "<a ", "<doc ", "```\n", "|-", "&amp", "a a.", "0.", "- a\n", "<!--",
]  # fmt: skip
LENGTH, SECONDS = 60_000, 30.0  # the square of one is beyond the other


class Late(Exception):
    """A pattern was still searching."""


@contextmanager
def bounded() -> Generator[None]:
    """Raises Late in what takes too long; a regular expression can be interrupted by a signal."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Pattern(NamedTuple):
    compiled: re.Pattern[str]
    searches: bool
    """True when it is looked for everywhere in a text, rather than at its beginning."""

    def run(self, text: str) -> None:
        if self.searches:
            for _ in self.compiled.finditer(text):
                pass
        else:
            self.compiled.match(text)


def ended(pattern: Pattern, text: str) -> bool:
    """True when the search has come to its end within the time."""
    try:
        with bounded():
            pattern.run(text)
    except Late:
        return False
    return True


def patterns() -> Iterator[tuple[str, Pattern]]:
    """The patterns that stand in the source as texts, by place."""
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        names = dict(assigned(tree))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            package, _, verb = ast.unparse(call.func).partition(".")
            if package != "re" or not call.args or not isinstance(given := call.args[0], ast.Constant):
                continue
            if isinstance(given.value, str) and verb in (*SEARCHES, "compile", "match", "fullmatch"):
                uses = re.findall(rf"\b{names.get(call)}\.(\w+)", text) if call in names else [verb]
                searches = not uses or any(use in SEARCHES for use in uses)
                yield f"{path.name}:{call.lineno}", Pattern(re.compile(given.value, flags(call)), searches)


def assigned(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """Values with the names that a module gives them."""
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and isinstance(targets[0], ast.Name):
            yield node.value, targets[0].id


def flags(call: ast.Call) -> int:
    named = [one.attr for one in ast.walk(call) if isinstance(one, ast.Attribute) and one.attr.isupper()]
    return int(sum({getattr(re, name) for name in named if hasattr(re, name)}))


FOUND = dict(patterns())


def test_the_patterns_are_found() -> None:
    assert len(FOUND) > 100
    assert any("safe_markdown.py" in place for place in FOUND)


@pytest.mark.parametrize("place", FOUND)
def test_a_pattern_searches_in_linear_time(place: str) -> None:
    pattern = FOUND[place]
    for repeated, last in product(REPEATED, ("", "!")):
        assert ended(pattern, repeated * (LENGTH // len(repeated)) + last), repeated


def test_a_pattern_that_takes_the_square_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SECONDS", 0.5)
    with pytest.raises(Late), bounded():
        re.search(r"\s+$", " " * LENGTH * 10 + "a")
