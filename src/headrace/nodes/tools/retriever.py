"""Retrievers as tools of agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.engine.node import Context, Node
from headrace.engine.ports import Retriever, Tool, ToolResult
from headrace.nodes.tools.function import INPUT, FunctionTool

_LOOKED_UP: Final = {
    **INPUT,
    "properties": {"input": {"type": "string", "description": "input to look up in retriever"}},
}


class RetrieverTool(Node, frozen=True, kw_only=True, tag="retrieverTool"):
    """A retriever as a tool of an agent."""

    name: str
    description: str
    retriever: Retriever
    returnSourceDocuments: bool = False

    async def build(self, ctx: Context) -> Tool:
        """The tool."""
        return FunctionTool(self.name, self.description, _LOOKED_UP, self._call)

    async def _call(self, arguments: Mapping[str, Any]) -> ToolResult:
        documents = await self.retriever.find(str(arguments["input"]))
        text = "\n\n".join(document.pageContent for document in documents)
        return ToolResult(text, documents if self.returnSourceDocuments else ())


NODES = (RetrieverTool,)
