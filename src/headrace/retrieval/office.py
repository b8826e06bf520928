"""Documents out of PDF and DOCX files. What these files claim of themselves is not believed."""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO, Literal, TypeAlias
from xml.etree import ElementTree

from headrace.errors import FlowError
from headrace.events import Document
from headrace.installation import remedy
from headrace.retrieval.text_decoding import pieces

PdfUsage: TypeAlias = Literal["perPage", "perFile"]

_MAIN = "word/document.xml"
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_BREAKS = {f"{_WORD}tab": "\t", f"{_WORD}br": "\n", f"{_WORD}cr": "\n"}
_XML_MOST = 256 << 20  # bytes, unpacked
_SMALL = 16 << 20
_DENSE = 100
"""How much smaller than itself a real document packs, at most."""


def pdf_documents(file: BinaryIO, name: str, usage: PdfUsage = "perPage") -> Iterator[Document]:
    """One a page, or one for the file. Raises FlowError."""
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError:
        raise FlowError(f"reading PDF files needs one more package: {remedy('rag')}") from None
    # It tells of faults without the file's name, which failures have.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    # A damaged file makes the parser stumble in any of these ways.
    stumbles = (
        PyPdfError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
        zlib.error,
    )
    try:
        reader = PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise FlowError("it is encrypted: save it without a password")
        known = {"source": name, "pdf": {"totalPages": len(reader.pages)}}
        texts = ((number, _clean(page.extract_text())) for number, page in enumerate(reader.pages, 1))
        if usage == "perFile":
            for piece in pieces(f"{text}\n\n" for _, text in texts):
                yield Document(piece.strip(), known)
            return
        for number, text in texts:
            if text.strip():
                yield Document(text, {**known, "loc": {"pageNumber": number}})
    except stumbles as error:
        raise FlowError(f"it is damaged or no PDF: {error}") from None


def _clean(text: str) -> str:
    """The text without what no text holds: fonts can map glyphs to anything."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def docx_documents(file: BinaryIO, name: str) -> Iterator[Document]:
    """The paragraphs of the file's text, unpacked as they are read. Raises FlowError."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open(_checked(archive)) as text:
            for piece in pieces(f"{paragraph}\n\n" for paragraph in _paragraphs(text) if paragraph.strip()):
                yield Document(piece.strip(), {"source": name})
    except KeyError:
        raise FlowError("it is no Word document: it has no text inside") from None
    except (
        zipfile.BadZipFile,
        ElementTree.ParseError,
        RuntimeError,
        EOFError,
        LookupError,
        ValueError,
        zlib.error,
    ) as error:
        raise FlowError(f"it is damaged or no Word document: {error}") from None


def _checked(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The part with the text. Raises FlowError for one that unpacks to more than any document (a zip bomb)."""
    part = archive.getinfo(_MAIN)  # no more than its size is ever unpacked
    if part.file_size > _XML_MOST:
        raise FlowError(f"its text unpacks to more than {_XML_MOST >> 20} MiB: divide it into several files")
    if part.file_size > _SMALL and part.file_size > _DENSE * part.compress_size:
        raise FlowError("it unpacks to more than a document would: it may be made to fill memory")
    return part


def _paragraphs(text: IO[bytes]) -> Iterator[str]:
    held: list[str] = []
    open_tags: list[ElementTree.Element] = []
    for event, tag in ElementTree.iterparse(text, ("start", "end")):  # noqa: S314  # expat limits what entities may grow to
        if event == "start":
            open_tags.append(tag)
            continue
        open_tags.pop()
        if tag.tag == f"{_WORD}t":
            held.append(tag.text or "")
        elif tag.tag in _BREAKS:
            held.append(_BREAKS[tag.tag])
        elif tag.tag == f"{_WORD}p":
            yield "".join(held)
            held = []
        if open_tags:  # what was read is forgotten, or the tree would hold the whole document
            open_tags[-1].remove(tag)
