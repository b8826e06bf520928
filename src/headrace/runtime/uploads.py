"""Files that came with questions, in the data folder: `uploads/<flow>/<chat>/<name>`. No name leads out of it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex
from urllib.parse import unquote_to_bytes

import msgspec

from headrace.errors import InvalidRequest, NotFound, StorageError
from headrace.retrieval.files import from_base64, to_base64
from headrace.schema import FileUpload, MemoryMessage

_STORED = ("file", "file:rag", "audio")


def data_of(uri: str) -> tuple[str, bytes]:
    """Type and bytes of a data URI. Blocking: large ones take a while. Raises InvalidRequest."""
    start = uri.find(",") + 1
    if not uri.startswith("data:") or not start:
        raise InvalidRequest("a file must be a data URI: data:<type>;base64,<bytes>")
    kind, _, encoding = uri[5 : start - 1].rpartition(";")
    if encoding != "base64":
        return uri[5 : start - 1].partition(";")[0], unquote_to_bytes(uri[start:])
    try:
        return kind.partition(";")[0], from_base64(uri, start, len(uri))
    except ValueError:
        raise InvalidRequest("a file's base64 is damaged") from None


def attached(uploads: Sequence[FileUpload]) -> str:
    """The texts of attached files, as a model reads them in front of the question."""
    full = [upload for upload in uploads if upload.type == "file:full"]
    return "".join(f"<doc name='{upload.name}'>{upload.data or ''}</doc>\n\n" for upload in full)


class Uploads:
    """The files of all chats."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def keep(self, flow: str, chat: str, uploads: Sequence[FileUpload]) -> list[FileUpload]:
        """Stores what came as bytes, and returns the uploads as the chat history shows them. Raises StorageError."""
        return [await asyncio.to_thread(self._kept, flow, chat, upload) for upload in uploads]

    def _kept(self, flow: str, chat: str, upload: FileUpload) -> FileUpload:
        if upload.type == "file:full":
            return FileUpload("stored-file:full", upload.name, upload.mime)
        if upload.type not in _STORED or not (upload.data or "").startswith("data:"):
            return upload
        _, content = data_of(upload.data or "")
        kind = "stored-file:rag" if upload.type == "file:rag" else "stored-file"
        try:
            return FileUpload(kind, _written(self._path(flow, chat), upload.name, content), upload.mime)
        except OSError as error:
            raise StorageError(f"the file {upload.name!r} could not be stored: {error.strerror}") from None

    async def take(self, flow: str, chat: str, file: Path) -> bool:
        """Copies a file into a chat; says whether it was not there. Raises StorageError."""
        return await asyncio.to_thread(self._taken, flow, chat, file)

    def _taken(self, flow: str, chat: str, file: Path) -> bool:
        folder = self._path(flow, chat)
        try:
            content = file.read_bytes()
            if (folder / file.name).is_file() and (folder / file.name).read_bytes() == content:
                return False
            _written(folder, file.name, content)
        except OSError as error:
            raise StorageError(f"the file {file.name!r} could not be copied: {error.strerror}") from None
        return True

    async def read(self, flow: str, chat: str, name: str) -> bytes:
        """A stored file. Raises NotFound."""
        try:
            if "/" in name or "\\" in name:
                raise FileNotFoundError
            return await asyncio.to_thread((self._path(flow, chat) / name).read_bytes)
        except (OSError, ValueError):  # a NUL byte
            raise NotFound(f"this chat has no file {name!r}") from None

    async def seen(self, flow: str, turns: Sequence[MemoryMessage]) -> list[MemoryMessage]:
        """The turns with the bytes of their pictures; one that is gone is left out."""
        return [await self._seen(flow, turn) if turn.uploads else turn for turn in turns]

    async def _seen(self, flow: str, turn: MemoryMessage) -> MemoryMessage:
        pictures: list[FileUpload] = []
        for upload in turn.uploads:
            if upload.type == "stored-file" and upload.mime.startswith("image/"):
                try:
                    content = await self.read(flow, turn.chat, upload.name)
                except NotFound:
                    continue
                data = await asyncio.to_thread(to_base64, content, f"data:{upload.mime};base64,")
                upload = msgspec.structs.replace(upload, data=data)
            pictures.append(upload)
        return msgspec.structs.replace(turn, uploads=pictures)

    async def forget(self, flow: str, chat: str | None = None) -> None:
        """Deletes the files of a flow, or of one of its chats."""
        folder = self._folder / flow if chat is None else self._path(flow, chat)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _path(self, flow: str, chat: str) -> Path:
        """A chat's folder. Chats are named by their callers, so their names are no paths."""
        return self._folder / flow / hashlib.sha256(chat.encode()).hexdigest()[:32]


def _written(folder: Path, name: str, content: bytes) -> str:
    """Writes a file whole or not at all, and returns its name: another one where that is taken."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / name
    if path.exists() and path.read_bytes() != content:
        path = path.with_stem(f"{path.stem}-{hashlib.sha256(content).hexdigest()[:16]}")
    written = folder / f".{token_hex(8)}"
    try:
        written.write_bytes(content)
        os.replace(written, path)
    finally:
        written.unlink(missing_ok=True)
    return path.name
