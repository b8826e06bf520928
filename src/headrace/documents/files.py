"""Files of document stores, in the data folder: `files/<store>/<loader>/<digest>/<name>`.

Each set of files has a folder of its own, so a loader's files are replaced as a whole, and by the same set not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from headrace.documents.stores import StoredFile
from headrace.errors import FlowError, InvalidRequest, StorageError
from headrace.retrieval.files import File, files_of
from headrace.storage.storage import timestamp

_STORED = "FILE-STORAGE::"
_NAMED = ",filename:"
_LONGEST_TYPE = 200  # characters at the beginning of a data URI


class Kept(NamedTuple):
    """A loader's inputs with the names of its files in the place of the files, and the files."""

    inputs: dict[str, Any]
    files: list[StoredFile]
    folder: str


class StoreFiles:
    """The files of all loaders. Blocking."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, store: str, loader: str, inputs: Mapping[str, Any], before: str = "") -> Kept:
        """Stores the files that inputs bring; those that they only name are in the folder `before`.

        Raises InvalidRequest for what is no file, StorageError.
        """
        named = {name: value for name, value in inputs.items() if is_file_input(name) and _holds_files(value)}
        if not named:
            return Kept(dict(inputs), [], "")
        try:
            found = {name: files_of(value, self._folder / before) for name, value in named.items()}
            contents = _contents([file for files in found.values() for file in files])
        except FlowError as error:
            raise InvalidRequest(str(error)) from None
        folder = f"{store}/{loader}/{_digest(contents)}"
        self._write(folder, contents)
        types = {name: kind for value in named.values() for name, kind in _types(value).items()}
        files = [
            StoredFile(str(uuid4()), name, types.get(name, ""), len(content), "NEW", timestamp())
            for name, content in contents.items()
        ]
        references = {
            name: _STORED + msgspec.json.encode([file.name for file in files]).decode() for name, files in found.items()
        }
        return Kept({**inputs, **references}, files, folder)

    def _write(self, folder: str, contents: Mapping[str, bytes]) -> None:
        place = self._folder / folder
        if place.exists():  # the same files, whole
            return
        draft = place.with_name(f".{token_hex(8)}")
        try:
            draft.mkdir(parents=True, mode=0o700)
            for name, content in contents.items():
                (draft / name).write_bytes(content)
            os.replace(draft, place)
        except OSError as error:
            raise StorageError(f"the files could not be stored: {error.strerror}") from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def keep_only(self, store: str, loader: str, folder: str) -> None:
        """Deletes all sets of a loader's files but one."""
        for other in (self._folder / store / loader).glob("*"):
            if f"{store}/{loader}/{other.name}" != folder:
                shutil.rmtree(other, ignore_errors=True)

    def forget(self, store: str, loader: str = "") -> None:
        """Deletes the files of a store, or of one of its loaders."""
        shutil.rmtree(self._folder / store / loader, ignore_errors=True)


def is_file_input(name: str) -> bool:
    """True for an input of a loader that takes files."""
    return name == "file" or name.endswith("File")


def _contents(files: Sequence[File]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in files:
        content = _bytes(file)
        if found.setdefault(file.name, content) != content:
            raise InvalidRequest(f"two files are named {file.name!r}: give one of them another name")
    return found


def _holds_files(value: Any) -> bool:
    return isinstance(value, str) and value.startswith((_STORED, "data:", '["data:'))


def _bytes(file: File) -> bytes:
    if not file.name or file.name in (".", "..") or "/" in file.name or "\\" in file.name:
        raise InvalidRequest(f"{file.name[:80]!r} is not the name of a file")
    try:
        with file.open() as content:
            return content.read()
    except OSError as error:
        raise InvalidRequest(f"the file {file.name!r} is not here: {error.strerror}; send it again") from None


def _digest(contents: Mapping[str, bytes]) -> str:
    parts = [f"{name}\0{hashlib.sha256(content).hexdigest()}" for name, content in sorted(contents.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _types(value: str) -> dict[str, str]:
    """The MIME type of each file that is written into an input, by its name."""
    uris = msgspec.json.decode(value, type=list[str]) if value.startswith("[") else [value]
    given = [uri for uri in uris if uri.startswith("data:") and _NAMED in uri]
    return {uri[uri.rindex(_NAMED) + len(_NAMED) :]: uri[5:_LONGEST_TYPE].partition(";")[0] for uri in given}
