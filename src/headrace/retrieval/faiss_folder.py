"""Reads a folder that Flowise's Faiss node wrote: `faiss.index` with the vectors, `docstore.json` with the passages.

LangChain for Python keeps its passages in a pickle, which may run code when it is read, so that is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.engine.ports import Embeddings
from headrace.errors import FlowError
from headrace.events import Document
from headrace.installation import remedy
from headrace.retrieval.embedded.collection import Collection, Upsert, stream_of
from headrace.retrieval.files import within
from headrace.retrieval.library import Library
from headrace.retrieval.loading import fingerprint

INDEX: Final = "faiss.index"
PASSAGES: Final = "docstore.json"
_PICKLE: Final = "index.pkl"


class _Passage(msgspec.Struct):
    pageContent: str = ""
    metadata: dict[str, Any] | None = None


class Kept:
    """Implements `headrace.engine.ports.Embeddings` with vectors that were made before, by the model of this name."""

    name: str

    def __init__(self, name: str, vectors: Mapping[str, Sequence[float]]) -> None:
        self.name, self._vectors = name, vectors

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """The vector that was kept for each text."""
        return [self._vectors[text] for text in texts]


def folder_of(root: Path, name: str) -> Path | None:
    """The folder of that name inside `root`, if it holds an index. Raises FlowError for one with a pickle."""
    try:
        folder = within(root, name)
    except FlowError:  # a name that was never a folder here
        return None
    if (folder / INDEX).is_file() and (folder / PASSAGES).is_file():
        return folder
    if (folder / _PICKLE).is_file():
        raise FlowError(
            f"the Faiss folder {name!r} holds its passages as a pickle, which may run code when it is read: "
            f"write them as {PASSAGES!r} beside {INDEX!r}, or upsert the documents here"
        )
    return None


def mark_of(folder: Path) -> str:
    """Changes when the index does."""
    stats = [(folder / name).stat() for name in (INDEX, PASSAGES)]
    return fingerprint(*(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats))


def read_folder(folder: Path) -> list[tuple[Document, Sequence[float]]]:
    """The passages with their vectors. Blocking. Raises FlowError when they cannot be read."""
    try:
        reader: Any = import_module("faiss")
    except ImportError:
        raise FlowError(f"reading a Faiss index needs a package: {remedy('faiss')}") from None
    try:
        stored, places = msgspec.json.decode(
            (folder / PASSAGES).read_bytes(), type=tuple[list[tuple[str, _Passage]], dict[str, str]]
        )
        index = reader.read_index(str(folder / INDEX))
        rows = index.reconstruct_n(0, index.ntotal)
    except (OSError, RuntimeError, msgspec.MsgspecError) as error:
        raise FlowError(f"the Faiss folder {folder.name!r} cannot be read: {error}") from None
    passages = dict(stored)
    found = [(passages[key], rows[int(place)]) for place, key in places.items() if key in passages]
    return [(Document(one.pageContent, one.metadata or {}), vector.tolist()) for one, vector in found]


async def folder_collection(library: Library, folder: Path, embeddings: Embeddings) -> Collection:
    """The folder's passages as a collection, read once as long as its files stay the same. Raises FlowError."""
    prefix, mark = f"faiss folder/{folder}/", mark_of(folder)
    collection = library.collection(f"{prefix}{mark}", embeddings)
    if await collection.fingerprint() == mark:
        return collection
    found = await asyncio.to_thread(read_folder, folder)
    kept = Kept(embeddings.name, {document.pageContent: vector for document, vector in found})
    await library.forget_oldest(prefix, 1)
    into = library.collection(collection.name, kept)
    await Upsert(into, cleanup="full", fingerprint=mark).run(stream_of([document for document, _ in found]))
    return collection
