"""Document stores and their vector stores: which nodes they have, upserts, and questions, in Flowise's shapes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from headrace.documents.graph import Part
from headrace.documents.stores import Component
from headrace.documents.upserts import Change, StoreUpsert, StoreUpserted, changed
from headrace.engine.complaints import complaint
from headrace.engine.ports import Upserted
from headrace.errors import Interrupted, InvalidRequest
from headrace.runtime.local import Local
from headrace.server.auth import local, needs
from headrace.server.bodies import decoded
from headrace.server.disconnect import while_there
from headrace.server.docs import RefreshOperation, StoreUpsertOperation
from headrace.server.document_stores import StoreId
from headrace.server.forms import is_form, read_form
from headrace.server.store_responses import WrittenStore, written

_JSON = ("metadata", "docStore", "loader", "splitter", "vectorStore", "embedding", "recordManager")
_PARTS = (
    ("embeddingName", "embeddingConfig"),
    ("vectorStoreName", "vectorStoreConfig"),
    ("recordManagerName", "recordManagerConfig"),
)


class VectorInput(msgspec.Struct, kw_only=True):
    """The nodes of a store. `docId` names the one loader to upsert."""

    storeId: str
    docId: str | None = None
    embeddingName: str | None = None
    embeddingConfig: dict[str, Any] | None = None
    vectorStoreName: str | None = None
    vectorStoreConfig: dict[str, Any] | None = None
    recordManagerName: str | None = None
    recordManagerConfig: dict[str, Any] | None = None
    isStrictSave: bool = False


class StoreQuery(msgspec.Struct, kw_only=True):
    """A question to a store's vectors; `inputs` are inputs of the vector store that are others this time."""

    storeId: str
    query: str
    inputs: dict[str, Any] = {}


class FoundChunk(msgspec.Struct):
    """A passage with its chunk's id and number, -1 where there is none."""

    pageContent: str
    metadata: dict[str, Any]
    id: str
    chunkNo: int


class Found(msgspec.Struct):
    """The passages that a question finds; `timeTaken` is in milliseconds."""

    timeTaken: int
    docs: list[FoundChunk]


async def _save(data: VectorInput, here: Local, *, strict: bool) -> WrittenStore:
    """Stores the nodes that the body names; `strict` takes off those that it does not."""
    nodes: dict[str, Component | None] = {}
    for name, config in _PARTS:
        if chosen := getattr(data, name):
            nodes[config] = changed(None, Change(chosen, getattr(data, config) or {}))
            here.documents.check(chosen)
        elif strict:
            nodes[config] = None
    await here.stores.take_nodes(data.storeId, nodes)
    return written(await here.stores.get(data.storeId))


@post(
    "/api/v1/document-store/vectorstore/save",
    guards=[needs("documentStores:upsert-config")],
    status_code=200,
    opt={"refuses": (404, 409, 422)},
    summary="Choose a store's vector store, embeddings and record manager",
    tags=["document stores"],
)
async def save_nodes(request: Request[Any, Any, Any], data: VectorInput) -> WrittenStore:
    """Stores the nodes; those that the body does not name are taken off."""
    return await _save(data, local(request), strict=True)


@post(
    "/api/v1/document-store/vectorstore/update",
    guards=[needs("documentStores:upsert-config")],
    status_code=200,
    opt={"refuses": (404, 409, 422)},
    summary="Change the inputs of a store's vector store",
    tags=["document stores"],
)
async def change_nodes(request: Request[Any, Any, Any], data: VectorInput) -> WrittenStore:
    """Stores the nodes that the body names."""
    return await _save(data, local(request), strict=False)


@post(
    "/api/v1/document-store/vectorstore/insert",
    guards=[needs("documentStores:upsert-config")],
    status_code=200,
    opt={"refuses": (404, 409, 422)},
    summary="Upsert a store's chunks",
    tags=["document stores"],
)
async def insert(request: Request[Any, Any, Any], data: VectorInput) -> Upserted:
    """Brings the vector store to what the chunks say, of one loader or of all. Leaving stops it."""
    here = _working(request)
    await _save(data, here, strict=data.isStrictSave)
    return await while_there(request, here.documents.upsert(data.storeId, data.docId))


@delete(
    "/api/v1/document-store/vectorstore/{store_id:str}",
    guards=[needs("documentStores:upsert-config")],
    status_code=200,
    opt={"refuses": (409, 422)},
    summary="Delete what a store has in its vector store",
    tags=["document stores"],
)
async def empty(
    request: Request[Any, Any, Any],
    store_id: StoreId,
    loader: Annotated[str | None, QueryParameter(name="docId", description="Only of this loader.")] = None,
) -> dict[str, int]:
    """Deletes passages; the chunks stay, so the next upsert brings them again."""
    return {"deleted": await local(request).documents.remove(store_id, [loader] if loader else None)}


