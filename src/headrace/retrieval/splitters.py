"""Cuts texts into chunks where LangChain cuts them. Its own package brings 36 MB of modules for these lines, so it is
not used; a test compares the two on any text."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from headrace.errors import FlowError
from headrace.events import Document
from headrace.retrieval.languages import SEPARATORS, Language

if TYPE_CHECKING:
    from tiktoken import Encoding

Cut: TypeAlias = Callable[[str], list[str]]

_SEARCHED = 500_000_000
"""Characters that are searched for where the chunks of a text begin: about half a second."""
_HEADING = re.compile(r"(#{1,6})\s")
_FENCE = re.compile(r"\s*(```|~~~)")


class ChunkSplitter:
    """Implements `headrace.engine.ports.Splitter` with a function that cuts texts."""

    name: str

    def __init__(self, name: str, cut: Cut, prepare: Callable[[str], str] | None = None) -> None:
        self.name = name
        self.reads_markup = prepare is not None
        self._cut, self._prepare = cut, prepare

    def split(self, document: Document) -> list[Document]:
        """The document's chunks, each with its metadata and the lines that it stands in."""
        text = self._prepare(document.pageContent) if self._prepare else document.pageContent
        return [
            Document(chunk, {**document.metadata, "loc": {**_location(document), "lines": {"from": first, "to": last}}})
            for chunk, first, last in _located(text, self._cut(text))
        ]


def _location(document: Document) -> dict[str, object]:
    found = document.metadata.get("loc")
    return dict(found) if isinstance(found, dict) else {}


def _located(text: str, chunks: Iterable[str]) -> Iterable[tuple[str, int, int]]:
    """Chunks with the numbers of their first and last lines.

    One that is not in the text as it is, since empty pieces were left out of it, has the lines of the one before. Such
    chunks are looked for in all of what follows, so at some point no more are.
    """
    at, line = 0, 1
    after, left = 0, _SEARCHED
    for chunk in chunks:
        found = text.find(chunk, after) if left > 0 else -1
        left -= (len(text) if found < 0 else found) - after
        if found >= 0:  # a chunk of tokens may begin inside a character, and is nowhere then
            line += text.count("\n", at, found)
            at, after = found, found + 1
        yield chunk, line, line + chunk.count("\n")


def check_sizes(size: int, overlap: int) -> None:
    """Raises FlowError for sizes that cannot be."""
    if size < 1:
        raise FlowError(f"the splitter's chunkSize is {size}: give at least 1")
    if overlap < 0:
        raise FlowError(f"the splitter's chunkOverlap is {overlap}: give 0 or more")
    if overlap >= size:
        raise FlowError(
            f"the splitter's chunkOverlap ({overlap}) must be smaller than its chunkSize ({size}): "
            "set a smaller chunkOverlap, or 0"
        )


def by_characters(separator: str, size: int, overlap: int) -> Cut:
    """Cuts at one separator only; what has none in it stays whole, however long."""

    return partial(_at_separator, separator, size, overlap)


def _at_separator(separator: str, size: int, overlap: int, text: str) -> list[str]:
    pieces = text.split(separator) if separator else list(text)
    return _merged([piece for piece in pieces if piece], separator, size, overlap)


def recursively(separators: Sequence[str], size: int, overlap: int) -> Cut:
    """Cuts at the first separator (a regular expression) that the text has, and what is too long at the next ones."""
    patterns = [re.compile(f"({separator})") if separator else None for separator in separators]
    return partial(_recursive, patterns=patterns, size=size, overlap=overlap)


def by_language(language: Language, size: int, overlap: int) -> Cut:
    """Cuts source code and markup between what belongs together."""
    return recursively(SEPARATORS[language], size, overlap)


def _recursive(text: str, patterns: Sequence[re.Pattern[str] | None], size: int, overlap: int) -> list[str]:
    pattern, rest = patterns[-1], patterns[:0]
    for place, candidate in enumerate(patterns):
        if candidate is None or candidate.search(text):
            pattern, rest = candidate, patterns[place + 1 :] if candidate else ()
            break
    chunks: list[str] = []
    fitting: list[str] = []
    for piece in _pieces(text, pattern):
        if len(piece) < size:
            fitting.append(piece)
            continue
        chunks += _merged(fitting, "", size, overlap)
        fitting = []
        chunks += _recursive(piece, rest, size, overlap) if rest else [piece]
    return chunks + _merged(fitting, "", size, overlap)


def _pieces(text: str, pattern: re.Pattern[str] | None) -> list[str]:
    """The text cut at the pattern, which stays at the beginning of what follows it."""
    if pattern is None:
        return list(text)
    first, *others = pattern.split(text)
    pieces = [first, *(others[n] + others[n + 1] for n in range(0, len(others), 2))]
    return [piece for piece in pieces if piece]


def _merged(pieces: Iterable[str], separator: str, size: int, overlap: int) -> list[str]:
    """Pieces put together to chunks of at most `size` where that can be, the last pieces of each opening the next."""
    chunks: list[str] = []
    current: deque[str] = deque()
    total = 0
    for piece in pieces:
        if current and total + len(piece) + len(separator) > size:
            chunks.append(separator.join(current))
            while current and (total > overlap or total + len(piece) + len(separator) > size):
                total -= len(current.popleft()) + (len(separator) if current else 0)
        total += len(piece) + (len(separator) if current else 0)
        current.append(piece)
    chunks.append(separator.join(current))
    return [stripped for chunk in chunks if (stripped := chunk.strip())]


def under_headings(level: int, cut: Cut) -> Cut:
    """Cuts Markdown before its headings down to a level first, so that no chunk reaches over one."""

    return partial(_in_sections, level, cut)


def _in_sections(level: int, cut: Cut, text: str) -> list[str]:
    return [chunk for section in _sections(level, text) for chunk in cut(section)]


def _sections(level: int, text: str) -> list[str]:
    found: list[list[str]] = [[]]
    fenced = False
    for line in text.splitlines(keepends=True):
        fenced ^= bool(_FENCE.match(line))
        heading = None if fenced else _HEADING.match(line)
        if heading and len(heading[1]) <= level:
            found.append([])
        found[-1].append(line)
    return ["".join(lines) for lines in found]


def by_tokens(encoding: Encoding, size: int, overlap: int) -> Cut:
    """Cuts after every `size` tokens of a model's encoding."""

    return partial(_after_tokens, encoding, size, overlap)


def _after_tokens(encoding: Encoding, size: int, overlap: int, text: str) -> list[str]:
    tokens = encoding.encode_ordinary(text)
    last = max(len(tokens) - overlap, 1)
    return [encoding.decode(tokens[n : n + size]) for n in range(0, last, size - overlap)] if tokens else []
