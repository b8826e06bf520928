"""Retrievers as tools of agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.engine.annotations import Additional, NodeInfo
from headrace.engine.chatflow import flow_values
from headrace.engine.node import Context, Node, Templated
from headrace.engine.ports import Retriever, Tool, ToolResult
from headrace.engine.references import MISSING, dig
from headrace.errors import FlowError
from headrace.nodes.tools.function import INPUT, FunctionTool
from headrace.retrieval.retriever import narrowed

_LOOKED_UP: Final = {
    **INPUT,
    "properties": {"input": {"type": "string", "description": "input to look up in retriever"}},
}


class RetrieverTool(Node, frozen=True, kw_only=True, tag="retrieverTool"):
    """A retriever as a tool of an agent."""

    info = NodeInfo(version=3)

    name: str
    description: str
    retriever: Retriever
    returnSourceDocuments: bool = False
    retrieverToolMetadataFilter: Additional[Templated] = {}
    """Narrows what the retriever searches, beside its own filter; `$flow.sessionId` and its kin are the run's."""

    async def build(self, ctx: Context) -> Tool:
        """The tool. Raises FlowError for a filter that its retriever cannot be told."""
        retriever = narrowed(self.retriever, _of_run(self.retrieverToolMetadataFilter, ctx))

        async def call(arguments: Mapping[str, Any]) -> ToolResult:
            documents = await retriever.find(str(arguments["input"]))
            text = "\n\n".join(document.pageContent for document in documents)
            return ToolResult(text, documents if self.returnSourceDocuments else ())

        return FunctionTool(self.name, self.description, _LOOKED_UP, call)


def _of_run(value: Any, ctx: Context) -> Any:
    """The filter with the run's own values in it. Raises FlowError for one that there is not."""
    if isinstance(value, dict):
        return {key: _of_run(item, ctx) for key, item in value.items()}
    if isinstance(value, list):
        return [_of_run(item, ctx) for item in value]
    if not isinstance(value, str) or not value.startswith("$flow."):
        return value
    found = dig({**flow_values(ctx, ()), "input": ctx.question}, value.split(".")[1:])
    if found is MISSING:
        raise FlowError(f"the retriever tool's metadata filter names {value!r}, which a run does not have")
    return found


NODES = (RetrieverTool,)
