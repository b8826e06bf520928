"""Files that flows name: stored in the data folder, or written into the flow as data URIs. No path leads out of it."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

import msgspec

from headrace.errors import FlowError

_STORED = "FILE-STORAGE::"
_NAMED = ",filename:"
_PIECE = 1 << 20  # characters, a multiple of the four that are one group of three bytes


class File(msgspec.Struct, frozen=True):
    """A file that can be opened any number of times."""

    name: str
    content: Path | bytes

    def open(self) -> BinaryIO:
        """Its bytes. Raises OSError."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")

    @property
    def size(self) -> int:
        """In bytes. Raises OSError."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @property
    def fingerprint(self) -> str:
        """Changes when the file changes; "" when it cannot be looked at."""
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        try:
            found = self.content.stat()
        except OSError:
            return ""
        return f"{self.content}:{found.st_size}:{found.st_mtime_ns}"


def files_of(value: str, folder: Path) -> list[File]:
    """The files of an input: `FILE-STORAGE::name`, `FILE-STORAGE::[names]`, a data URI or a JSON list of them.

    Raises FlowError for a name that leads out of the folder, and for anything else.
    """
    if value.startswith(_STORED):
        return [File(name, within(folder, name)) for name in _listed(value.removeprefix(_STORED))]
    uris = _listed(value)
    if not all(uri.startswith("data:") for uri in uris):
        raise FlowError(f"{value[:80]!r} is no file: upload it in the builder, or put a data URI there")
    return [_inline(uri, number) for number, uri in enumerate(uris, 1)]


def _listed(text: str) -> list[str]:
    if not text.startswith("["):
        return [text]
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.MsgspecError:
        raise FlowError(f"{text[:80]!r} is no list of files: upload them again in the builder") from None


def within(folder: Path, name: str) -> Path:
    """A path inside the folder. Raises FlowError when it leads out of it, also by a link."""
    try:
        path = (folder / name).resolve()
        inside = path.is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, or a NUL byte
        inside = False
        path = folder
    if not inside:
        raise FlowError(f"the file {name!r} is outside of the folder that flows may read")
    return path


def _inline(uri: str, number: int) -> File:
    """A file out of a data URI, which may have hundreds of megabytes: the text is not copied as a whole."""
    start = uri.find(",") + 1 or len(uri)
    end, name = uri.rfind(_NAMED, start), f"file {number}"
    if end < 0:
        end = len(uri)
    else:
        name = uri[end + len(_NAMED) :]
    try:
        encoded = uri.endswith(";base64,", 0, start)
        content = from_base64(uri, start, end) if encoded else unquote_to_bytes(uri[start:end])
    except ValueError:  # also for what is not ASCII
        raise FlowError(f"the file {name!r} in the flow is damaged: upload it again in the builder") from None
    return File(name, content)


def from_base64(text: str, start: int, end: int) -> bytes:
    """Decodes a base64 part of a text piece by piece, so that other threads run in between. Raises ValueError."""
    if text.find("=", start, max(start, end - 2)) >= 0:
        raise ValueError("it goes on after its end")
    return b"".join(
        base64.b64decode(text[at : min(at + _PIECE, end)], validate=True) for at in range(start, end, _PIECE)
    )


def to_base64(content: bytes, before: str = "", after: str = "") -> str:
    """Base64 between two texts, made piece by piece: other threads run in between."""
    step = _PIECE // 4 * 3
    pieces = (base64.b64encode(content[at : at + step]).decode() for at in range(0, len(content), step))
    return "".join([before, *pieces, after])
