"""What needs the tree of a page: Markdown, and the parts that a CSS selector chooses. `pages` reads all others."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

from headrace.errors import FlowError

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

_UNSAID = ("script", "style", "noscript", "template")


def _parsed(html: str) -> BeautifulSoup:
    """The page without what nobody reads. Raises FlowError when it cannot be parsed, or packages are missing."""
    try:
        from bs4 import BeautifulSoup
        from bs4.exceptions import ParserRejectedMarkup
    except ImportError:
        raise FlowError("reading HTML needs more packages: pip install 'headrace[rag]'") from None
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
    """The page as Markdown. Raises FlowError when it cannot be parsed, or packages are missing."""
    soup = _parsed(html)
    from markdownify import MarkdownConverter

    try:
        return str(MarkdownConverter(heading_style="ATX").convert_soup(soup)).strip()
    except RecursionError:
        raise FlowError("it nests its elements too deep to be written as Markdown") from None


def selected(html: str, selector: str) -> str:
    """What those parts of the page say that a CSS selector chooses. Raises FlowError, also for a wrong selector."""
    soup = _parsed(html)
    from soupsieve import SelectorSyntaxError

    try:
        parts = soup.select(selector)
    except SelectorSyntaxError:
        raise FlowError(f"the selector {selector!r} is not a CSS selector") from None
    return "\n".join(text for part in parts if (text := part.get_text("\n", strip=True)))
