"""Text splitters. The cutting is in `headrace.retrieval.splitters`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec

from headrace.engine.annotations import Additional, NodeInfo, Package
from headrace.engine.node import Context, Node
from headrace.errors import FlowError
from headrace.retrieval.encodings import EncodingName, encoding
from headrace.retrieval.html_tree import markdown_of
from headrace.retrieval.languages import Language
from headrace.retrieval.splitters import (
    ChunkSplitter,
    Cut,
    by_characters,
    by_language,
    by_tokens,
    check_sizes,
    recursively,
    under_headings,
)

_ANY_TEXT = ("\n\n", "\n", " ", "")


class _Sizes(Node, frozen=True, kw_only=True):
    """Sizes are in characters."""

    chunkSize: int = 1000
    chunkOverlap: int = 200

    def _splitter(self, cut: Callable[[int, int], Cut], prepare: Callable[[str], str] | None = None) -> ChunkSplitter:
        check_sizes(self.chunkSize, self.chunkOverlap)
        return ChunkSplitter(repr(self), cut(self.chunkSize, self.chunkOverlap), prepare)


class RecursiveCharacterTextSplitter(_Sizes, frozen=True, kw_only=True, tag="recursiveCharacterTextSplitter"):
    """Cuts between paragraphs where it can, else between lines, words, characters. `separators` is a JSON list."""

    info = NodeInfo(version=2, category="Text Splitters")

    separators: Additional[str] = ""

    async def build(self, ctx: Context) -> ChunkSplitter:
        """The splitter. Raises FlowError for sizes or separators that cannot be."""
        return self._splitter(partial(recursively, [re.escape(one) for one in self._separators()]))

    def _separators(self) -> list[str]:
        if not self.separators.strip():
            return list(_ANY_TEXT)
        try:
            return msgspec.json.decode(self.separators, type=list[str]) or list(_ANY_TEXT)
        except msgspec.MsgspecError:
            raise FlowError(
                f'the splitter\'s separators are {self.separators!r}: write a JSON list of texts, such as ["|", "##"]'
            ) from None


class CharacterTextSplitter(_Sizes, frozen=True, kw_only=True, tag="characterTextSplitter"):
    """Cuts at one separator, a blank line if none is given."""

    info = NodeInfo(category="Text Splitters")

    separator: str = "\n\n"

    async def build(self, ctx: Context) -> ChunkSplitter:
        """The splitter. Raises FlowError for sizes that cannot be."""
        return self._splitter(partial(by_characters, self.separator))


class MarkdownTextSplitter(_Sizes, frozen=True, kw_only=True, tag="markdownTextSplitter"):
    """Cuts Markdown at headings, code blocks and rules. With `splitByHeaders` no chunk reaches over such a heading."""

    info = NodeInfo(version=1.1, category="Text Splitters")

    splitByHeaders: Literal["disabled", "h1", "h2", "h3", "h4", "h5", "h6"] = "disabled"

    async def build(self, ctx: Context) -> ChunkSplitter:
        """The splitter. Raises FlowError for sizes that cannot be."""
        return self._splitter(self._sections)

    def _sections(self, size: int, overlap: int) -> Cut:
        cut = by_language("markdown", size, overlap)
        return cut if self.splitByHeaders == "disabled" else under_headings(int(self.splitByHeaders[1]), cut)


class HtmlToMarkdownTextSplitter(_Sizes, frozen=True, kw_only=True, tag="htmlToMarkdownTextSplitter"):
    """Turns HTML into Markdown and cuts that."""

    info = NodeInfo(label="HtmlToMarkdown Text Splitter", category="Text Splitters")

    async def build(self, ctx: Context) -> ChunkSplitter:
        """The splitter. Raises FlowError for sizes that cannot be."""
        return self._splitter(partial(by_language, "markdown"), markdown_of)


class CodeTextSplitter(_Sizes, frozen=True, kw_only=True, tag="codeTextSplitter"):
    """Cuts source code between classes, functions and blocks."""

    info = NodeInfo(category="Text Splitters")

    language: Language

    async def build(self, ctx: Context) -> ChunkSplitter:
        """The splitter. Raises FlowError for sizes that cannot be."""
        return self._splitter(partial(by_language, self.language))


class TokenTextSplitter(_Sizes, frozen=True, kw_only=True, tag="tokenTextSplitter"):
    """Cuts after a number of tokens, in which both sizes are here. No table is downloaded."""

    info = NodeInfo(category="Text Splitters", packages=(Package("tiktoken", "tokens"),))

    encodingName: EncodingName = "gpt2"

    async def build(self, ctx: Context) -> ChunkSplitter:
        """The splitter. Raises FlowError for sizes that cannot be, or a table that is missing."""
        check_sizes(self.chunkSize, self.chunkOverlap)
        found = await asyncio.to_thread(encoding, self.encodingName, ctx.environ)
        return self._splitter(partial(by_tokens, found))


NODES = (
    RecursiveCharacterTextSplitter,
    CharacterTextSplitter,
    MarkdownTextSplitter,
    HtmlToMarkdownTextSplitter,
    CodeTextSplitter,
    TokenTextSplitter,
)
