"""Readers that need a page's tree: Markdown, and the parts that a CSS selector chooses. `pages` reads all others."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from time import thread_time
from typing import TYPE_CHECKING, Any, Final

from headrace.errors import FlowError
from headrace.installation import remedy

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

_SECONDS: Final = 10.0
"""Of computing: long lists and nested quotes take time that grows with their square."""
_GROWTH: Final = 4
"""Markdown may be so many times as long as its page, and `_ALWAYS` characters besides: each quote indents its lines."""
_ALWAYS: Final = 10_000
_UNSAID = ("script", "style", "noscript", "template")


def _parsed(html: str) -> BeautifulSoup:
    """The page's tree without scripts and styles. Raises FlowError when it cannot be parsed or packages lack."""
    try:
        from bs4 import BeautifulSoup
        from bs4.exceptions import ParserRejectedMarkup
    except ImportError:
        raise FlowError(f"reading HTML needs more packages: {remedy('rag')}") from None
    try:
        soup = BeautifulSoup(_closed(html), "html.parser")
    except (AssertionError, ParserRejectedMarkup, RecursionError) as error:
        raise FlowError(f"it is no HTML that can be read: {error}") from None
    for tag in soup(_UNSAID):
        tag.decompose()
    return soup


def _closed(html: str) -> str:
    """The page without a tag or comment that never ends, whose end the parser would look for again and again."""
    parser = HTMLParser(convert_charrefs=False)
    parser.feed(html)
    return html[: len(html) - len(parser.rawdata)]


def markdown_of(html: str) -> str:
    """The page as Markdown.

    Raises FlowError when it cannot be parsed, takes too long or becomes too long, or packages are missing.
    """
    soup = _parsed(html)
    from markdownify import MarkdownConverter

    converter: Any = MarkdownConverter(heading_style="ATX")  # its published types lack what it calls for each element
    converter.process_tag = _bounded(converter.process_tag, _GROWTH * len(html) + _ALWAYS)
    try:
        return str(converter.convert_soup(soup)).strip()
    except RecursionError:
        raise FlowError("it nests its elements too deep to be written as Markdown") from None


def _bounded(write: Callable[..., str], most: int) -> Callable[..., str]:
    """The same, until it has taken too long or one element has more than `most` characters. Then raises FlowError."""
    end = thread_time() + _SECONDS

    def bounded(*args: Any, **kwargs: Any) -> str:
        text = write(*args, **kwargs)
        if thread_time() > end:
            raise FlowError(f"writing it as Markdown takes more than {_SECONDS:.0f} seconds")
        if len(text) > most:
            raise FlowError(f"as Markdown it is more than {_GROWTH} times as long")
        return text

    return bounded


def selected(html: str, selector: str) -> str:
    """The text of the parts that a CSS selector chooses; of nested parts only the outermost.

    Raises FlowError, also for a wrong selector.
    """
    soup = _parsed(html)
    from soupsieve import SelectorSyntaxError

    try:
        parts = soup.select(selector)
    except SelectorSyntaxError:
        raise FlowError(f"the selector {selector!r} is not a CSS selector") from None
    said, texts = set[int](), list[str]()
    for part in parts:  # in the page's order, so the outer ones come first
        if id(part) not in said:
            said.update(map(id, part.descendants))
            texts.append(part.get_text("\n", strip=True))
    return "\n".join(filter(None, texts))
