"""Writes the data folder into one archive while servers work on it, and puts such an archive in the folder's place.

The archive is a tar file, compressed with gzip. Its last member lists every file with size and SHA-256, so an archive
that was cut or changed is found out before anything of the old folder is touched.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory, mkdtemp
from typing import IO, Final

import msgspec

from headrace.errors import InvalidRequest, StorageError
from headrace.storage import dialect
from headrace.storage.presence import in_use

LEFT_OUT: Final = frozenset({"vectors", "processes"})
"""Vectors are made anew from the database; `processes` says which processes run."""
_LIST: Final = ".backup.json"  # no file of the folder has such a name: see _place
_LARGEST_LIST: Final = 256 * 1024 * 1024  # bytes; a million files need about half of it
_FORMAT: Final = 1
_BLOCK: Final = 1024 * 1024
_DATABASE: Final = "headrace.sqlite"
_HEAD: Final = b"SQLite format 3\0"
_BESIDE: Final = ("-wal", "-shm", "-journal")
_BROKEN: Final = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeError, msgspec.MsgspecError)


class BrokenBackup(Exception):
    """An archive that is no whole, unchanged backup."""


class Entry(msgspec.Struct, frozen=True):
    """One file of a backup."""

    size: int
    sha256: str


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The list at the end of an archive."""

    format: int
    version: str
    created: str
    files: dict[str, Entry]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files.values())


