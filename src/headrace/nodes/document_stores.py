"""Document stores in flows: their chunks as documents, or the vector store that they were upserted into."""

from __future__ import annotations

from typing import Annotated

import msgspec

from headrace.documents.graph import store_graph
from headrace.documents.library import DocumentLibrary, document_library, parts_of
from headrace.documents.stores import StoreRow
from headrace.engine import chatflow
from headrace.engine.annotations import DOCUMENT_OUTPUTS, STORE_OUTPUTS, Input, NodeInfo
from headrace.engine.node import Context, Node
from headrace.errors import FlowError, NotFound
from headrace.retrieval.loading import texts_of


class DocumentStore(Node, frozen=True, kw_only=True, tag="documentStore"):
    """The chunks of a document store as documents, or their text."""

    info = NodeInfo(category="Document Loaders", type="Document", outputs=DOCUMENT_OUTPUTS)

    selectedStore: Annotated[str, Input(loadMethod="listStores")]
    output: str = ""

    async def build(self, ctx: Context) -> object:
        """The documents, or for the output `text` what they say."""
        here = document_library(ctx)
        documents = here.documents(await _store(here, self.selectedStore))
        return await texts_of(documents) if self.output == "text" else documents


class DocumentStoreVS(Node, frozen=True, kw_only=True, tag="documentStoreVS"):
    """The vector store that a document store was upserted into, with its embeddings."""

    info = NodeInfo(label="Document Store (Vector)", category="Vector Stores", outputs=STORE_OUTPUTS)

    selectedStore: Annotated[str, Input(loadMethod="listStores")]
    output: str = ""

    async def build(self, ctx: Context) -> object:
        """The retriever, or for the output `vectorStore` the store."""
        here = document_library(ctx)
        store = await _store(here, self.selectedStore)
        graph = store_graph(parts_of(store), here.catalog, self.output or "retriever")
        return await chatflow.built(graph, here.catalog, msgspec.structs.replace(ctx, flow=store.id, chat=""))


async def _store(here: DocumentLibrary, selected: str) -> StoreRow:
    """The store that a flow names, by its id; its name may follow behind a colon."""
    try:
        return await here.stores.get(selected.partition(":")[0])
    except NotFound as error:
        raise FlowError(f"{error}: choose another one in the flow") from None


NODES = (DocumentStore, DocumentStoreVS)
