"""How Headrace is installed is said in one way, which works."""

import re
import tomllib
from pathlib import Path

import pytest

from headrace.installation import command

ROOT = Path(__file__).parents[1]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
FILES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("sdk/*/*.md"),
    *(ROOT / "src").rglob("*.py"),
    *(ROOT / "src" / "headrace" / "server" / "static").glob("*.js"),
]
PAGES = [file for file in FILES if "pip install" in file.read_text(encoding="utf-8") and file.stem != "installation"]
# Another package's name may begin with ours.
OURS = re.compile(
    r"pip install (?:-\S+ )*((?:'?headrace(?:\[[^\]]*\])?'?|'?\.(?:\[[^\]]*\])?'?)(?=[\s`\"]|$))", re.MULTILINE
)


def said(text: str) -> list[str]:
    return [f"pip install {found}" for found in OURS.findall(text)]


def test_a_text_is_searched_for_every_way_to_say_it() -> None:
    text = "`pip install headrace`, `pip install 'headrace[a,b]'`\npip install -e '.[a]'\npip install headrace-x.whl"
    assert said(text) == ["pip install headrace", "pip install 'headrace[a,b]'", "pip install '.[a]'"]


def test_no_page_takes_the_client_for_javascript_from_a_registry_that_does_not_have_it() -> None:
    assert [str(file) for file in FILES if "npm install headrace-sdk" in file.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_installs_it_from_the_checkout_with_extras_that_exist(page: Path) -> None:
    for line in said(page.read_text(encoding="utf-8")):
        extras = [extra for part in re.findall(r"\[(.*)\]", line) for extra in part.split(",")]
        assert line == command(*extras)
        assert set(extras) <= EXTRAS
