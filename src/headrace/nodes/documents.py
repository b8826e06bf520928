"""Document loaders. The reading is in `headrace.retrieval`; each hands over documents, or their text as one."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from headrace.engine.node import Context, Node
from headrace.engine.ports import Documents, Splitter
from headrace.errors import FlowError
from headrace.retrieval.files import File, files_of
from headrace.retrieval.folder import folder_files, parse_for
from headrace.retrieval.github import Repository, RepositoryDocuments
from headrace.retrieval.library import library
from headrace.retrieval.loading import FileDocuments, Finish, NoFile, Parse, texts_of
from headrace.retrieval.manual import pages, sections
from headrace.retrieval.office import PdfUsage, docx_documents, pdf_documents
from headrace.retrieval.tables import csv_documents, json_documents, jsonl_documents
from headrace.retrieval.texts import text_documents
from headrace.retrieval.web import Crawl, PageDocuments

_GITHUB = "https://github.com"
_GITHUB_API = "https://api.github.com"


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


class _Loader(Node, frozen=True, kw_only=True):
    """What all loaders have. `metadata` is added to every document; the keys in `omitMetadataKeys` are left out."""

    textSplitter: Splitter | None = None
    metadata: dict[str, Any] = {}
    omitMetadataKeys: str = ""
    output: str = ""

    async def _given(self, documents: Documents) -> Documents | str:
        """The documents, or for the output `text` what they say."""
        return await texts_of(documents) if self.output == "text" else documents

    @property
    def _finish(self) -> Finish:
        return Finish(self.textSplitter, self.metadata, _words(self.omitMetadataKeys))

    async def _files(self, ctx: Context, value: str, parse: Parse, recipe: str = "") -> Documents | str:
        """The files of an input, stored or in the flow; decoding large ones takes a while."""
        if not value.strip():
            return await self._given(NoFile())
        folder = library(ctx).files / ctx.flow
        documents = await asyncio.to_thread(
            lambda: FileDocuments(
                [(file, parse) for file in files_of(value, folder)], self._finish, f"{type(self).__name__} {recipe}"
            )
        )
        return await self._given(documents)


class PlainText(_Loader, frozen=True, kw_only=True, tag="plainText"):
    """A text in the flow itself."""

    text: str

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        documents = FileDocuments([(File("plain text", self.text.encode()), _unnamed)], self._finish, "plainText")
        return await self._given(documents)


def _unnamed(file: Any, name: str) -> Any:
    return (msgspec.structs.replace(document, metadata={}) for document in text_documents(file, name))


class TextFile(_Loader, frozen=True, kw_only=True, tag="textFile"):
    """Text files."""

    txtFile: str = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        return await self._files(ctx, self.txtFile, text_documents)


class PdfFile(_Loader, frozen=True, kw_only=True, tag="pdfFile"):
    """PDF files, one document a page or a file."""

    pdfFile: str = ""
    usage: PdfUsage = "perPage"
    legacyBuild: bool = False

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        return await self._files(ctx, self.pdfFile, partial(pdf_documents, usage=self.usage), self.usage)


class DocxFile(_Loader, frozen=True, kw_only=True, tag="docxFile"):
    """Word documents."""

    docxFile: str = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        return await self._files(ctx, self.docxFile, docx_documents)


class CsvFile(_Loader, frozen=True, kw_only=True, tag="csvFile"):
    """CSV files, one document a row; of one column, if it is named."""

    csvFile: str = ""
    columnName: str = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        return await self._files(ctx, self.csvFile, partial(csv_documents, column=self.columnName), self.columnName)


class JsonFile(_Loader, frozen=True, kw_only=True, tag="jsonFile"):
    """JSON files: one document a text in them, only under the named pointers if there are any, or one an object."""

    jsonFile: str = ""
    separateByObject: bool = False
    pointersName: str = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        parse = partial(json_documents, pointers=_words(self.pointersName), by_object=self.separateByObject)
        return await self._files(ctx, self.jsonFile, parse, f"{self.pointersName}{self.separateByObject}")


class JsonlinesFile(_Loader, frozen=True, kw_only=True, tag="jsonlinesFile"):
    """Files of JSON lines: one document a line, what the pointer finds in it."""

    jsonlinesFile: str = ""
    pointerName: str

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        return await self._files(
            ctx, self.jsonlinesFile, partial(jsonl_documents, pointer=self.pointerName), self.pointerName
        )


class FileLoader(_Loader, frozen=True, kw_only=True, tag="fileLoader"):
    """Files of any kind, each read as what its ending says."""

    file: str = ""
    usage: PdfUsage = "perPage"
    legacyBuild: bool = False
    pointerName: str = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        if not self.file.strip():
            return await self._given(NoFile())
        folder = library(ctx).files / ctx.flow
        return await self._given(await asyncio.to_thread(self._found, folder))

    def _found(self, folder: Path) -> FileDocuments:
        files = [
            (file, parse_for(file.name, self.usage, self.pointerName) or text_documents)
            for file in files_of(self.file, folder)
        ]
        return FileDocuments(files, self._finish, f"{self.usage}{self.pointerName}")


class FolderFiles(_Loader, frozen=True, kw_only=True, tag="folderFiles"):
    """All files of a folder inside the folder `files` of the data folder, each read as what its ending says."""

    folderPath: str
    recursive: bool = False
    pdfUsage: PdfUsage = "perPage"
    pointerName: str = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        documents = await asyncio.to_thread(self._found, library(ctx).files)
        return await self._given(documents)

    def _found(self, root: Path) -> FileDocuments:
        files = folder_files(
            root, self.folderPath, recursive=self.recursive, usage=self.pdfUsage, pointer=self.pointerName
        )
        return FileDocuments(files, self._finish, f"{self.pdfUsage}{self.pointerName}")


class CheerioWebScraper(_Loader, frozen=True, kw_only=True, tag="cheerioWebScraper"):
    """A web page, the pages that it leads to, or those of a site map. Read anew each hour."""

    url: str
    relativeLinksMethod: Crawl | None = None
    limit: int = 10
    selector: str = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        documents = PageDocuments(
            library(ctx).fetch,
            self.url.strip(),
            self._finish,
            crawl=self.relativeLinksMethod,
            limit=self.limit,
            selector=self.selector,
        )
        return await self._given(documents)


class Github(_Loader, frozen=True, kw_only=True, tag="github"):
    """The text files of a repository on GitHub. Read anew each hour."""

    credential: str = ""
    repoLink: str
    branch: str = "main"
    recursive: bool = False
    maxConcurrency: int | None = None
    githubBaseUrl: str = ""
    githubInstanceApi: str = ""
    ignorePath: str = ""
    maxRetries: int | None = None

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        token = (await ctx.secrets(self.credential)).get("accessToken", "").strip() if self.credential else ""
        repository = Repository(
            link=self.repoLink.strip(),
            branch=self.branch,
            recursive=self.recursive,
            ignored=self._ignored(),
            api=self.githubInstanceApi or _GITHUB_API,
        )
        base = self.githubBaseUrl or _GITHUB
        if not repository.link.startswith(f"{base.rstrip('/')}/"):
            raise FlowError(
                f"the repository {repository.link!r} is not on {base!r}: set its base URL, or mend the link"
            )
        return await self._given(RepositoryDocuments(library(ctx).fetch, repository, token, self._finish))

    def _ignored(self) -> list[str]:
        if not self.ignorePath.strip():
            return []
        try:
            return msgspec.json.decode(self.ignorePath, type=list[str])
        except msgspec.MsgspecError:
            raise FlowError(
                f'the paths to ignore are {self.ignorePath!r}: write a JSON list of texts, such as ["*.md"]'
            ) from None


class HeadraceDocs(_Loader, frozen=True, kw_only=True, tag="headraceDocs"):
    """The docs of this version of Headrace, one document a section."""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        found = await asyncio.to_thread(pages)
        return await self._given(FileDocuments([(page, sections) for page in found], self._finish, "headraceDocs"))


NODES = (
    PlainText,
    TextFile,
    PdfFile,
    DocxFile,
    CsvFile,
    JsonFile,
    JsonlinesFile,
    FileLoader,
    FolderFiles,
    CheerioWebScraper,
    Github,
    HeadraceDocs,
)
