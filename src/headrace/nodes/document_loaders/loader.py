"""Parts that all document loaders share. The reading is in `headrace.retrieval`."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from headrace.engine.annotations import DOCUMENT_OUTPUTS, Additional, NodeInfo
from headrace.engine.node import Context, NothingGiven, Source
from headrace.engine.ports import Documents, Splitter
from headrace.retrieval.files import files_of
from headrace.retrieval.library import library
from headrace.retrieval.loading import FileDocuments, Finish, Parse, texts_of


def listed(text: str) -> list[str]:
    """The words of a list with commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


_NO_FILE: Final = (
    "it was given no file: upsert one, or put it into files/{flow} of the data folder and name it as FILE-STORAGE::name"
)


class Loader(Source, frozen=True, kw_only=True):
    """The shared part of all loaders. `metadata` is added to every document, `omitMetadataKeys` are left out."""

    info = NodeInfo(category="Document Loaders", type="Document", outputs=DOCUMENT_OUTPUTS)

    textSplitter: Splitter | None = None
    metadata: Additional[dict[str, Any]] = {}
    omitMetadataKeys: Additional[str] = ""

    async def output_of(self, documents: Documents) -> Documents | str:
        """The documents, or for the output `text` what they say."""
        return await texts_of(documents) if self.output == "text" else documents

    @property
    def finish(self) -> Finish:
        """The last steps for every document: splitting, and the metadata that the flow adds or leaves out."""
        return Finish(self.textSplitter, self.metadata, listed(self.omitMetadataKeys))

    def no_file(self, ctx: Context) -> Documents:
        """The documents of a file loader without a file."""
        return NothingGiven(self.node or "the file", _NO_FILE.format(flow=ctx.flow))

    async def files(self, ctx: Context, value: str, parse: Parse, recipe: str = "") -> Documents | str:
        """The files of an input, stored or in the flow; decoding large ones takes a while."""
        if not value.strip():
            return await self.output_of(self.no_file(ctx))
        folder = library(ctx).files / ctx.flow
        documents = await asyncio.to_thread(
            lambda: FileDocuments(
                [(file, parse) for file in files_of(value, folder)], self.finish, f"{type(self).__name__} {recipe}"
            )
        )
        return await self.output_of(documents)
