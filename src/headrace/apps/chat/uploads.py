"""Files that come with a question: which ones a flow takes, and the form in which it takes them."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from headrace.schema import FileUpload

UNREAD = "unread"
"""Type of a file whose text the server has not read yet, which it does just before the question is asked."""


class Picked(Protocol):
    """A file that somebody chose."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def type(self) -> str:
        """Its media type, as the browser says."""
        ...

    def getvalue(self) -> bytes:
        """The bytes of the file."""
        ...


class Taken(msgspec.Struct, frozen=True):
    """Accepted media types and the size limit in MiB. `files` is the upload type of everything but pictures."""

    images: list[str] = []
    others: list[str] = []
    files: str = ""
    most: int = 0

    @property
    def types(self) -> list[str]:
        """All media types."""
        return [*dict.fromkeys([*self.images, *self.others])]


def taken(config: Mapping[str, Any]) -> Taken:
    """The uploads that the configuration of a flow's chat allows."""
    rules = config.get("uploads") or {}
    images, passages = rules.get("imgUploadSizeAndTypes") or [], rules.get("fileUploadSizeAndTypes") or []
    whole = config.get("fullFileUpload") or {}
    most = max([int(rule.get("maxUploadSize") or 0) for rule in (*images, *passages)], default=0)
    if whole.get("status"):
        types = str(whole.get("allowedUploadFileTypes") or "").split(",")
        return Taken(_types(images), [kind.strip() for kind in types if kind.strip()], UNREAD, most)
    return Taken(_types(images), _types(passages), "file:rag", most)


def _types(rules: Iterable[dict[str, Any]]) -> list[str]:
    return [kind for rule in rules for kind in rule.get("fileTypes") or () if kind]


def upload(file: Picked, takes: Taken) -> FileUpload:
    """The file as it goes along with a question."""
    mime = file.type or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    data = f"data:{mime};base64,{base64.b64encode(file.getvalue()).decode()}"
    return FileUpload("file" if mime in takes.images else takes.files, file.name, mime, data)


def content_of(file: FileUpload) -> bytes:
    """The bytes of a file that is a data URI."""
    return base64.b64decode((file.data or "").rpartition(",")[2])


def uploads_of(files: Sequence[Picked], takes: Taken) -> list[FileUpload]:
    """All files that were chosen."""
    return [upload(file, takes) for file in files]
