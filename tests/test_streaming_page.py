"""Our page on streaming covers the public pages point for point: the same calls, events and frames, under our name."""

import ast
import re
from pathlib import Path

import pytest
from pages import Page, parameters

OURS = (Path(__file__).parents[1] / "docs" / "streaming.md").read_text()
PAGE = pytest.mark.parametrize("page", parameters())


def ours(language: str, word: str) -> str:
    """Our block with the same call."""
    return next(block for block in re.findall(rf"(?ms)^```{language}\n(.*?)^```$", OURS) if word in block)


def python_shape(program: str) -> str:
    """What a program does, whatever its texts, annotations and comments say."""
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def javascript_shape(program: str) -> str:
    """The same: comments, line ends, layout and texts left out."""
    program = re.sub(r"(?m)(?<!:)//.*$", "", program)
    return re.sub(r"'[^']*'", "''", re.sub(r"[\s;]", "", program))


def command_shape(command: str) -> list[str]:
    """The words of a curl command, whatever it asks; ours is over HTTP, and shows frames as they come."""
    command = re.sub(r"\{(?:chat)?flow-id\}", "<flow-id>", command).replace("https://", "http://").replace(" -N", "")
    return re.sub(r'"question": ".*"', "", command).split()


@PAGE
def test_our_programs_are_the_pages_programs_under_our_name(page: Page) -> None:
    def renamed(language: str) -> str:
        block = re.sub(r"from \w+ import", "from headrace import", page.blocks[language])
        return block.replace(page.cls, "Headrace")

    assert python_shape(renamed("python")) == python_shape(ours("python", "def test_streaming"))
    assert javascript_shape(renamed("javascript")) == javascript_shape(ours("typescript", "createPrediction"))
    assert command_shape(page.blocks["bash"]) == command_shape(ours("bash", "predictions/<flow-id> "))


@PAGE
def test_our_page_names_the_libraries_the_events_and_the_frame(page: Page) -> None:
    for installer in re.findall(r"(pip|npm) install (?=\w)", page.text):
        assert {"pip": "`pip install .`", "npm": "`npm install ./headrace-sdk-"}[installer] in OURS
    kinds = set(re.findall(r"(?m)^\| (\w+) +\| ", page.text)) - {"Event", "Evento"}
    assert len(kinds) == 7
    assert [kind for kind in sorted(kinds) if f"| {kind} |" not in OURS] == []
    for heading in re.findall(r"(?m)^### .*(Streamlit)", page.text):
        assert re.search(rf"(?m)^## .*{heading}$", OURS)
    kind, data = page.blocks["html"].splitlines()
    assert kind in OURS
    assert f"{data.partition(' ')[0]} Once upon a time..." in OURS
