"""The Retriever node of agent flows: looks a text up in document stores."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from headrace.engine.agentflow.node import Accepts, AgentNode, StateUpdates, Task
from headrace.engine.annotations import Input, NodeInfo
from headrace.errors import FlowError
from headrace.events import Document, Event, Token
from headrace.nodes.document_stores import DocumentStoreVS


class Knowledge(msgspec.Struct, frozen=True):
    """A document store to look into. It is named `id:name`."""

    documentStore: Annotated[str, Input(loadMethod="listStores")] = ""


class RetrieverStep(AgentNode, frozen=True, kw_only=True, tag="retrieverAgentflow"):
    """Looks a text up in document stores, without a model."""

    info = NodeInfo(version=1.1)

    retrieverKnowledgeDocumentStores: Annotated[list[Knowledge], Input(label="Knowledge (Document Stores)")] = []
    retrieverQuery: Annotated[Accepts, Input(label="Retriever Query")] = ""
    outputFormat: Literal["text", "textWithMetadata"] = "text"
    retrieverUpdateState: StateUpdates = []

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """The passages found, store by store. Raises FlowError without a store or a text to look up."""
        stores = [one.documentStore for one in self.retrieverKnowledgeDocumentStores if one.documentStore]
        query = self.retrieverQuery.strip()
        if not stores or not query:
            raise FlowError(f"{task.node.id!r} has no {'query' if stores else 'document store'}: give it one")
        found = [document for store in stores for document in await _found(store, query, task)]
        content = self._content(found)
        task.input_record, task.output = {"question": query}, {"content": content}
        task.update(self.retrieverUpdateState, content)
        yield [Token(content)] if task.is_last else []

    def _content(self, documents: Sequence[Document]) -> str:
        if self.outputFormat == "text":
            return "\n".join(document.pageContent for document in documents)
        return msgspec.json.format(msgspec.json.encode(documents), indent=2).decode()


async def _found(store: str, query: str, task: Task) -> Sequence[Document]:
    retriever: Any = await DocumentStoreVS(selectedStore=store, output="retriever").build(task.run.ctx)
    return await retriever.find(query)


NODES: Final = (RetrieverStep,)
