"""Document loaders of texts and files; each hands over documents, or their text as one."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated

from headrace.engine.annotations import Additional, Input, NodeInfo, Package
from headrace.engine.node import Context
from headrace.nodes.document_loaders.loader import Loader, listed
from headrace.retrieval.files import File, files_of
from headrace.retrieval.folder import folder_files, parse_for
from headrace.retrieval.library import library
from headrace.retrieval.loading import FileDocuments
from headrace.retrieval.office import PdfUsage, docx_documents, pdf_documents
from headrace.retrieval.tables import csv_documents, json_documents, jsonl_documents
from headrace.retrieval.text_decoding import text_documents, unnamed_documents


class PlainText(Loader, frozen=True, kw_only=True, tag="plainText"):
    """A text in the flow itself."""

    info = NodeInfo(version=2)

    text: str

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        documents = FileDocuments(
            [(File("plain text", self.text.encode()), unnamed_documents)], self.finish, "plainText"
        )
        return await self.output_of(documents)


class TextFile(Loader, frozen=True, kw_only=True, tag="textFile"):
    """Text files."""

    info = NodeInfo(version=3)

    txtFile: Annotated[
        str,
        Input(
            type="file",
            fileType=".txt, .md, .html, .xml",
        ),
    ] = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        return await self.files(ctx, self.txtFile, text_documents)


class PdfFile(Loader, frozen=True, kw_only=True, tag="pdfFile"):
    """PDF files, one document a page or a file."""

    info = NodeInfo(label="Pdf File", version=2, packages=(Package("pypdf", "rag"),))

    pdfFile: Annotated[str, Input(type="file", fileType=".pdf")] = ""
    usage: PdfUsage = "perPage"
    legacyBuild: Additional[bool] = False

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        return await self.files(ctx, self.pdfFile, partial(pdf_documents, usage=self.usage), self.usage)


class DocxFile(Loader, frozen=True, kw_only=True, tag="docxFile"):
    """Word documents."""

    info = NodeInfo(version=2)

    docxFile: Annotated[str, Input(type="file", fileType=".docx")] = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        return await self.files(ctx, self.docxFile, docx_documents)


class MicrosoftWord(DocxFile, frozen=True, kw_only=True, tag="microsoftWord"):
    """The same, as the node of another name."""

    info = NodeInfo(label="Microsoft Word", version=1)

    docxFile: Annotated[str, Input(label="Word File", type="file", fileType=".docx, .doc")] = ""


class CsvFile(Loader, frozen=True, kw_only=True, tag="csvFile"):
    """CSV files, one document a row; of one column, if it is named."""

    info = NodeInfo(version=3)

    csvFile: Annotated[str, Input(type="file", fileType=".csv")] = ""
    columnName: str = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        return await self.files(ctx, self.csvFile, partial(csv_documents, column=self.columnName), self.columnName)


class JsonFile(Loader, frozen=True, kw_only=True, tag="jsonFile"):
    """JSON files: one document a text in them, only under the named pointers if there are any, or one an object."""

    info = NodeInfo(label="Json File", version=3.1)

    jsonFile: Annotated[str, Input(type="file", fileType=".json")] = ""
    separateByObject: Additional[bool] = False
    pointersName: Annotated[str, Input(hide={"separateByObject": True})] = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        parse = partial(json_documents, pointers=listed(self.pointersName), by_object=self.separateByObject)
        return await self.files(ctx, self.jsonFile, parse, f"{self.pointersName}{self.separateByObject}")


class JsonlinesFile(Loader, frozen=True, kw_only=True, tag="jsonlinesFile"):
    """Files of JSON lines: one document a line, what the pointer finds in it."""

    info = NodeInfo(label="Json Lines File", version=3)

    jsonlinesFile: Annotated[str, Input(type="file", fileType=".jsonl")] = ""
    pointerName: str

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        return await self.files(
            ctx, self.jsonlinesFile, partial(jsonl_documents, pointer=self.pointerName), self.pointerName
        )


class FileLoader(Loader, frozen=True, kw_only=True, tag="fileLoader"):
    """Files of any kind, each read as what its ending says."""

    info = NodeInfo(version=2)

    file: Annotated[str, Input(type="file", fileType="*")] = ""
    usage: Additional[PdfUsage] = "perPage"
    legacyBuild: Additional[bool] = False
    pointerName: Additional[str] = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        if not self.file.strip():
            return await self.output_of(self.no_file(ctx))
        folder = library(ctx).files / ctx.flow
        return await self.output_of(await asyncio.to_thread(self._found, folder))

    def _found(self, folder: Path) -> FileDocuments:
        files = [
            (file, parse_for(file.name, self.usage, self.pointerName) or text_documents)
            for file in files_of(self.file, folder)
        ]
        return FileDocuments(files, self.finish, f"{self.usage}{self.pointerName}")


class FolderFiles(Loader, frozen=True, kw_only=True, tag="folderFiles"):
    """All files of a folder inside the folder `files` of the data folder, each read as what its ending says."""

    info = NodeInfo(label="Folder with Files", version=4)

    folderPath: str
    recursive: bool = False
    pdfUsage: Additional[PdfUsage] = "perPage"
    pointerName: Additional[str] = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        documents = await asyncio.to_thread(self._found, library(ctx).files)
        return await self.output_of(documents)

    def _found(self, root: Path) -> FileDocuments:
        files = folder_files(
            root, self.folderPath, recursive=self.recursive, usage=self.pdfUsage, pointer=self.pointerName
        )
        return FileDocuments(files, self.finish, f"{self.pdfUsage}{self.pointerName}")


NODES = (
    PlainText,
    TextFile,
    PdfFile,
    DocxFile,
    MicrosoftWord,
    CsvFile,
    JsonFile,
    JsonlinesFile,
    FileLoader,
    FolderFiles,
)
