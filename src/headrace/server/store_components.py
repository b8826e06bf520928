"""What document stores may be made of: the node types for each of their parts, with their inputs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from litestar import Request, get

from headrace.engine.catalog import fields
from headrace.engine.node import Node, Sink
from headrace.nodes import documents, embeddings
from headrace.nodes.record_managers import RecordManager
from headrace.server.auth import local, needs

Part = Literal["loaders", "embeddings", "vectorstore", "recordmanager"]
_CATEGORIES: Final[Mapping[Part, str]] = {
    "loaders": "Document Loaders",
    "embeddings": "Embeddings",
    "vectorstore": "Vector Stores",
    "recordmanager": "Record Manager",
}


class Input(msgspec.Struct, omit_defaults=True):
    """An input of a node type."""

    name: str
    type: str
    optional: bool
    default: Any = None


class Component(msgspec.Struct):
    """A node type that a document store may be made of."""

    name: str
    category: str
    description: str
    inputs: list[Input]


def _belongs(kind: type[Node], part: Part) -> bool:
    match part:
        case "loaders":
            return kind in documents.NODES
        case "embeddings":
            return kind in embeddings.NODES
        case "vectorstore":
            return issubclass(kind, Sink)
        case "recordmanager":
            return issubclass(kind, RecordManager)


def _inputs(kind: type[Node]) -> Iterator[Input]:
    for field in fields(kind):
        default = None if field["required"] else msgspec.to_builtins(field["default"], enc_hook=str)
        yield Input(field["name"], field["type"], not field["required"], default)


@get(
    "/api/v1/document-store/components/{part:str}",
    guards=[needs("documentStores:view")],
    summary="List what document stores may be made of",
    tags=["document stores"],
)
async def components(request: Request[Any, Any, Any], part: Part) -> list[Component]:
    """The node types of this server for `loaders`, `embeddings`, `vectorstore` or `recordmanager`."""
    catalog = local(request).flows.catalog
    return [
        Component(name, _CATEGORIES[part], inspect.getdoc(kind) or "", list(_inputs(kind)))
        for name, kind in sorted(catalog.items())
        if _belongs(kind, part)
    ]


ROUTES = (components,)
