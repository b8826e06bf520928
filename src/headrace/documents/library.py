"""The library with document stores: their rows, their chunks, and the node types that they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headrace.documents.chunks import DocumentChunks, StoredDocuments
from headrace.documents.graph import EMBEDDED, Part, Parts
from headrace.documents.stores import Component, DocumentStores, StoreRow
from headrace.engine.catalog import Catalog
from headrace.engine.node import Context
from headrace.errors import FlowError
from headrace.retrieval.library import Fetch, Library
from headrace.storage.database import Database


class DocumentLibrary(Library):
    """A library that holds document stores too."""

    def __init__(self, database: Database, folder: Path, catalog: Catalog, fetch: Fetch | None = None) -> None:
        """`catalog` has the node types that document stores are made of."""
        super().__init__(database, folder, fetch)
        self.catalog = catalog
        self.stores, self.chunks = DocumentStores(database), DocumentChunks(database)

    def documents(
        self, store: StoreRow, loaders: Sequence[str] | None = None, *, named: bool = False
    ) -> StoredDocuments:
        """The chunks of a document store, or of some of its loaders, whose ids `named` puts into their metadata."""
        return StoredDocuments(self._database, store, loaders, named=named)


def parts_of(store: StoreRow) -> Parts:
    """A document store's parts; the embedded vector store when it names none."""

    def part(component: Component | None) -> Part | None:
        return Part(component.name, component.config) if component else None

    vectors = part(store.vectorStoreConfig) or Part(EMBEDDED)
    return Parts(vectors, part(store.embeddingConfig), part(store.recordManagerConfig))


def document_library(ctx: Context) -> DocumentLibrary:
    """The document library of a run's process. Raises FlowError when the process has none."""
    found = ctx.outside.library
    if not isinstance(found, DocumentLibrary):
        raise FlowError("this process keeps no document stores: run the flow in a server")
    return found
