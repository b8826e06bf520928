"""Texts out of bytes: decoded strictly, read in pieces, cut between paragraphs where a text is too long to hold."""

from __future__ import annotations

import codecs
import io
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from headrace.errors import FlowError
from headrace.events import Document

_BLOCK = 1 << 20  # bytes of one read
_WHOLE = 1 << 20  # characters: a longer text becomes several documents, so that memory does not grow with the file
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@contextmanager
def decoded(file: BinaryIO) -> Generator[io.TextIOWrapper]:
    """The file as text: UTF-8, or UTF-16 if it says so. Reading raises FlowError when it is in another encoding."""
    start = file.read(4)
    file.seek(0)
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
    text = io.TextIOWrapper(file, encoding, newline="")
    try:
        yield text
    except UnicodeDecodeError as error:
        wrong = error.object[error.start : error.start + 1].hex()
        raise FlowError(f"it is not {error.encoding} text (byte 0x{wrong}): save it as UTF-8") from None
    finally:
        text.detach()


def text_documents(file: BinaryIO, name: str) -> Iterator[Document]:
    """A text file. Raises FlowError when it is no text."""
    with decoded(file) as text:
        for piece in pieces(_blocks(text)):
            yield Document(piece, {"source": name})


def unnamed_documents(file: BinaryIO, name: str) -> Iterator[Document]:
    """A text that is no file, so that its documents say nothing of one."""
    return (Document(document.pageContent) for document in text_documents(file, name))


def _blocks(text: io.TextIOWrapper) -> Iterator[str]:
    while block := text.read(_BLOCK):
        if "\0" in block:
            raise FlowError("it is not text: it holds NUL bytes")
        yield block


def pieces(texts: Iterable[str]) -> Iterator[str]:
    """The texts as one, or, if that is too long to hold, cut after a paragraph, else a line, else anywhere."""
    held = ""
    for text in texts:
        held += text
        while len(held) > 2 * _WHOLE:
            at = max(held.rfind("\n\n", 0, _WHOLE), 0) or max(held.rfind("\n", 0, _WHOLE), 0) or _WHOLE
            yield held[:at]
            held = held[at:]
    if held.strip():
        yield held
