"""Documents out of web pages: one page, the pages it leads to, or those of a site map.

Every address goes through the `Fetch` that the process gives, which decides what may be reached.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from time import time
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from headrace.engine.ports import LoadFailure
from headrace.errors import FlowError, HeadraceError
from headrace.events import Document
from headrace.retrieval.html_text import MOST, Page, decoded, page_of
from headrace.retrieval.html_tree import selected
from headrace.retrieval.library import Fetch
from headrace.retrieval.loading import Finish, fingerprint, finished
from headrace.retrieval.parser_processes import result
from headrace.retrieval.site_map import site_map_of

Crawl: TypeAlias = Literal["webCrawl", "scrapeXMLSitemap"]

_PAGE_MOST = 10 << 20  # bytes
_PAGES_MOST = 1000
_HOUR = 3600
_NO_PAGE = re.compile(rb"%PDF-|PK\x03\x04|\x89PNG|GIF8|\xff\xd8\xff")


async def fetched(fetch: Fetch, url: str, most: int = _PAGE_MOST, headers: Mapping[str, str] | None = None) -> bytes:
    """The body at an address. Raises FlowError when it is too large, and the errors of `fetch`."""
    held = bytearray()
    async with aclosing(fetch(url, headers or {})) as blocks:
        async for block in blocks:
            held += block
            if len(held) > most:
                raise FlowError(f"it is larger than {most >> 20} MiB")
    return bytes(held)


def hourly(*parts: str) -> str:
    """A fingerprint that holds for the hour: only reading tells whether a page has changed."""
    return fingerprint(*parts, str(int(time() // _HOUR)))


def _pages_in(data: bytes, url: str, selector: str) -> Iterator[Page]:
    """The page; its text is that under the selector, if there is one."""
    html = decoded(data)
    page = page_of(html, url)
    yield msgspec.structs.replace(page, text=selected(html[:MOST], selector)) if selector else page


def _documents_of(page: Page, url: str, finish: Finish) -> Iterator[Document]:
    if page.text:
        title = {"title": page.title} if page.title else {}
        yield from finish.chunks(Document(page.text, {"source": url, **title}))


class PageDocuments:
    """Implements `headrace.engine.ports.Documents` for web pages."""

    fingerprint: str

    def __init__(
        self,
        fetch: Fetch,
        url: str,
        finish: Finish,
        *,
        crawl: Crawl | None,
        limit: int,
        selector: str,
        chosen: Sequence[str] = (),
    ) -> None:
        """`limit` counts pages; 0 means as many as there are. With `chosen` pages nothing is crawled."""
        if limit < 0:
            raise FlowError(f"the most pages that are read cannot be {limit}: 0 stands for all")
        self.fingerprint = hourly(url, finish.name, str(crawl), str(limit), selector, *chosen)
        self._chosen = list(dict.fromkeys(chosen))
        self._fetch, self._url, self._finish, self._selector = fetch, url, finish, selector
        self._crawl: Crawl | None = crawl
        if chosen:
            self._crawl = None
        self._limit = min(limit or _PAGES_MOST, _PAGES_MOST) if crawl or chosen else 1

    async def read(self) -> AsyncGenerator[Document | LoadFailure]:
        """The documents, page after page, nearest first."""
        waiting: dict[str, None] = dict.fromkeys(self._chosen or [self._url])
        done = 0
        if self._crawl == "scrapeXMLSitemap":
            waiting = {}
            async for found in self._site_map():
                if isinstance(found, LoadFailure):
                    yield found
                else:
                    waiting[found] = None
        seen = set(waiting)
        while waiting and done < self._limit:
            url = next(iter(waiting))
            waiting.pop(url)
            done += 1
            links: list[str] = []
            async for document in self._page(url, links):
                yield document
            new = [link for link in dict.fromkeys(links) if link not in seen]
            waiting |= dict.fromkeys(new) if self._crawl == "webCrawl" else {}
            seen.update(new)

    async def _page(self, url: str, links: list[str]) -> AsyncGenerator[Document | LoadFailure]:
        try:
            data = await fetched(self._fetch, url)
        except HeadraceError as error:
            yield LoadFailure(url, "fetched", str(error), hides=self._crawl is not None and url == self._url)
            return
        if _NO_PAGE.match(data):
            yield LoadFailure(url, "read", "it is no web page: upload the file instead")
            return
        empty = True
        try:
            page = await result(partial(_pages_in, data, url, self._selector), Page)
            links += [link for link in page.links if urlsplit(link).netloc == urlsplit(url).netloc]
            async with aclosing(finished(partial(_documents_of, page, url), self._finish)) as found:
                async for document in found:
                    empty = False
                    yield document
        except FlowError as error:
            yield LoadFailure(url, "read", str(error))
        else:
            if empty:
                yield LoadFailure(url, "read", "it holds no text" + (" under the selector" if self._selector else ""))

    async def _site_map(self) -> AsyncGenerator[str | LoadFailure]:
        """The pages of a site map, and of those that it leads to."""
        waiting, left = [self._url], 50
        while waiting and left:
            url, left = waiting.pop(0), left - 1
            try:
                found = await site_map_of(await fetched(self._fetch, url))
            except HeadraceError as error:
                yield LoadFailure(url, "fetched", str(error), hides=True)
                continue
            waiting += found.maps
            for place in found.pages:
                yield place
