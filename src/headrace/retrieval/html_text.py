"""HTML as text that a model can read. Nothing of a page is run or loaded, and the time it takes is bounded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urldefrag, urljoin

import msgspec

from headrace.engine.ports import FetchReply
from headrace.errors import FlowError
from headrace.retrieval.parser_processes import result

MOST: Final = 1_000_000  # characters that are parsed; the parser's time may grow with their square
_LINKS: Final = 5000
_UNSAID: Final = frozenset("script style noscript template svg iframe object head".split())
_VOID: Final = frozenset("area base br col embed hr img input link meta param source track wbr".split())
_BREAKS: Final = frozenset(
    "address article aside blockquote br dd details div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 "
    "header hr li main nav ol p pre section summary table tr ul".split()
)
# Some of Python's codecs, such as punycode, need time that grows with the square of the text.
_CHARSET: Final = re.compile(
    r"(us-)?ascii|utf-?(8|16)([lb]e)?|utf-16[lb]e|iso-?8859-\d+|windows-\d+|cp\d+|latin-?1|gb\w+|big5|euc-\w+|shift_jis|"
    r"koi8-[ru]",
    re.IGNORECASE,
)
_DESCRIPTIONS: Final = ("description", "og:description", "twitter:description")


class Page(msgspec.Struct, frozen=True):
    """A page's text and links."""

    title: str
    description: str
    text: str
    links: Sequence[str]
    """Addresses, whole ones, in order of appearance."""


class _Reader(HTMLParser):
    """Collects what a reader would see."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.title = ""
        self.descriptions: dict[str, str] = {}
        self.parts: list[str] = []
        self.links: dict[str, None] = {}
        self._url = url
        self._unsaid: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes links and descriptions; skips what is not said."""
        values = {name: value or "" for name, value in attrs}
        if tag == "body":
            self._unsaid.clear()  # it ends a head that was left open
        if tag in _UNSAID:
            self._unsaid.append(tag)
        self._in_title = tag == "title" and not self.title
        if tag == "meta":
            self.descriptions.setdefault(values.get("name") or values.get("property") or "", values.get("content", ""))
        if tag == "base" and values.get("href"):
            self._url = _joined(self._url, values["href"]) or self._url
        if tag == "a" and "href" in values and len(self.links) < _LINKS:
            self.links[_joined(self._url, values["href"])] = None
        if tag in _BREAKS:
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        """Ends a block."""
        self._in_title = False
        if tag in self._unsaid:
            del self._unsaid[self._unsaid.index(tag) :]
        if tag in _BREAKS:
            self.parts.append("\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<br/>`; a tag such as `<svg/>` has nothing inside."""
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        """Keeps a text that is seen."""
        if self._in_title:
            self.title += data
        elif not self._unsaid:
            self.parts.append(data)


def _joined(base: str, href: str) -> str:
    try:
        url = urldefrag(urljoin(base, href.strip())).url
    except ValueError:  # not an address
        return ""
    return url if url.startswith(("http://", "https://")) else ""


def page_of(html: str, url: str = "") -> Page:
    """Reads a page that came from `url`. Blocking. Raises FlowError."""
    reader = _Reader(url)
    # Not closed: an open comment or tag at the end is no text, and closing would look for its end again and again.
    try:
        reader.feed(html[:MOST])
    except AssertionError as error:  # of a declaration that is none
        raise FlowError(f"it is no HTML that can be read: {error}") from None
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    description = next((text for name in _DESCRIPTIONS if (text := reader.descriptions.get(name))), "")
    links = [link for link in reader.links if link]
    return Page(" ".join(reader.title.split()), " ".join(description.split()), "\n".join(filter(None, lines)), links)


async def page_at(html: str, url: str) -> Page:
    """The same, in a child process. Raises FlowError."""
    return await result(partial(_pages, html[:MOST], url), Page)


def _pages(html: str, url: str) -> Iterator[Page]:
    yield page_of(html, url)


def content_type(reply: FetchReply) -> str:
    """The kind of an answer, such as text/html."""
    values = [value for name, value in reply.headers if name.lower() == "content-type"]
    return values[-1].partition(";")[0].strip().lower() if values else ""


def body_text(reply: FetchReply) -> str:
    """An answer's text, as `decoded` reads it."""
    return decoded(reply.body, " ".join(value for name, value in reply.headers if name.lower() == "content-type"))


def decoded(body: bytes, header: str = "") -> str:
    """A text by the character set that its header or its beginning names; else it is UTF-8, or what old pages are in.

    Blocking.
    """
    named = re.search(r"charset=[\"']?([\w-]+)", header + " " + body[:2000].decode("latin-1"), re.IGNORECASE)
    charset = named[1] if named and _CHARSET.fullmatch(named[1]) else "utf-8"
    try:
        return body.decode(charset, "replace" if named else "strict")
    except UnicodeDecodeError:
        return body.decode("windows-1252", "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


async def readable(reply: FetchReply) -> str:
    """An answer as a model reads it: HTML as text, anything else as it is."""
    text = body_text(reply)
    if content_type(reply) in ("text/html", "application/xhtml+xml") or re.match(
        r"\s*<(!doctype html|html)\b", text, re.I
    ):
        page = await page_at(text, reply.url)
        return "\n".join(filter(None, (page.title, page.text)))
    return text
