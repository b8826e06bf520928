"""Parts that all document loaders share. The reading is in `headrace.retrieval`."""

from __future__ import annotations

import asyncio
from typing import Any

from headrace.engine.node import Context, Node
from headrace.engine.ports import Documents, Splitter
from headrace.retrieval.files import files_of
from headrace.retrieval.library import library
from headrace.retrieval.loading import FileDocuments, Finish, NoFile, Parse, texts_of


def listed(text: str) -> list[str]:
    """The words of a list with commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


class Loader(Node, frozen=True, kw_only=True):
    """What all loaders have. `metadata` is added to every document; the keys in `omitMetadataKeys` are left out."""

    textSplitter: Splitter | None = None
    metadata: dict[str, Any] = {}
    omitMetadataKeys: str = ""
    output: str = ""

    async def output_of(self, documents: Documents) -> Documents | str:
        """The documents, or for the output `text` what they say."""
        return await texts_of(documents) if self.output == "text" else documents

    @property
    def finish(self) -> Finish:
        """The last steps for every document: splitting, and the metadata that the flow adds or leaves out."""
        return Finish(self.textSplitter, self.metadata, listed(self.omitMetadataKeys))

    async def files(self, ctx: Context, value: str, parse: Parse, recipe: str = "") -> Documents | str:
        """The files of an input, stored or in the flow; decoding large ones takes a while."""
        if not value.strip():
            return await self.output_of(NoFile())
        folder = library(ctx).files / ctx.flow
        documents = await asyncio.to_thread(
            lambda: FileDocuments(
                [(file, parse) for file in files_of(value, folder)], self.finish, f"{type(self).__name__} {recipe}"
            )
        )
        return await self.output_of(documents)
