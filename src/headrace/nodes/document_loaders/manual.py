"""The document loader of this program's own docs."""

from __future__ import annotations

import asyncio

from headrace.engine.node import Context
from headrace.nodes.document_loaders.loader import Loader
from headrace.retrieval.loading import FileDocuments
from headrace.retrieval.manual import pages, sections


class HeadraceDocs(Loader, frozen=True, kw_only=True, tag="headraceDocs"):
    """The docs of this version of Headrace, one document a section."""

    async def build(self, ctx: Context) -> object:
        """The documents, or their text."""
        found = await asyncio.to_thread(pages)
        return await self.output_of(FileDocuments([(page, sections) for page in found], self.finish, "headraceDocs"))


NODES = (HeadraceDocs,)
