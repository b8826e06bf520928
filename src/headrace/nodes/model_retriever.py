"""Retrievers that bring the model which answers from what they find, as the nodes for engines connect them."""

from __future__ import annotations

from typing import Protocol

from headrace.engine.ports import ChatModel, Retriever
from headrace.events import Document


class ModelRetriever(Retriever, Protocol):
    """A retriever with its model."""

    model: ChatModel

    async def find(self, query: str) -> list[Document]:
        """Passages, best first."""
        ...


class WithModel:
    """Implements ModelRetriever around any retriever."""

    model: ChatModel

    def __init__(self, retriever: Retriever, model: ChatModel) -> None:
        self.model = model
        self._retriever = retriever

    async def find(self, query: str) -> list[Document]:
        """Passages, best first."""
        return await self._retriever.find(query)
