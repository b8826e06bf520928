"""Web pages: what they say, and where they lead. Parsed as they are, nothing in them is run or loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urljoin, urlsplit

from headrace.errors import FlowError

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

_UNSAID = ("script", "style", "noscript", "template")


def parsed(html: str | bytes) -> BeautifulSoup:
    """The page without what nobody reads. Raises FlowError when the packages for it are missing."""
    try:
        from bs4 import BeautifulSoup
    except ImportError:
        raise FlowError("reading HTML needs more packages: pip install 'headrace[rag]'") from None
    soup = BeautifulSoup(html, "html.parser")
    for tag in soup(_UNSAID):
        tag.decompose()
    return soup


def markdown_of(html: str) -> str:
    """The page as Markdown. Raises FlowError when the packages for it are missing."""
    soup = parsed(html)
    from markdownify import MarkdownConverter

    return str(MarkdownConverter(heading_style="ATX").convert_soup(soup)).strip()


def text_of(soup: BeautifulSoup, selector: str) -> str:
    """What the page says, or those parts of it that a CSS selector chooses. Raises FlowError for a wrong selector."""
    from soupsieve import SelectorSyntaxError

    try:
        parts = soup.select(selector or "body") or ([] if selector else [soup])
    except SelectorSyntaxError:
        raise FlowError(f"the selector {selector!r} is not a CSS selector") from None
    return "\n".join(text for part in parts if (text := part.get_text("\n", strip=True)))


def links_of(soup: BeautifulSoup, url: str) -> Iterator[str]:
    """Addresses on the same host that the page leads to, without their fragments."""
    host = urlsplit(url).netloc
    for tag in soup("a", href=True):
        try:
            link = urldefrag(urljoin(url, str(tag["href"]))).url
            if urlsplit(link).netloc == host and urlsplit(link).scheme in ("http", "https"):
                yield link
        except ValueError:  # not an address
            continue
