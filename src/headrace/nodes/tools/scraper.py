"""A tool that reads a web site: a page, the pages that it leads to, or those of its site map; bounded in all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import urljoin, urlsplit

import msgspec

from headrace.engine.annotations import Additional, NodeInfo
from headrace.engine.node import Context, Node
from headrace.engine.ports import Fetch, FetchReply, FetchRequest, Tool, ToolResult
from headrace.errors import FetchFailed, FetchRefused, FlowError
from headrace.nodes.tools.function import FunctionTool
from headrace.retrieval.html_text import Page, body_text, content_type, page_at
from headrace.retrieval.site_map import SiteMap, site_map_of

_PAGES: Final = 100
_DEPTH: Final = 10
_BYTES: Final = 30_000_000  # of all answers of one call
_CHARACTERS: Final = 20_000  # of one page's text
_TOGETHER: Final = 240.0  # seconds; less than the agent waits for a tool, so that what was read is not lost
_AT_ONCE: Final = 4
_MAPS: Final = 10
_HTML: Final = ("text/html", "application/xhtml+xml")
_ABOUT: Final = {
    "recursive": "Reads a web page and the pages of the same site that it leads to, {pages} at most.",
    "sitemap": "Reads the pages of a web site that its site map lists, {pages} at most.",
    "single": "Reads a web page.",
}
_INPUT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The page's address, with https:// in front."}},
    "required": ["input"],
    "additionalProperties": False,
}


class WebScraperTool(Node, frozen=True, kw_only=True, tag="webScraperTool"):
    """Reads a web site for a model: title, description and text of each page. It never leaves the host."""

    info = NodeInfo(version=1.1, type="Tool")

    scrapeMode: Additional[Literal["recursive", "sitemap", "single"]] = "recursive"
    maxDepth: Additional[int] = 1
    """1 is the page alone, 2 the pages that it leads to as well."""
    maxPages: Additional[int] = 10
    timeoutS: Additional[float] = 60.0
    """Seconds for each page."""
    description: Additional[str] = ""

    async def build(self, ctx: Context) -> Tool:
        """The tool."""
        pages = min(self.maxPages if self.maxPages > 0 else _PAGES, _PAGES)

        async def call(arguments: Mapping[str, Any]) -> ToolResult:
            scrape = Scrape(ctx.outside.fetch, str(arguments["input"]).strip(), pages, self.timeoutS)
            depth = 1 if self.scrapeMode == "single" else min(max(self.maxDepth, 1), _DEPTH)
            return ToolResult(await scrape.run(depth, by_map=self.scrapeMode == "sitemap"))

        about = self.description or _ABOUT[self.scrapeMode].format(pages=pages)
        return FunctionTool("web_scraper_tool", about, _INPUT, call)


class Scrape:
    """One call of the tool: what it has read, and what it may still read."""

    def __init__(self, fetch: Fetch, url: str, pages: int, patience: float) -> None:
        """`url` is where it begins, `pages` the most that are read, `patience` the seconds for each."""
        self._fetch, self._url, self._pages, self._patience = fetch, url, pages, patience
        self._host = _host(url)
        self._begun = False
        self._left = _BYTES
        self._found: list[dict[str, str]] = []

    async def run(self, depth: int, *, by_map: bool) -> str:
        """The pages as JSON, nearest first. Raises FlowError when not one could be read."""
        note = ""
        try:
            async with asyncio.timeout(_TOGETHER):
                listed = await self._mapped() if by_map else []
                if by_map and not listed:
                    note = "The site has no site map, so its links were followed."
                await self._levels(listed or [self._url], 1 if listed else depth)
        except TimeoutError:
            note = f"Reading stopped after {_TOGETHER:.0f} seconds."
        if not any("text" in page for page in self._found):
            raise FetchFailed(self._found[0]["error"] if self._found else f"{self._host!r} took too long")
        told = {"note": note, "pages": self._found} if note else self._found
        return msgspec.json.encode(told).decode()

    async def _levels(self, first: Sequence[str], depth: int) -> None:
        """Reads level after level, as many pages at once as are polite."""
        waiting, seen, limit = list(dict.fromkeys(first)), set(first), asyncio.Semaphore(_AT_ONCE)

        async def one(url: str) -> Sequence[str]:
            async with limit:
                return await self._read(url)

        for _ in range(depth):
            waiting = waiting[: self._pages - len(self._found)]
            # In batches, so that what was read is there when the time is over.
            links = [link for found in await asyncio.gather(*map(one, waiting)) for link in found]
            waiting = [link for link in dict.fromkeys(links) if link not in seen and _host(link) == self._host]
            seen.update(waiting)

    async def _read(self, url: str) -> Sequence[str]:
        """Takes one page in and gives its links."""
        try:
            reply = await self._get(url)
            if reply.status >= 400:
                raise FetchFailed(f"{url} answered {reply.status}")
            page = await self._page(reply)
        except (FetchFailed, FetchRefused, FlowError) as error:
            self._found.append({"url": url, "error": str(error)})
            return ()
        values = {"url": url, "title": page.title, "description": page.description}
        self._found.append({**{n: v for n, v in values.items() if v}, "text": page.text[:_CHARACTERS]})
        return page.links

    async def _page(self, reply: FetchReply) -> Page:
        if _host(reply.url) != self._host:
            raise FlowError(f"it leads to another host, {_host(reply.url)!r}, which is not read")
        kind = content_type(reply)
        if kind in _HTML or not kind:
            return await page_at(body_text(reply), reply.url)
        if kind.startswith("text/") or kind == "application/json":
            return Page("", "", body_text(reply), ())
        raise FlowError(f"it is no page but {kind!r}")

    async def _get(self, url: str) -> FetchReply:
        if self._left <= 0:
            raise FlowError(f"the site has more than {_BYTES} bytes")
        reply = await self._fetch(FetchRequest("GET", url, timeout=self._patience))
        self._left -= len(reply.body)
        if not self._begun:  # the site may have moved, say from example.com to www.example.com
            self._begun, self._host = True, _host(reply.url)
        return reply

    async def _mapped(self) -> list[str]:
        """Pages of the host that its site map lists, and those which that leads to; none when there is no map."""
        waiting, pages = [urljoin(self._url, "/sitemap.xml")], dict[str, None]()
        for _ in range(_MAPS):
            if not waiting or len(pages) >= self._pages:
                break
            try:
                reply = await self._get(waiting.pop(0))
                found = await site_map_of(reply.body) if reply.status < 400 else SiteMap()
            except (FetchFailed, FlowError):
                continue
            pages |= dict.fromkeys(url for url in found.pages if _host(url) == self._host)
            waiting += [url for url in found.maps if _host(url) == self._host]
        return list(pages)[: self._pages]


def _host(url: str) -> str:
    """Host and port of an address, "" for none."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port or ''}" if parts.scheme in ("http", "https") else ""
    except ValueError:
        return ""


NODES = (WebScraperTool,)
