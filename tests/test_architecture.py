"""The two ways through the code that docs/architecture.md walks are those of the code."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
MOST = {"question": 8, "token": 8}
"""Files that a reader enters; a longer way needs another look at the code, not another number."""


class Place(NamedTuple):
    file: str
    functions: tuple[str, ...]


def walk(of: str) -> list[Place]:
    """The rows of one of the tables."""
    section = re.search(rf"^## [^\n]*\b{of}'s way.*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    assert section
    rows = re.findall(r"^\| \d+ \| `([\w/]+\.py)` \| (.*?) \|", section[0], re.MULTILINE)
    return [Place(file, tuple(re.findall(r"`([\w.]+)`", functions))) for file, functions in rows]


def defined(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """The functions of a file by their qualified names."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from defined(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", node


def calls(function: ast.AST) -> set[str]:
    """The bare names of all that a function calls, its own parameters for callbacks included."""
    found = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return {ast.unparse(one).rpartition(".")[2] for one in found}


def bodies(place: Place) -> dict[str, ast.AST]:
    known = dict(defined(ast.parse((ROOT / "src" / "headrace" / place.file).read_text())))
    assert set(place.functions) <= known.keys(), f"{place.file} has no {set(place.functions) - known.keys()}"
    return {name: known[name] for name in place.functions}


def meets(one: Place, other: Place) -> bool:
    """True when a function of the first calls one of the second by its name, as itself or through a protocol."""
    names = {name.rpartition(".")[2] for name in other.functions}
    return any(calls(body) & names for body in bodies(one).values())


def reads(one: Place, other: Place) -> bool:
    """True when the first iterates over batches, and the second is a generator of them: nodes only hand it over."""
    iterates = any(isinstance(node, ast.AsyncFor) for body in bodies(one).values() for node in ast.walk(body))
    return iterates and any(isinstance(node, ast.Yield) for body in bodies(other).values() for node in ast.walk(body))


def test_docstrings_begin_with_their_subject_and_files_are_short() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                assert not re.match(r"(What|Whether|That)\b", ast.get_docstring(node) or ""), f"{path}: {node}"


@pytest.mark.parametrize("of", MOST)
def test_a_walk_goes_on_from_file_to_file_and_never_back(of: str) -> None:
    places = walk(of)
    files = [place.file for place in places]
    assert 1 < len(files) <= MOST[of]
    assert len(set(files)) == len(files)
    for one, other in pairwise(places):
        assert meets(one, other) or meets(other, one) or reads(other, one), f"{one.file} and {other.file} do not meet"


def test_a_place_that_does_not_meet_the_next_is_noticed() -> None:
    question = walk("question")
    assert not meets(question[0], question[-1])
    assert not reads(question[0], question[-1])
