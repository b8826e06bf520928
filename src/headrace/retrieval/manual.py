"""The docs of this version of Headrace as documents, one for each section or part of a long section.

A wheel carries the pages, a checkout has them.

What a page says in its own words counts: lists of pages, pictures and addresses of links are left out, and so is the
table of all nodes, which is longer than everything else together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final

from headrace.errors import FlowError
from headrace.events import Document
from headrace.retrieval.files import File

README: Final = "README.md"
_PACKAGED: Final = Path(__file__).parents[1] / "pages"
_CHECKOUT: Final = Path(__file__).parents[3]
_NODES: Final = re.compile(r"(?s)<!-- generated: nodes -->.*?<!-- end -->")
_MARK: Final = re.compile(r"<!-- .*? -->\n?")
_PICTURE: Final = re.compile(r"!\[[^]]*\]\([^)]+\)\n*")
_LINK: Final = re.compile(r"\[([^][]+)\]\([^)]+\)")
_LINKS_ROW: Final = re.compile(r"(?m)^\| \[.*\n")
_LONGEST: Final = 2_000  # characters of a part: a splitter after it would cut off the headings
_HEADING: Final = re.compile(r"(#+) +(.+)")


@lru_cache(maxsize=1)  # the pages of a version do not change
def pages(folder: Path | None = None) -> tuple[File, ...]:
    """The README and the pages of the docs. Raises FlowError when they are not installed."""
    root = folder or (_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT)
    paths = [root / README, *sorted((root / "docs").glob("*.md"))]
    try:
        return tuple(File(path.relative_to(root).as_posix(), path.read_bytes()) for path in paths)
    except OSError as error:
        raise FlowError(f"the docs are not installed: {error.filename!r} cannot be read") from None


def prose(text: str) -> str:
    """The prose of a page."""
    words = _LINK.sub(r"\1", _PICTURE.sub("", _LINKS_ROW.sub("", _MARK.sub("", _NODES.sub("", text)))))
    return re.sub(r"\n{3,}", "\n\n", words).strip()


def sections(file: BinaryIO, name: str) -> Iterator[Document]:
    """The sections of a page, each below the headings that it stands under, with page and heading as metadata."""
    headings: dict[int, str] = {}
    lines: list[str] = []
    fenced = False
    for line in prose(file.read().decode()).split("\n"):
        fenced ^= line.startswith("```")
        if heading := None if fenced else _HEADING.match(line):
            yield from _section(name, headings, lines)
            above = {level: words for level, words in headings.items() if level < len(heading[1])}
            headings, lines = {**above, len(heading[1]): heading[2]}, []
        else:
            lines.append(line)
    yield from _section(name, headings, lines)


def _section(name: str, headings: Mapping[int, str], lines: Sequence[str]) -> Iterator[Document]:
    marked = [f"{'#' * level} {words}" for level, words in headings.items()]
    titles = list(headings.values()) or [name]
    for text in _parts(lines):
        yield Document("\n\n".join([*marked, text]), {"source": name, "page": titles[0], "heading": titles[-1]})


def _parts(lines: Sequence[str]) -> Iterator[str]:
    """The text of a section, cut between lines where it is long."""
    part: list[str] = []
    for line in lines:
        if sum(map(len, part)) + len(line) > _LONGEST:
            yield "\n".join(part).strip()
            part = []
        part.append(line)
    if text := "\n".join(part).strip():
        yield text
