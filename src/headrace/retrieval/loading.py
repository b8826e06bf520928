"""Turns sources into documents, cut, with the metadata that the flow wants. Formats are read in child processes."""

from __future__ import annotations

import asyncio
import hashlib
import pickle
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, TypeAlias, TypeVar

import msgspec

from headrace.engine.ports import Documents, LoadFailure, Splitter
from headrace.errors import FlowError
from headrace.events import Document
from headrace.retrieval.files import File
from headrace.retrieval.manual import sections
from headrace.retrieval.parser_processes import DOCUMENT, Bounds, results
from headrace.retrieval.text_decoding import text_documents, unnamed_documents

_T = TypeVar("_T")
_AT_ONCE = 16
_SMALL = 1 << 20  # bytes of a text that is read faster than another process is asked

Parse: TypeAlias = Callable[[BinaryIO, str], Iterator[Document]]
_PLAIN: tuple[Parse, ...] = (text_documents, unnamed_documents, sections)
"""Which read text as it is, so that there is nothing to bound."""


class Finish(msgspec.Struct, frozen=True):
    """The steps after loading: the splitter, metadata to add, metadata to leave out ("*": all but the added)."""

    splitter: Splitter | None = None
    metadata: Mapping[str, Any] = {}
    omitted: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Splitter and metadata, for fingerprints."""
        return f"{self.splitter.name if self.splitter else ''}{self.metadata}{self.omitted}"

    def chunks(self, document: Document) -> Iterator[Document]:
        """The document as it is stored. Blocking."""
        for chunk in self.splitter.split(document) if self.splitter else (document,):
            yield Document(chunk.pageContent, self._finished(chunk.metadata), chunk.id)

    def _finished(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        if "*" in self.omitted:
            return dict(self.metadata)
        found = {**metadata, **self.metadata}
        for path in self.omitted:
            found = _without(found, path.split("."))
        return found


def _without(value: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    key, *rest = path
    if not rest:
        return {name: item for name, item in value.items() if name != key}
    return {**value, key: _without(value[key], rest)} if isinstance(value.get(key), dict) else value


class FileDocuments:
    """Implements `headrace.engine.ports.Documents` for files."""

    fingerprint: str

    def __init__(
        self, files: Sequence[tuple[File, Parse]], finish: Finish, recipe: str, bounds: Bounds = DOCUMENT
    ) -> None:
        """`recipe` says how the files are parsed, for the fingerprint."""
        marks = [file.fingerprint for file, _ in files]
        self.fingerprint = fingerprint(recipe, finish.name, *marks) if all(marks) else ""
        self._files, self._finish, self._bounds = files, finish, bounds

    async def read(self) -> AsyncGenerator[Document | LoadFailure]:
        """The documents, file after file."""
        for file, parse in self._files:
            empty = True
            try:
                async with aclosing(self._documents(file, parse)) as found:
                    async for document in found:
                        empty = False
                        yield document
            except OSError as error:
                yield LoadFailure(file.name, "opened", error.strerror or str(error))
            except FlowError as error:
                yield LoadFailure(file.name, "read", str(error))
            else:
                if empty:
                    yield LoadFailure(file.name, "read", "it holds no text")

    def _documents(self, file: File, parse: Parse) -> AsyncGenerator[Document]:
        if parse in _PLAIN and not _is_rich(self._finish) and file.size <= _SMALL:
            return in_thread(documents_of(file, parse, self._finish))
        return finished(partial(documents_of, file, parse), self._finish, self._bounds)


def documents_of(file: File, parse: Parse, finish: Finish) -> Generator[Document]:
    """The documents of a file as they are stored. Blocking. Raises FlowError and OSError."""
    with file.open() as content:
        for document in parse(content, file.name):
            yield from finish.chunks(document)


async def finished(
    work: Callable[[Finish], Iterator[Document]], finish: Finish, bounds: Bounds = DOCUMENT
) -> AsyncGenerator[Document]:
    """Runs `work` and the finish in a child process. A splitter that cannot be pickled works in this process."""
    sent = finish if _can_be_sent(finish) else Finish()
    async with aclosing(results(partial(work, sent), Document, bounds)) as documents:
        async for document in documents:
            if sent is finish:
                yield document
                continue
            for chunk in await asyncio.to_thread(list, finish.chunks(document)):
                yield chunk


def _can_be_sent(finish: Finish) -> bool:
    try:
        return bool(pickle.dumps(finish))
    except (pickle.PicklingError, AttributeError, TypeError):
        return False


def _is_rich(finish: Finish) -> bool:
    """True for a splitter that reads a format of its own, such as HTML."""
    return bool(getattr(finish.splitter, "reads_markup", False))


def fingerprint(*parts: str) -> str:
    """One hash of several texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


async def in_thread(items: Generator[_T]) -> AsyncGenerator[_T]:
    """Runs a blocking generator in a thread of its own and yields its items, a few at a time."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, "headrace-load")
    try:
        while some := await loop.run_in_executor(thread, lambda: list(islice(items, _AT_ONCE))):
            for item in some:
                yield item
    finally:
        thread.submit(items.close)
        thread.shutdown(wait=False)


async def texts_of(documents: Documents) -> str:
    """All texts, one below the other. Raises FlowError for a document that cannot be read."""
    found: list[str] = []
    async with aclosing(documents.read()) as read:
        async for document in read:
            if isinstance(document, LoadFailure):
                raise FlowError(str(document))
            found.append(document.pageContent)
    return "\n".join(found)