@post(
    "/api/v1/document-store/vectorstore/query",
    guards=[needs("documentStores:view")],
    status_code=200,
    opt={"refuses": (404, 409, 422)},
    summary="Search a store",
    tags=["document stores"],
)
async def query(request: Request[Any, Any, Any], data: StoreQuery) -> Found:
    """The passages that a question finds, each with its chunk's id and number (-1 where there is none)."""
    here, begun = local(request), time.monotonic()
    found = await while_there(request, here.documents.query(data.storeId, data.query, data.inputs))
    taken = round((time.monotonic() - begun) * 1000)
    places = await here.chunks.places(data.storeId, found)
    docs = [
        FoundChunk(document.pageContent, document.metadata, *(place or ("", -1)))
        for document, place in zip(found, places, strict=True)
    ]
    return Found(taken, docs)


@post(
    ["/api/v1/document-store/upsert", "/api/v1/document-store/upsert/{store_id:str}"],
    guards=[needs("documentStores:upsert-config")],
    status_code=200,
    opt={"refuses": (404, 409, 422)},
    summary="Load documents into a store and upsert them",
    description="JSON, or a multipart form whose `files` go to the loader and whose other fields are JSON texts.",
    operation_class=StoreUpsertOperation,
    responses={
        200: ResponseSpec(StoreUpserted, generate_examples=False, description="What was done, and for which loader")
    },
    tags=["document stores"],
)
async def upsert(request: Request[Any, Any, Any], store_id: str = "") -> StoreUpserted:
    """Stores, processes and upserts a loader. The same again finds the loader that it made. Leaving stops it."""
    here = _working(request)
    if not is_form(request):
        body = await request.body()
        return await while_there(request, here.store_upserts.run(store_id, _asked(decoded(body) if body else {})))
    return await while_there(request, here.store_upserts.run(store_id, *await _sent(request)))


@post(
    "/api/v1/document-store/refresh/{store_id:str}",
    guards=[needs("documentStores:upsert-config")],
    status_code=200,
    opt={"refuses": (409, 422)},
    summary="Process and upsert loaders again",
    operation_class=RefreshOperation,
    tags=["document stores"],
)
async def refresh(request: Request[Any, Any, Any], store_id: StoreId) -> list[StoreUpserted]:
    """One after the other. One that cannot be read or stored says so in `failures`, and the others go on."""
    here = _working(request)
    body = await request.body()
    asked = decoded(body) if body.strip() else {}
    if not isinstance(asked, dict) or not isinstance(asked.get("items", []), list | None):
        raise InvalidRequest('the body must be a JSON object such as {"items": [{"docId": "…"}]}')
    items = [_asked(item, f"$.items[{number}]") for number, item in enumerate(asked.get("items") or [])]
    return await while_there(request, here.store_upserts.refresh(store_id, items))


class ChosenModel(msgspec.Struct):
    """A chat model: the name of its node and its inputs."""

    name: str
    inputs: dict[str, Any] = {}
    credential: str | None = None


class Describing(msgspec.Struct):
    """Which model is to describe a store."""

    selectedChatModel: ChosenModel


@post(
    "/api/v1/document-store/generate-tool-desc/{store_id:str}",
    guards=[needs("documentStores:view")],
    status_code=200,
    opt={"refuses": (409, 422)},
    summary="Have a model say when to search a store",
    tags=["document stores"],
)
async def describe(request: Request[Any, Any, Any], store_id: StoreId, data: Describing) -> dict[str, str]:
    """A sentence for agents, as `content`; the model reads the first four chunks. Leaving stops it."""
    model = data.selectedChatModel
    inputs = {**model.inputs, **({"credential": model.credential} if model.credential else {})}
    content = await while_there(request, local(request).documents.describe(store_id, Part(model.name, inputs)))
    return {"content": content}


def _working(request: Request[Any, Any, Any]) -> Local:
    here = local(request)
    if here.stopping:
        raise Interrupted("the server is stopping; try it again in a moment")
    return here


async def _sent(request: Request[Any, Any, Any]) -> tuple[StoreUpsert, Mapping[str, str], Sequence[str]]:
    """Reads a form: the upsert, its files as values of inputs, and their names. Keeps none of its bytes."""
    form = await read_form(request)
    asked = _asked({name: value for name, value in form.fields.items() if value})
    return asked, await asyncio.to_thread(lambda: form.values), [file.name for file in form.files]


def _asked(body: Any, place: str = "$") -> StoreUpsert:
    """Reads a request; objects may be JSON texts, and booleans texts. Raises InvalidRequest."""
    if not isinstance(body, dict):
        raise InvalidRequest(f"expected an object at {place}")
    values = {name: value for name, value in body.items() if value is not None and value != ""}
    for name in _JSON:
        if isinstance(values.get(name), str):
            values[name] = decoded(values[name].encode())
    try:
        return msgspec.convert(values, StoreUpsert, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the body is not an upsert: {complaint(error)}") from None


ROUTES = (save_nodes, change_nodes, insert, empty, query, upsert, refresh, describe)
