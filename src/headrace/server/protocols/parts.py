"""A run's events as the parts of an answer that protocols of chats have in common: stretches of text and reasoning,
uses of tools, sources, a question to a person, and the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

from headrace.events import (
    Abort,
    Action,
    Document,
    End,
    Error,
    Event,
    Metadata,
    RunMetadata,
    SourceDocuments,
    Thinking,
    Token,
    Usage,
    UsedTool,
    UsedTools,
)
from headrace.server.protocols.stream import json_text

Kind: TypeAlias = Literal["text", "reasoning"]


class Begun(NamedTuple):
    """The run has begun. It is the first part, unless the run fails before."""


class Opened(NamedTuple):
    """A stretch of text or of reasoning begins. Stretches are numbered from 0 and never overlap."""

    kind: Kind
    number: int


class Said(NamedTuple):
    """More of the open stretch."""

    kind: Kind
    number: int
    text: str


class Closed(NamedTuple):
    """The open stretch is whole; `text` is all of it."""

    kind: Kind
    number: int
    text: str


class ToolUse(NamedTuple):
    """A tool was used, with its result. Uses are numbered from 0."""

    number: int
    tool: UsedTool


class Sources(NamedTuple):
    """The passages that the answer rests on, in place of earlier ones."""

    documents: list[Document]


class Question(NamedTuple):
    """The run waits for a person."""

    action: dict[str, Any]


class Facts(NamedTuple):
    """The ids and counts of the answer."""

    metadata: RunMetadata


class Ended(NamedTuple):
    """The last part. A stretch that is open then was cut off by the error or the cancellation."""

    error: Error | None = None
    cancelled: str | None = None
    usage: Usage | None = None


Part: TypeAlias = Begun | Opened | Said | Closed | ToolUse | Sources | Question | Facts | Ended


class Parts:
    """Takes the events of one run, from the first one on, and gives its parts."""

    def __init__(self) -> None:
        self._begun = False
        self._open: Kind | None = None
        self._number = -1
        self._texts: list[str] = []
        self._tools: list[UsedTool] = []
        self._ending = Ended()

    def of(self, event: Event) -> Iterator[Part]:
        """The parts that the next event brings."""
        if not self._begun and not isinstance(event, Error | End):
            self._begun = True
            yield Begun()
        match event:
            case Token():
                yield from self._say("text", event.data)
            case Thinking() if event.data:
                yield from self._say("reasoning", event.data)
            case Thinking() if self._open == "reasoning":
                yield from self._close()
            case UsedTools():
                yield from self._use(event.data)
            case SourceDocuments():
                yield Sources(event.data)
            case Action():
                yield Question(event.data)
            case Metadata():
                if event.data.json is not None:
                    yield from self._say("text", json_text(event.data.json))
                yield from self._close()
                yield Facts(event.data)
            case Abort():
                self._ending = Ended(cancelled=event.data, usage=event.usage)
            case Error():
                self._ending = Ended(error=event)
            case End():
                yield self._ending
            case _:
                pass

    def _say(self, kind: Kind, text: str) -> Iterator[Part]:
        if self._open != kind:
            yield from self._close()
            self._open = kind
            self._number += 1
            yield Opened(kind, self._number)
        self._texts.append(text)
        yield Said(kind, self._number, text)

    def _close(self) -> Iterator[Part]:
        if self._open:
            kind, text = self._open, "".join(self._texts)
            self._open = None
            self._texts.clear()
            yield Closed(kind, self._number, text)

    def _use(self, tools: list[UsedTool]) -> Iterator[Part]:
        for tool in tools:
            if tool not in self._tools:  # the list holds the earlier ones too
                self._tools.append(tool)
                yield from self._close()
                yield ToolUse(len(self._tools) - 1, tool)


def source_of(document: Document) -> str:
    """The address or the name of what a passage comes from."""
    about = document.metadata
    return next((str(about[key]) for key in ("url", "source", "fileName", "pdf") if about.get(key)), "document")


def is_address(source: str) -> bool:
    """True for a source that a browser can open."""
    return source.startswith(("https://", "http://"))
