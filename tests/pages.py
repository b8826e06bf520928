"""The public pages of one system under four names, beside this project: their programs, and where two were damaged."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PAGES = sorted((Path(__file__).parents[2] / "shared" / "seeds").glob("*.txt"))
_FENCED = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
_SPACES = "aimicromind"  # its page came with stray spaces inside names
_BARE = "ciniterflow"  # its page came without fences and indentation


class Page(NamedTuple):
    """A page's name, the names of its system, and its blocks by language."""

    name: str
    brand: str
    cls: str
    blocks: dict[str, str]
    text: str


BESIDE = pytest.mark.skipif(not PAGES, reason="the public pages (../shared/seeds) are not beside this project")


def parameters(brand: str = "") -> list[Any]:
    """The pages, of one brand or of all, for tests of each; without pages a test that is skipped."""
    found = [page for page in pages() if brand in ("", page.brand)]
    return [pytest.param(page, id=f"{page.name[:3]}-{page.brand}") for page in found] or [
        pytest.param(None, marks=BESIDE)
    ]


def pages() -> list[Page]:
    """All of them, repaired."""
    whole = [_page(path) for path in PAGES]
    model = next((page for page in whole if page.brand not in (_SPACES, _BARE)), None)
    return [_indented(page, model) if page.brand == _BARE and model else page for page in whole]


def _page(path: Path) -> Page:
    text = path.read_text()
    blocks = dict(_FENCED.findall(text)) or _bare_blocks(text)
    found = re.search(r"from (\w+) import (\w+)", blocks["python"])
    assert found, path
    if found[1] == _SPACES:
        blocks = {language: _closed_up(block) for language, block in blocks.items()}
    return Page(path.stem, found[1], found[2], blocks, text)


def _closed_up(block: str) -> str:
    """Without the spaces that stand behind the name, inside a longer name or before its end."""
    repaired = re.sub(rf"({_SPACES}) +(?=Client|-sdk|,)", r"\1", block, flags=re.IGNORECASE)
    assert repaired.replace(" ", "") == block.replace(" ", "")
    return repaired


def _bare_blocks(text: str) -> dict[str, str]:
    """The blocks of a page that lost its fences: each is a heading of one word, then its lines."""
    parts = (r"\nPython\n(?P<python>.*?)", r"Typescript\n(?P<javascript>.*?)", r"cURL\n(?P<bash>.*?)")
    found = re.search("\n".join((*parts, r"(?P<html>event: .*?\n.*?)\n")), text, re.DOTALL)
    assert found
    return {language: f"{block}\n" for language, block in found.groupdict().items()}


def _indented(page: Page, model: Page) -> Page:
    """The page with the margins of another one's lines, which are the same but for the names."""

    def line(text: str, theirs: str) -> str:
        named = theirs.replace(model.cls, page.cls).replace(model.brand, page.brand).replace("chatflow-id", "flow-id")
        assert named.strip() == text
        return named[: len(named) - len(named.lstrip())] + text

    def block(language: str) -> str:
        theirs = [text for text in model.blocks[language].splitlines() if text.strip()]
        return "".join(line(*both) + "\n" for both in zip(page.blocks[language].splitlines(), theirs, strict=True))

    return page._replace(blocks={language: block(language) for language in page.blocks})
