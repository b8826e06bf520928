"""The node types for each part of a document store, with their inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from litestar import Request, get

from headrace.engine.description import Description, described, inputs_of, node_info
from headrace.engine.inputs import fields_of
from headrace.engine.node import Node, Sink
from headrace.nodes.document_loaders.loader import Loader
from headrace.server.auth import local, needs
from headrace.server.document_stores import LoaderId, StoreId
from headrace.server.forms import endings_for

Part = Literal["loaders", "embeddings", "vectorstore", "recordmanager"]
_CATEGORIES: Final[Mapping[Part, str]] = {
    "embeddings": "Embeddings",
    "recordmanager": "Record Manager",
}


class Setting(msgspec.Struct):
    """An input that an upsert may set: of which node, and what it takes."""

    node: str
    nodeId: str
    label: str
    name: str
    type: str


def _belongs(kind: type[Node], part: Part) -> bool:
    """True for a node type that a document store can be made of; a document store is no part of another."""
    if part == "loaders":
        return issubclass(kind, Loader)
    if part == "vectorstore":
        return issubclass(kind, Sink)
    return node_info(kind).category == _CATEGORIES[part]


@get(
    "/api/v1/document-store/components/{part:str}",
    guards=[needs("documentStores:view")],
    summary="List what document stores may be made of",
    tags=["document stores"],
)
async def components(request: Request[Any, Any, Any], part: Part) -> list[Description]:
    """The node types of this server for `loaders`, `embeddings`, `vectorstore` or `recordmanager`."""
    catalog = local(request).catalog
    return [described(kind) for _, kind in sorted(catalog.items()) if _belongs(kind, part)]


@get(
    "/api/v1/document-store/store-configs/{store_id:str}/{loader_id:str}",
    guards=[needs("documentStores:view")],
    summary="List what an upsert may set of a loader and its store",
    tags=["document stores"],
)
async def configs(request: Request[Any, Any, Any], store_id: StoreId, loader_id: LoaderId) -> list[Setting]:
    """The inputs of the loader, its splitter, and the store's nodes that take values rather than connections."""
    here = local(request)
    store = await here.stores.get(store_id)
    loader = store.loader(loader_id)
    nodes = (store.vectorStoreConfig, store.embeddingConfig, store.recordManagerConfig)
    names = [loader.loaderId, loader.splitterId, *(node.name for node in nodes if node)]
    here.documents.check(*names)
    return [setting for name in names if name for setting in settings_of(here.catalog[name], f"{name}_0")]


def settings_of(kind: type[Node], node_id: str) -> Iterator[Setting]:
    """The inputs of a node that take values rather than connections."""
    fields, says = fields_of(kind), described(kind)
    for one in inputs_of(kind):
        if fields[one.name].port is not None:
            continue
        if one.type == "file":
            endings = ", ".join(endings_for([one.name])) or "file"
            yield Setting(says.label, node_id, one.label, "files", endings)
        else:
            choices = ", ".join(option.name for option in one.options)
            yield Setting(says.label, node_id, one.label, one.name, choices or one.type)


ROUTES = (components, configs)
