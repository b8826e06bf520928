"""What document stores may be made of: the node types for each of their parts, with their inputs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from litestar import Request, get

from headrace.documents.files import is_file_input
from headrace.engine.catalog import fields
from headrace.engine.inputs import fields_of
from headrace.engine.labels import label
from headrace.engine.node import Node, Sink
from headrace.nodes import embeddings
from headrace.nodes.document_loaders.loader import Loader
from headrace.nodes.record_managers import RecordManager
from headrace.server.auth import local, needs
from headrace.server.document_stores import LoaderId, StoreId
from headrace.server.forms import endings_for

Part = Literal["loaders", "embeddings", "vectorstore", "recordmanager"]
_CATEGORIES: Final[Mapping[Part, str]] = {
    "loaders": "Document Loaders",
    "embeddings": "Embeddings",
    "vectorstore": "Vector Stores",
    "recordmanager": "Record Manager",
}
_TYPES: Final[Mapping[Any, str]] = {str: "string", int: "number", float: "number", bool: "boolean"}


class Input(msgspec.Struct, omit_defaults=True):
    """An input of a node type."""

    name: str
    label: str
    type: str
    optional: bool
    default: Any = None


class Component(msgspec.Struct):
    """A node type that a document store may be made of."""

    name: str
    label: str
    category: str
    description: str
    inputs: list[Input]


class Setting(msgspec.Struct):
    """An input that an upsert may set: of which node, and what it takes."""

    node: str
    nodeId: str
    label: str
    name: str
    type: str


def _belongs(kind: type[Node], part: Part) -> bool:
    match part:
        case "loaders":
            return issubclass(kind, Loader)
        case "embeddings":
            return kind in embeddings.NODES
        case "vectorstore":
            return issubclass(kind, Sink)
        case "recordmanager":
            return issubclass(kind, RecordManager)


def _inputs(kind: type[Node]) -> Iterator[Input]:
    for field in fields(kind):
        default = None if field["required"] else msgspec.to_builtins(field["default"], enc_hook=str)
        yield Input(field["name"], label(field["name"]), field["type"], not field["required"], default)


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
        Component(name, label(name), _CATEGORIES[part], inspect.getdoc(kind) or "", list(_inputs(kind)))
        for name, kind in sorted(catalog.items())
        if _belongs(kind, part)
    ]


@get(
    "/api/v1/document-store/store-configs/{store_id:str}/{loader_id:str}",
    guards=[needs("documentStores:view")],
    summary="List what an upsert may set of a loader and its store",
    tags=["document stores"],
)
async def configs(request: Request[Any, Any, Any], store_id: StoreId, loader_id: LoaderId) -> list[Setting]:
    """The inputs of the loader, its splitter, and the store's nodes that take values rather than connections."""
    here = local(request)
    store = await here.documents.stores.get(store_id)
    loader = store.loader(loader_id)
    nodes = (store.vectorStoreConfig, store.embeddingConfig, store.recordManagerConfig)
    names = [loader.loaderId, loader.splitterId, *(node.name for node in nodes if node)]
    here.documents.check(*names)
    return [setting for name in names if name for setting in _settings(name, here.flows.catalog[name])]


def _settings(name: str, kind: type[Node]) -> Iterator[Setting]:
    inputs, hints = fields_of(kind), get_type_hints(kind)
    for field in fields(kind):
        key = field["name"]
        if inputs[key].port is not None:
            continue
        if is_file_input(key):
            yield Setting(label(name), f"{name}_0", label(key), "files", ", ".join(endings_for([key])) or "file")
        else:
            yield Setting(label(name), f"{name}_0", label(key), key, _type(hints[inputs[key].name]))


def _type(hint: Any) -> str:
    """What an input takes, in Flowise's words; choices are listed."""
    if get_origin(hint) is Literal:
        return ", ".join(map(str, get_args(hint)))
    if hint in _TYPES:
        return _TYPES[hint]
    options = [option for option in get_args(hint) if option is not NoneType]
    return _type(options[0]) if len(options) == 1 and NoneType in get_args(hint) else "json"


ROUTES = (components, configs)