def back_up(folder: Path, target: Path, version: str, *, force: bool = False) -> Contents:
    """Writes the archive, which its owner alone may read. It appears under its name when it is whole; `version` is
    Headrace's.

    Raises InvalidRequest when there is nothing to save, or when `target` exists and `force` is not set.
    """
    folder = folder.resolve()
    if not (folder / _DATABASE).is_file():
        raise InvalidRequest(f"there is nothing to back up: {str(folder)!r} holds no {_DATABASE}")
    if target.resolve().is_relative_to(folder):
        raise InvalidRequest(f"{str(target)!r} lies in the data folder: put the backup somewhere else")
    if target.exists() and not force:
        raise InvalidRequest(f"{str(target)!r} exists already: give another name, or --force to replace it")
    if not target.parent.is_dir():
        raise InvalidRequest(f"there is no folder {str(target.parent)!r} for the backup: make it first")
    with _with_reason(target), TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as draft:
        archive = Path(draft) / "archive"
        with os.fdopen(os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            contents = _write(folder, file, Path(draft), version)
            file.flush()
            os.fsync(file.fileno())
        archive.replace(target)
    return contents


def _write(folder: Path, file: IO[bytes], draft: Path, version: str) -> Contents:
    files: dict[str, Entry] = {}
    with (
        gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, path in _found(folder):
            _check_name(name)
            if _is_database(name, path):
                with _snapshot(path, draft) as copy:
                    files[name] = _add(tar, name, copy)
            else:
                with suppress(FileNotFoundError):  # deleted since it was listed
                    files[name] = _add(tar, name, path)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        contents = Contents(format=_FORMAT, version=version, created=now, files=files)
        listed = draft / _LIST
        listed.write_bytes(msgspec.json.format(msgspec.json.encode(contents), indent=1))
        _add(tar, _LIST, listed)
    return contents


def _found(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name in the archive and path of every file. The database comes first: a file is there before the row that
    names it is."""
    yield _DATABASE, folder / _DATABASE
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if name in LEFT_OUT or name == _DATABASE or name.startswith("."):
            continue
        if path.is_dir():
            yield from _below(name, path, {path.resolve()})
        elif path.is_file() and not _beside(path):
            yield name, path


def _below(name: str, folder: Path, above: set[Path]) -> Iterator[tuple[str, Path]]:
    """The files below a folder. Links are followed, but not in circles."""
    for path in sorted(folder.iterdir()):
        inner = f"{name}/{path.name}"
        if path.is_dir():
            if (real := path.resolve()) not in above:
                yield from _below(inner, path, above | {real})
        elif path.is_file() and not (name.startswith("databases") and _beside(path)):
            yield inner, path


def _check_name(name: str) -> None:
    """Refuses to save what could not be restored. Raises InvalidRequest."""
    try:
        name.encode()
        _place(Path(), name)
    except (BrokenBackup, UnicodeError):
        raise InvalidRequest(f"{name!r} cannot be in a backup: rename it, or remove it") from None


def _beside(path: Path) -> bool:
    """True for a file that SQLite keeps beside a database, whose own copy has its content already."""
    name = path.name
    return any(name.endswith(end) and path.with_name(name.removesuffix(end)).exists() for end in _BESIDE)


def _is_database(name: str, path: Path) -> bool:
    if "/" in name and not name.startswith("databases/"):
        return False  # what users have given is copied as it is
    with suppress(FileNotFoundError), path.open("rb") as file:
        return file.read(len(_HEAD)) == _HEAD
    return False


@contextmanager
def _snapshot(path: Path, draft: Path) -> Generator[Path]:
    """A copy of a database as it is at one moment. In one step, so that writers can neither delay nor mix it."""
    copy = draft / "database"
    try:
        dialect.copy(path, copy)
    except StorageError as error:
        raise InvalidRequest(f"the database {path.name!r} cannot be read: {error}") from None
    yield copy
    copy.unlink()


def _add(tar: tarfile.TarFile, name: str, path: Path) -> Entry:
    """Puts a file into the archive, as long as it is when it is opened."""
    with path.open("rb") as file:
        member = tarfile.TarInfo(name)
        stat = os.fstat(file.fileno())
        member.size, member.mtime, member.mode = stat.st_size, int(stat.st_mtime), 0o600
        source = _Hashing(file)
        try:
            tar.addfile(member, source)  # pyright: ignore[reportArgumentType]: it needs `read` alone
        except OSError as error:
            if error.errno is not None:
                raise
            raise InvalidRequest(f"{name!r} became shorter while it was read: try again") from None
    return Entry(member.size, source.digest.hexdigest())


class _Hashing:
    """A file that is read once, and hashed on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self.digest.update(data)
        return data


def restore(archive: Path, folder: Path, *, force: bool = False) -> tuple[Contents, Path | None]:
    """Puts what the archive holds in the place of the data folder; returns its list, and where the old folder is now.

    The archive is read and checked beside the folder first; until then nothing changes. Raises BrokenBackup, and
    InvalidRequest when a process works on the folder, or when it is not empty and `force` is not set.
    """
    folder = folder.resolve()
    _check_free(folder, force=force)
    mounted = os.path.ismount(folder)  # which cannot be renamed
    with _with_reason(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(mkdtemp(prefix=".restoring-", dir=folder if mounted else folder.parent))
        try:
            contents = _unpacked(archive, staged)
            _check_free(folder, force=force, ours=staged)
            old = _swapped_inside(staged, folder) if mounted else _swapped(staged, folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return contents, old


def _check_free(folder: Path, *, force: bool, ours: Path | None = None) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InvalidRequest(f"{str(folder)!r} is not a folder")
    if in_use(folder):
        raise InvalidRequest(f"a process works on the data folder {str(folder)!r}: stop the server first")
    if not force and any(path != ours for path in folder.iterdir()):
        raise InvalidRequest(
            f"the data folder {str(folder)!r} is not empty: use --force to put the backup in its place"
        )


def _unpacked(archive: Path, staged: Path) -> Contents:
    """Writes what the archive holds into an empty folder. Raises BrokenBackup."""
    files: dict[str, Entry] = {}
    contents: Contents | None = None
    try:
        with archive.open("rb") as file, gzip.GzipFile(fileobj=file) as packed:
            with tarfile.open(fileobj=packed, mode="r|") as tar:
                for member in tar:
                    source = _body(tar, member)
                    if contents is not None:
                        raise BrokenBackup(f"{member.name!r} comes after the list of its files")
                    if member.name == _LIST:
                        contents = _list_in(source, member.size)
                    else:
                        files[member.name] = _put(source, _place(staged, member.name))
            while packed.read(_BLOCK):  # up to gzip's own end, which says whether all of it came
                pass
    except _BROKEN as error:
        raise BrokenBackup(str(error) or type(error).__name__) from None
    _compare(contents, files)
    assert contents
    return contents


def _compare(contents: Contents | None, files: dict[str, Entry]) -> None:
    if contents is None:
        raise BrokenBackup("the list of its files is missing")
    if contents.format != _FORMAT:
        raise BrokenBackup(f"it was made by Headrace {contents.version} in a later format: install that version")
    for name in sorted(files.keys() | contents.files.keys()):
        if files.get(name) != contents.files.get(name):
            raise BrokenBackup(f"{name!r} is not what the list says")
    if _DATABASE not in files:
        raise BrokenBackup(f"it holds no {_DATABASE}")


def _body(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    """The bytes of a plain file. Links, folders and devices are in no backup."""
    source = tar.extractfile(member) if member.isreg() else None
    if source is None:
        raise BrokenBackup(f"{member.name!r} is not a plain file")
    return source


def _list_in(source: IO[bytes], size: int) -> Contents:
    if size > _LARGEST_LIST:
        raise BrokenBackup("the list of its files is too long")
    return msgspec.json.decode(source.read(), type=Contents)


def _place(folder: Path, name: str) -> Path:
    """The path of a member, always below the folder. Raises BrokenBackup."""
    parts = name.split("/")
    strange = ":" in parts[0] or any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts)
    if strange or PurePosixPath(name).is_absolute() or parts[0] in LEFT_OUT or parts[0].startswith("."):
        raise BrokenBackup(f"{name!r} is not a name of a file in a data folder")
    return folder.joinpath(*parts)


def _put(source: IO[bytes], place: Path) -> Entry:
    """Writes a file that only its owner may read."""
    hashed, size = _Hashing(source), 0
    try:
        _make(place.parent)
        opened = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    except (FileExistsError, NotADirectoryError):
        raise BrokenBackup(f"{place.name!r} is in it twice") from None
    with os.fdopen(opened, "wb") as file:
        while data := hashed.read(_BLOCK):
            size += file.write(data)
    return Entry(size, hashed.digest.hexdigest())


def _make(folder: Path) -> None:
    """Makes a folder and those above it, each for its owner alone."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700)


def _aside(near: Path, name: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    return near / f"{name}-before-restore-{stamp}"


def _swapped(staged: Path, folder: Path) -> Path | None:
    """Renames the folders, so that there is always either the old one or the new one."""
    old = None
    if folder.exists() and any(folder.iterdir()):
        old = _aside(folder.parent, folder.name)
        folder.rename(old)
    elif folder.exists():
        folder.rmdir()
    try:
        staged.rename(folder)
    except OSError:
        if old:
            old.rename(folder)
        raise
    return old


def _swapped_inside(staged: Path, folder: Path) -> Path | None:
    """The same for a folder that cannot be renamed itself: what is in it moves. Moves it back when that fails."""
    old = _aside(folder, ".data")
    old.mkdir(mode=0o700)
    moved: list[tuple[Path, Path]] = []
    try:
        for source, target in ((folder, old), (staged, folder)):
            for path in sorted(source.iterdir()):
                if path in (old, staged) or path.name == "lost+found":
                    continue
                path.rename(target / path.name)
                moved.append((path, target / path.name))
    except OSError:
        for before, after in reversed(moved):
            after.rename(before)
        old.rmdir()
        raise
    if any(old.iterdir()):
        return old
    old.rmdir()
    return None


@contextmanager
def _with_reason(place: Path) -> Generator[None]:
    """Makes one line of what the operating system says. Raises InvalidRequest."""
    try:
        yield
    except OSError as error:
        at = error.filename or place
        raise InvalidRequest(f"{str(at)!r} cannot be read or written: {error.strerror or error}") from None
