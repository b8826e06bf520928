"""Document stores as flows: what a store is made of, wired as the builder would wire it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.engine.catalog import Catalog
from headrace.engine.graph import Graph
from headrace.errors import FlowError
from headrace.schema import FlowFile, FlowNode, NodeData

EMBEDDED: Final = "memoryVectorStore"
"""The vector store of document stores that name none."""


class Part(msgspec.Struct, frozen=True):
    """A node by the name of its type, and its inputs."""

    name: str
    inputs: Mapping[str, Any] = {}


class Parts(msgspec.Struct, frozen=True):
    """A document store's vector store, embeddings and record manager."""

    vectors: Part
    embeddings: Part | None = None
    records: Part | None = None


def store_graph(parts: Parts, catalog: Catalog, output: str = "retriever") -> Graph:
    """A flow that ends with the vector store. Raises UnknownNodes."""
    nodes: list[NodeData] = []
    inputs = dict(parts.vectors.inputs)
    for name, part in (("embeddings", parts.embeddings), ("recordManager", parts.records)):
        if part:
            nodes.append(_node(part))
            inputs[name] = _wire(nodes[-1])
    if given := _texts(inputs.pop("document", None)):
        nodes += given
        inputs["document"] = [_wire(node) for node in given]
    return _graph([*nodes, _node(Part(parts.vectors.name, inputs), output=output)], catalog)


def loader_graph(loader: Part, splitter: Part | None, catalog: Catalog) -> Graph:
    """A flow that ends with the loader. Raises UnknownNodes."""
    nodes = [_node(splitter)] if splitter else []
    inputs = {**loader.inputs, **({"textSplitter": _wire(nodes[0])} if nodes else {})}
    return _graph([*nodes, _node(Part(loader.name, inputs), output="document")], catalog)


def single_graph(part: Part, catalog: Catalog) -> Graph:
    """A flow of one node, such as a model. Raises UnknownNodes."""
    return _graph([_node(part)], catalog)


def _graph(nodes: list[NodeData], catalog: Catalog) -> Graph:
    return Graph(FlowFile([FlowNode(node.id, node) for node in nodes]), catalog, nodes[-1])


def _node(part: Part, number: int = 0, output: str = "") -> NodeData:
    inputs = dict(part.inputs)
    credential = inputs.pop("FLOWISE_CREDENTIAL_ID", None) or inputs.pop("credential", None)
    return NodeData(
        id=f"{part.name}_{number}",
        name=part.name,
        label=part.name,
        inputs=inputs,
        outputs={"output": output} if output else None,
        credential=credential,
    )


def _wire(node: NodeData) -> str:
    return f"{{{{{node.id}.data.instance}}}}"


def _texts(documents: Any) -> list[NodeData]:
    """Documents that a vector store's own inputs hold, each as a loader of its text."""
    if not documents:
        return []
    if not isinstance(documents, list) or not all(isinstance(one, dict) and "pageContent" in one for one in documents):
        raise FlowError("the documents of the vector store must be a list of {pageContent, metadata}")
    texts = [{"text": one["pageContent"], "metadata": one.get("metadata") or {}} for one in documents]
    return [_node(Part("plainText", inputs), number, "document") for number, inputs in enumerate(texts)]
