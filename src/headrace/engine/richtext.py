"""Converts the HTML of the builder's text editor into Markdown for models and people."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

_RICH: Final = re.compile(r"\s*<(?:p|div|h[1-6]|ul|ol|blockquote|pre|table)\b[^>]*>", re.IGNORECASE)
_BLANKS: Final = re.compile(r"\s+")
_MARKS: Final = {
    **dict.fromkeys(("b", "strong"), "**"),
    **dict.fromkeys(("i", "em"), "_"),
    **dict.fromkeys(("s", "del", "strike"), "~~"),
    "code": "`",
}
_BLOCKS: Final = frozenset("p div h1 h2 h3 h4 h5 h6 ul ol li blockquote pre table tr hr".split())


def markdown(text: str) -> str:
    """Rich text as Markdown; a text that does not begin with a block of HTML stays as it is."""
    if not _RICH.match(text):
        return text
    writer = _Writer()
    writer.feed(text)
    writer.close()
    return writer.text


class _Writer(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._blocks: list[tuple[str, bool]] = []  # each with whether it is an item of a list
        self._line: list[str] = []
        self._lists: list[int | None] = []  # the next number, or None in a list of bullets
        self._prefix, self._is_item = "", False
        self._quotes = 0
        self._pre = False
        self._links: list[str] = []

    @property
    def text(self) -> str:
        """All of it. Items of a list follow each other; other blocks have an empty line between them."""
        self._end_block()
        parts: list[str] = []
        before = False
        for block, is_item in self._blocks:
            if parts:
                parts.append("\n" if is_item and before else "\n\n")
            parts.append(block)
            before = is_item
        return "".join(parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS and not (tag in ("p", "div") and self._is_item):  # the editor wraps items in paragraphs
            self._end_block()
            self._begin_block(tag)
        elif tag == "br":
            self._line.append("\n")
        elif tag == "a":
            self._links.append(dict(attrs).get("href") or "")
            self._line.append("[")
        elif tag in ("td", "th") and self._line:
            self._line.append(" | ")
        elif tag in _MARKS and not self._pre:
            self._line.append(_MARKS[tag])

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._end_block()
            if tag in ("ul", "ol") and self._lists:
                self._lists.pop()
            elif tag == "blockquote":
                self._quotes = max(0, self._quotes - 1)
            self._pre = self._pre and tag != "pre"
        elif tag == "a" and self._links:
            self._line.append(f"]({self._links.pop()})")
        elif tag in _MARKS and not self._pre:
            self._line.append(_MARKS[tag])

    def handle_data(self, data: str) -> None:
        self._line.append(data if self._pre else _BLANKS.sub(" ", data))

    def _begin_block(self, tag: str) -> None:
        match tag:
            case "ul" | "ol":
                self._lists.append(1 if tag == "ol" else None)
            case "li":
                self._prefix, self._is_item = self._item(), True
            case "blockquote":
                self._quotes += 1
            case "pre":
                self._pre = True
            case "hr":
                self._blocks.append(("---", False))
            case _ if tag[0] == "h":
                self._prefix = "#" * int(tag[1]) + " "
            case _:
                pass

    def _item(self) -> str:
        indent = "  " * (len(self._lists) - 1)
        if not self._lists or (number := self._lists[-1]) is None:
            return f"{indent}- "
        self._lists[-1] = number + 1
        return f"{indent}{number}. "

    def _end_block(self) -> None:
        text, self._line = "".join(self._line), []
        if self._pre:
            lines = ["```", *text.strip("\n").split("\n"), "```"]
        else:
            lines = [
                self._prefix + line.strip() if n == 0 else line.strip()
                for n, line in enumerate(text.strip().split("\n"))
            ]
        if text.strip():
            self._blocks.append(("\n".join("> " * self._quotes + line for line in lines), self._is_item))
            self._prefix, self._is_item = "", False
