"""Copies the files of an old install: those of chats, and those of document stores' loaders. Each copy is whole or not
there, and the same file again changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from headrace.documents.files import StoreFiles
from headrace.documents.stores import Loader
from headrace.errors import HeadraceError

_STORES: Final = "docustore"


class ChatFile(NamedTuple):
    """A file that came with a question."""

    flow: str
    chat: str
    path: Path


class Folders:
    """The old storage folder: `<organization>/<flow>/<chat>/<file>`; older releases have no organizations there."""

    def __init__(self, storage: Path) -> None:
        self._roots = [storage, *(path for path in sorted(storage.glob("*")) if path.is_dir())]

    def of_chats(self, flows: Sequence[str]) -> Iterator[ChatFile]:
        """The files of these flows' chats."""
        for flow in flows:
            for root in self._roots:
                for path in sorted((root / flow).glob("*/*")):
                    if path.is_file():
                        yield ChatFile(flow, path.parent.name, path)

    def of_store(self, store: str) -> Path | None:
        """The folder with the files of a document store."""
        found = (root / _STORES / store for root in self._roots)
        return next((folder.absolute() for folder in found if folder.is_dir()), None)


def with_files(files: StoreFiles, loader: Loader, folder: Path | None) -> tuple[Loader, str]:
    """The loader with its files in the data folder; and which are missing, in words, or ""."""
    if not loader.files and "FILE-STORAGE::" not in str(loader.loaderConfig):
        return loader, ""
    if folder is None:
        return loader, "its files are not in the storage folder"
    try:
        kept = files.keep(loader.storeId, loader.id, loader.loaderConfig, str(folder))
    except HeadraceError as error:
        return loader, str(error)
    known = {file.name: file for file in loader.files}
    own = [known.get(file.name, file) for file in kept.files]
    return msgspec.structs.replace(loader, loaderConfig=kept.inputs, files=own, folder=kept.folder), ""
