"""Shortens answers of search services for a model: a JSON list of answers and of title, link, snippet."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from xml.etree import ElementTree

import msgspec

NOTHING: Final = "Nothing was found."
_LONGEST: Final = 4000  # characters of one text
_MOST: Final = 50  # results, whatever was asked for
_TAG: Final = re.compile(r"<[^<>]{0,200}>")
_ATOM: Final = "{http://www.w3.org/2005/Atom}"


def plain(value: Any) -> str:
    """A text without markup and line breaks; "" for what is no text."""
    if not isinstance(value, str):
        return ""
    return " ".join(html.unescape(_TAG.sub("", value[: 2 * _LONGEST])).split())[:_LONGEST]


def records(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a list; none when it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def record(value: Any) -> Mapping[str, Any]:
    """The object; an empty one when it is none."""
    return value if isinstance(value, dict) else {}


def listed(results: Iterable[Mapping[str, str]], answers: Iterable[Any] = ()) -> str:
    """Direct answers first, then the results, without what is empty."""
    told = [{"answer": text} for answer in answers if (text := plain(answer))]
    kept = [{name: text for name, value in result.items() if (text := plain(value))} for result in results]
    found = [*told, *filter(None, kept)]
    return msgspec.json.encode(found).decode() if found else NOTHING


def _results(value: Any, *, link: str = "link", snippet: str = "snippet", **more: str) -> list[Mapping[str, str]]:
    names = {"title": "title", "link": link, "snippet": snippet, **more}
    return [{name: item.get(theirs, "") for name, theirs in names.items()} for item in records(value)[:_MOST]]


def _boxed(box: Mapping[str, Any]) -> list[Any]:
    """The text of an answer box of any kind."""
    said = next((box[name] for name in ("answer", "result", "snippet", "definition") if box.get(name)), "")
    highlights: Any = box.get("snippet_highlighted_words")
    return [said if isinstance(said, str | int | float) else highlights]


def _known(graph: Mapping[str, Any]) -> list[str]:
    """A panel about a thing: its name, kind and description."""
    parts = [plain(graph.get(name)) for name in ("title", "type", "description")]
    return [": ".join(filter(None, parts))] if parts[2] else []


def google_like(body: Any) -> str:
    """SerpAPI and SearchApi: organic results, answer box and knowledge panel, with underscores."""
    answers = [*_boxed(record(body.get("answer_box"))), *_known(record(body.get("knowledge_graph")))]
    return listed(_results(body.get("organic_results")), answers)


def serper(body: Any) -> str:
    """Serper: the same, in one word each."""
    answers = [*_boxed(record(body.get("answerBox"))), *_known(record(body.get("knowledgeGraph")))]
    return listed(_results(body.get("organic"), date="date"), answers)


def google(body: Any) -> str:
    """Google's custom search."""
    return listed(_results(body.get("items")))


def brave(body: Any) -> str:
    """Brave: results of the web."""
    return listed(_results(record(body.get("web")).get("results"), link="url", snippet="description", age="age"))


def tavily(body: Any) -> str:
    """Tavily: results with the passages that fit, pictures if asked for."""
    names = {"snippet": "content", "text": "raw_content", "published": "published_date"}
    pictures: Any = body.get("images")
    shown = [item if isinstance(item, dict) else {"url": item} for item in pictures or () if item]
    images = [{"image": item.get("url", ""), "description": item.get("description", "")} for item in shown]
    return listed([*_results(body.get("results"), link="url", **names), *images], [body.get("answer")])


def exa(body: Any) -> str:
    """Exa: results with the beginning of each page's text."""
    names = {"snippet": "text", "published": "publishedDate", "author": "author"}
    return listed(_results(body.get("results"), link="url", **names))


def searxng(body: Any) -> str:
    """SearXNG: results, else its own answers, else what it would rather be asked."""
    answers = body.get("answers")
    told = [item.get("answer") if isinstance(item, dict) else item for item in answers or ()]
    boxes = [plain(box.get("content")) for box in records(body.get("infoboxes"))]
    found = _results(body.get("results"), link="url", snippet="content")[:10]
    if found or any(told) or any(boxes):
        return listed(found, [*told, *boxes])
    suggestions: Any = body.get("suggestions")
    words = ", ".join(filter(None, map(plain, suggestions or ())))
    return f"{NOTHING} Ask for: {words}" if words else NOTHING


def wikipedia(body: Any) -> str:
    """Wikipedia: articles, best first, each with its introduction."""
    pages = records(record(body.get("query")).get("pages"))
    pages.sort(key=lambda page: index if isinstance(index := page.get("index"), int) else 99)
    return listed(_results(pages, link="fullurl", snippet="extract"))


class Paper(msgspec.Struct, frozen=True):
    """An entry of arXiv. `key` is its identifier with the version, such as 1706.03762v7."""

    key: str
    title: str
    authors: Sequence[str]
    published: str
    summary: str

    def told(self, text: str = "") -> str:
        """The paper as the model reads it, with its text if it was loaded."""
        head = f"Title: {self.title}\nAuthors: {', '.join(self.authors)}\nPublished: {self.published}"
        rest = f"\n\n{text}" if text else ""
        return f"{head}\nLink: https://arxiv.org/abs/{self.key}\nSummary: {self.summary}{rest}"


def papers(feed: bytes) -> list[Paper]:
    """The entries of an Atom feed. Raises ValueError for anything else."""
    try:
        tree = ElementTree.fromstring(feed)  # noqa: S314  # expat limits what entities may grow to
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from None
    return [_paper(entry) for entry in tree.iter(f"{_ATOM}entry")]


def _paper(entry: ElementTree.Element) -> Paper:
    def said(name: str) -> str:
        return " ".join((entry.findtext(f"{_ATOM}{name}") or "").split())

    authors = [" ".join((author.findtext(f"{_ATOM}name") or "").split()) for author in entry.iter(f"{_ATOM}author")]
    return Paper(said("id").rpartition("/abs/")[2], said("title"), authors, said("published")[:10], said("summary"))
