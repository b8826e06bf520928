"""The files of a folder, each read as what its ending says."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from headrace.errors import FlowError
from headrace.retrieval.files import File, within
from headrace.retrieval.loading import Parse
from headrace.retrieval.office import PdfUsage, docx_documents, pdf_documents
from headrace.retrieval.tables import csv_documents, json_documents, jsonl_documents
from headrace.retrieval.text_decoding import text_documents

TEXTS = frozenset(
    ".txt .md .markdown .html .htm .aspx .asp .cpp .c .cs .css .go .h .java .js .less .ts .php .proto .python .py .rst "
    ".ruby .rb .rs .scala .sc .scss .sol .sql .swift .tex .ltx .vb .xml .yaml .yml .toml".split()
)
_MOST = 100_000


def parse_for(name: str, usage: PdfUsage = "perPage", pointer: str = "") -> Parse | None:
    """The reader for a file of this name; None for an unknown ending."""
    match Path(name).suffix.lower():
        case ".pdf":
            return partial(pdf_documents, usage=usage)
        case ".docx":
            return docx_documents
        case ".csv":
            return csv_documents
        case ".json":
            return json_documents
        case ".jsonl":
            return partial(jsonl_documents, pointer=pointer)
        case ending:
            return text_documents if ending in TEXTS else None


def folder_files(root: Path, name: str, *, recursive: bool, usage: PdfUsage, pointer: str) -> list[tuple[File, Parse]]:
    """The files of a folder inside `root` that can be read, by name. Blocking.

    Hidden files and links that lead out of `root` are left out. Raises FlowError when there is no such folder.
    """
    folder = within(root, name)
    if not folder.is_dir():
        raise FlowError(f"there is no folder {name!r} among the files of this server: put it into its folder 'files'")
    found: list[tuple[File, Parse]] = []
    try:
        for path in _walked(folder, root.resolve(), recursive=recursive):
            if parse := parse_for(path.name, usage, pointer):
                found.append((File(str(path.relative_to(folder)), path), parse))
            if len(found) > _MOST:
                raise FlowError(f"the folder {name!r} has more than {_MOST} files: load its folders one by one")
    except OSError as error:
        raise FlowError(f"the folder {error.filename or name!r} could not be listed: {error.strerror}") from None
    return found


def _walked(folder: Path, root: Path, *, recursive: bool) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not _is_inside(path, root):
            continue
        if path.is_dir() and recursive and not path.is_symlink():
            yield from _walked(path, root, recursive=True)
        elif path.is_file():
            yield path


def _is_inside(path: Path, root: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a loop of links
        return False
