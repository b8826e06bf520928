"""Finds the parts of an old install: its database or export, its key, and the folder with its files."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from headrace.errors import InvalidRequest
from headrace.migration import cipher, servers, sqlite
from headrace.migration.export_file import ExportSource
from headrace.migration.sources import Row, Source

_DATABASE: Final = "database.sqlite"
_OVERWRITE: Final = "FLOWISE_SECRETKEY_OVERWRITE"


class Install(NamedTuple):
    """An old install. `place` is a URL or a file, `keys` are what its credentials may be encrypted with."""

    place: str | Path
    keys: Sequence[str]
    storage: Path | None
    api_keys: Sequence[Row] = ()
    """Keys of older releases, which kept them in `api.json`."""


def find(source: str, key_file: Path | None, storage: Path | None, environ: Mapping[str, str] = os.environ) -> Install:
    """The install that `source` names: a home folder, a database file, an export, or a URL. Raises InvalidRequest."""
    if "://" in source:
        return Install(source, _keys(key_file, None, environ), storage)
    path = Path(source).expanduser()
    if path.is_dir():
        path /= _DATABASE
    if not path.is_file():
        raise InvalidRequest(f"{path} is not there: name the old home folder, its database file, a URL or an export")
    home = path.parent
    beside = home / "storage"
    files = storage or (beside if beside.is_dir() else None)
    return Install(path, _keys(key_file, home / "encryption.key", environ), files, _api_keys(home / "api.json"))


def _keys(given: Path | None, beside: Path | None, environ: Mapping[str, str]) -> Sequence[str]:
    if given is None and environ.get(_OVERWRITE):
        return cipher.passphrases(environ[_OVERWRITE])
    if given is None and (beside is None or not beside.is_file()):
        return ()
    path = given or beside
    assert path
    try:
        return cipher.passphrases(path.read_text())
    except OSError as error:
        raise InvalidRequest(f"the key file {str(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{str(path)!r} is not a key file of Flowise: it is no text") from None


def _api_keys(path: Path) -> Sequence[Row]:
    try:
        found: Any = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):  # newer releases leave none, or an empty one
        return ()
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else ()


@asynccontextmanager
async def opened(place: str | Path) -> AsyncGenerator[Source]:
    """The rows of an install. Raises InvalidRequest."""
    if isinstance(place, str):
        async with servers.opened(place) as source:
            yield source
        return
    start = _start(place)
    if start.startswith(b"SQLite format 3\0"):
        async with sqlite.opened(place) as source:
            yield source
    elif start.startswith((b"--", b"/*")):
        raise InvalidRequest(f"{place} is a dump: load it into a database server, and name that server's URL")
    elif start.startswith((b"{", b"\x1f\x8b", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        yield ExportSource(place)
    else:
        raise InvalidRequest(f"{place} is neither a SQLite database nor an export of Flowise")


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip()
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from None
