"""Retrievers."""

from __future__ import annotations

from typing import Any

from headrace.engine.node import Context, Node
from headrace.engine.ports import Search, SearchMode, VectorStore
from headrace.retrieval.retriever import StoreRetriever


class VectorStoreRetriever(Node, frozen=True, kw_only=True, tag="vectorStoreRetriever"):
    """Searches a vector store: by vectors, words (`lexical`), both (`hybrid`), or for different passages (`mmr`)."""

    vectorStore: VectorStore
    name: str = ""
    description: str = ""
    topK: int = 4
    searchType: SearchMode = "similarity"
    scoreThreshold: float | None = None
    filter: dict[str, Any] = {}
    """Conditions on metadata, such as `{"source": "a.txt"}` or `{"page": {"$gte": 3}}`."""
    fetchK: int = 20
    diversity: float = 0.5

    async def build(self, ctx: Context) -> StoreRetriever:
        """The retriever."""
        search = Search(
            text="",
            k=self.topK,
            mode=self.searchType,
            filter=self.filter,
            threshold=self.scoreThreshold,
            fetch=self.fetchK,
            diversity=self.diversity,
        )
        return StoreRetriever(self.vectorStore, search, self.name, self.description)


NODES = (VectorStoreRetriever,)
