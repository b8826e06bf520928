"""Documents out of a repository on GitHub: the text files of one branch, read over its API."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing
from fnmatch import fnmatch
from urllib.parse import quote, urlsplit

import msgspec

from headrace.engine.ports import LoadFailure
from headrace.errors import FlowError, HeadraceError
from headrace.events import Document
from headrace.retrieval.library import Fetch
from headrace.retrieval.loading import Finish, in_thread
from headrace.retrieval.text_decoding import text_documents
from headrace.retrieval.web import fetched, hourly

_LINK = re.compile(r"/([\w.-]+)/([\w.-]+?)(?:\.git)?(?:/(?:tree|blob)/[^/]+/(.+))?/?")
_FILE_MOST = 5 << 20
_TREE_MOST = 64 << 20
_FILES_MOST = 5000
_BINARY = frozenset(
    "png jpg jpeg gif bmp ico webp svg pdf zip gz tar 7z jar war exe dll so dylib bin woff woff2 ttf eot otf "
    "mp3 mp4 mov avi wav webm pyc class o a lib wasm docx xlsx pptx parquet sqlite db lock".split()
)


class _Entry(msgspec.Struct):
    path: str
    type: str
    size: int = 0


class _Tree(msgspec.Struct):
    tree: list[_Entry]


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """Which files of a repository are meant. `ignored` are patterns of paths."""

    link: str
    branch: str = "main"
    recursive: bool = True
    ignored: Sequence[str] = ()
    api: str = "https://api.github.com"


class RepositoryDocuments:
    """Implements `headrace.engine.ports.Documents` for a repository."""

    fingerprint: str

    def __init__(self, fetch: Fetch, repository: Repository, token: str, finish: Finish) -> None:
        """Raises FlowError for a link that names no repository."""
        found = _LINK.fullmatch(urlsplit(repository.link).path)
        if not found:
            raise FlowError(
                f"{repository.link!r} is no repository: write its address, such as https://github.com/owner/name"
            )
        self._owner, self._name, self._folder = found[1], found[2], (found[3] or "").strip("/")
        self.fingerprint = hourly(repr(repository), finish.name)
        self._fetch, self._repository, self._finish = fetch, repository, finish
        self._headers = {"User-Agent": "headrace", **({"Authorization": f"Bearer {token}"} if token else {})}

    async def read(self) -> AsyncGenerator[Document | LoadFailure]:
        """The documents, file after file."""
        try:
            paths = await self._paths()
        except HeadraceError as error:
            yield LoadFailure(self._repository.link, "listed", str(error), hides=True)
            return
        for path in paths:
            async for document in self._file(path):
                yield document

    async def _file(self, path: str) -> AsyncGenerator[Document | LoadFailure]:
        branch = quote(self._repository.branch, safe="")
        url = f"{self._place}/contents/{quote(path)}?ref={branch}"
        headers = {**self._headers, "Accept": "application/vnd.github.raw+json"}
        try:
            data = await fetched(self._fetch, url, _FILE_MOST, headers)
        except HeadraceError as error:
            yield LoadFailure(path, "fetched", str(error))
            return
        async with aclosing(in_thread(self._parsed(path, data))) as found:
            async for document in found:
                yield document

    def _parsed(self, path: str, data: bytes) -> Generator[Document | LoadFailure]:
        known = {"repository": f"{self._owner}/{self._name}", "branch": self._repository.branch}
        try:
            for document in text_documents(io.BytesIO(data), path):
                yield from self._finish.chunks(Document(document.pageContent, {**document.metadata, **known}))
        except FlowError as error:
            yield LoadFailure(path, "read", str(error))

    @property
    def _place(self) -> str:
        return f"{self._repository.api.rstrip('/')}/repos/{self._owner}/{self._name}"

    async def _paths(self) -> list[str]:
        url = f"{self._place}/git/trees/{quote(self._repository.branch, safe='')}?recursive=1"
        try:
            tree = msgspec.json.decode(await fetched(self._fetch, url, _TREE_MOST, self._headers), type=_Tree).tree
        except msgspec.MsgspecError as error:
            raise FlowError(f"the answer is no list of files: {error}") from None
        paths = [
            entry.path for entry in tree if entry.type == "blob" and entry.size <= _FILE_MOST and self._is_meant(entry)
        ]
        if len(paths) > _FILES_MOST:
            raise FlowError(f"it has more than {_FILES_MOST} files: name a folder in its address, or ignore some paths")
        return paths

    def _is_meant(self, entry: _Entry) -> bool:
        inside = not self._folder or entry.path == self._folder or entry.path.startswith(f"{self._folder}/")
        below = entry.path.removeprefix(self._folder).strip("/")
        if not inside or entry.path.rpartition(".")[2].lower() in _BINARY:
            return False
        if "/" in below and not self._repository.recursive:
            return False
        return not any(_matches(entry.path, pattern) for pattern in self._repository.ignored)


def _matches(path: str, pattern: str) -> bool:
    """As in a .gitignore: a name anywhere, a folder with all that it holds, or a pattern of the whole path."""
    bare = pattern.strip("/")
    parts = path.split("/")
    return (
        fnmatch(path, bare)
        or any(fnmatch("/".join(parts[:n]), bare) for n in range(1, len(parts)))
        or any(fnmatch(part, bare) for part in parts)
    )
