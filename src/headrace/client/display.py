"""Shows an answer while it comes: text in a terminal or a file, formatted text in a notebook."""

from __future__ import annotations

import sys
import time
from typing import Any, Final, Protocol, TextIO

from headrace.client.client import AsyncStream, Stream
from headrace.events import Event, Prediction, SourceDocuments, Token, UsedTools

_REDRAW: Final = 0.05  # seconds; a notebook formats the whole text each time


class _Page(Protocol):
    def say(self, text: str) -> None: ...

    def close(self) -> None: ...


class _Lines:
    """Pieces of text, one after the other."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def say(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

    def close(self) -> None:
        self.say("\n")


class _Cell:
    """A notebook's output, drawn anew as its Markdown grows."""

    def __init__(self) -> None:
        from IPython.display import Markdown, display  # a notebook has it, the client alone does not

        self._markdown, self._text, self._drawn = Markdown, "", 0.0
        self._output: Any = display(Markdown(""), display_id=True)

    def say(self, text: str) -> None:
        self._text += text
        if time.monotonic() - self._drawn >= _REDRAW:
            self._draw()

    def close(self) -> None:
        self._draw()

    def _draw(self) -> None:
        self._output.update(self._markdown(self._text))
        self._drawn = time.monotonic()


def _page(file: TextIO | None) -> _Page:
    ipython: Any = sys.modules.get("IPython")
    if file is None and ipython and hasattr(ipython.get_ipython(), "kernel"):
        return _Cell()
    return _Lines(file or sys.stdout)


def _event_text(event: Event) -> str:
    match event:
        case Token(data=text):
            return text
        case UsedTools(data=tools):
            return f"\n\nTools: {', '.join(tool.tool for tool in tools)}"
        case SourceDocuments(data=documents):
            return f"\n\nSources: {', '.join(dict.fromkeys(_source(d.pageContent, d.metadata) for d in documents))}"
        case _:
            return ""


def _source(text: str, metadata: dict[str, Any]) -> str:
    name = metadata.get("source")
    return name if isinstance(name, str) and name else f"“{' '.join(text.split())[:60]}”"


def print_stream(stream: Stream, file: TextIO | None = None) -> Prediction:
    """Shows the answer while it comes, with the tools and sources that it names, and gives the whole of it.

    In a Jupyter notebook it is formatted as Markdown; elsewhere, or into `file`, it is written as it is. Closes the
    stream. Raises the error of an `error` event when what was said until then has been shown.
    """
    page = _page(file)
    try:
        with stream:
            for event in stream:
                if text := _event_text(event):
                    page.say(text)
    finally:
        page.close()
    return stream.final()


async def aprint_stream(stream: AsyncStream, file: TextIO | None = None) -> Prediction:
    """`print_stream` for asyncio."""
    page = _page(file)
    try:
        async with stream:
            async for event in stream:
                if text := _event_text(event):
                    page.say(text)
    finally:
        page.close()
    return await stream.final()
