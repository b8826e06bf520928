"""Document stores, their loaders and their chunks, in Flowise's shapes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post, put
from litestar.params import Parameter
from msgspec import UNSET, UnsetType

from headrace.documents.stores import Component, Loader, StoreRow
from headrace.documents.upserts import defined
from headrace.engine.complaints import complaint
from headrace.errors import Interrupted, InvalidRequest
from headrace.runtime.local import Local
from headrace.server.auth import local, needs
from headrace.server.disconnect import while_there
from headrace.server.pagination import Page, paged
from headrace.server.store_responses import (
    NODES,
    ChangedStore,
    ChunkPage,
    DeletedStore,
    PreviewedChunks,
    ShownLoader,
    ShownStore,
    WrittenStore,
    page_of,
    shown_loader,
    store_json,
    written,
)

StoreId = Annotated[str, Parameter(description="The document store's id.")]
LoaderId = Annotated[str, Parameter(description="The loader's id; for reading, `all` for all of the store.")]
Node = str | Component | UnsetType | None
_CRAWLERS = ("cheerioWebScraper", "playwrightWebScraper", "puppeteerWebScraper")
_PREVIEWED = 3
"""Pages that a preview reads of a web site."""
_SHOWN = 1000
"""Chunks that a preview holds in memory at most; it counts all."""


class StoreChange(msgspec.Struct, kw_only=True):
    """Changes to a document store: null clears. Nodes are `{name, config}`, as objects or as JSON texts."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    vectorStoreConfig: Node = UNSET
    embeddingConfig: Node = UNSET
    recordManagerConfig: Node = UNSET


class LoaderInput(msgspec.Struct, kw_only=True):
    """A loader to store, or what to change of one; what is not named is as it was, "" clears."""

    storeId: str = ""
    id: str | None = None
    loaderId: str | None = None
    loaderName: str | None = None
    loaderConfig: dict[str, Any] | None = None
    splitterId: str | None = None
    splitterName: str | None = None
    splitterConfig: dict[str, Any] | None = None
    credential: str | None = None
    previewChunkCount: int | None = None


class ChunkInput(msgspec.Struct):
    """A chunk's new text and metadata."""

    pageContent: str
    metadata: dict[str, Any] = {}


def columns(data: StoreChange) -> dict[str, Any]:
    """The request's fields as columns. Raises InvalidRequest."""
    given = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    for name in NODES:
        if isinstance(given.get(name), str):
            given[name] = _node(given[name], name)
    if not given.get("name", "x").strip():
        raise InvalidRequest("a document store needs a name at $.name")
    return given


def _node(text: str, name: str) -> Component | None:
    try:
        return msgspec.json.decode(text, type=Component | None) if text else None
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"expected {{name, config}} as JSON at $.{name}: {complaint(error)}") from None


@get(
    "/api/v1/document-store/store",
    guards=[needs("documentStores:view")],
    summary="List document stores",
    tags=["document stores"],
)
async def list_stores(
    request: Request[Any, Any, Any], page: int = 0, limit: int = 0
) -> list[ShownStore] | Page[ShownStore]:
    """All stores, or one page of them as `{data, total}`."""
    here = local(request)
    uses = await here.stores.uses()
    rows = [store_json(store, uses.get(store.id, ()), here) for store in await here.stores.all()]
    return paged(rows, page, limit)


class NewStore(StoreChange, kw_only=True):
    """A document store to make; an `id` that is free may be chosen."""

    id: str = ""


@post(
    "/api/v1/document-store/store",
    guards=[needs("documentStores:create")],
    status_code=200,
    summary="Create a document store",
    tags=["document stores"],
)
async def create_store(request: Request[Any, Any, Any], data: NewStore) -> WrittenStore:
    """Makes an empty store."""
    if data.name is UNSET:
        raise InvalidRequest("a document store needs a name at $.name")
    return written(await local(request).documents.new_store(StoreRow(**columns(data))))


@get(
    "/api/v1/document-store/store/{store_id:str}",
    guards=[needs("documentStores:view")],
    summary="Read a document store",
    tags=["document stores"],
)
async def read_store(request: Request[Any, Any, Any], store_id: StoreId) -> ShownStore:
    """The store with its loaders, the flows that use it, and how far its work is."""
    return await _read(store_id, local(request))


async def _read(store_id: str, here: Local) -> ShownStore:
    store = await here.stores.get(store_id)
    return store_json(store, (await here.stores.uses(store_id)).get(store_id, ()), here)


@put(
    "/api/v1/document-store/store/{store_id:str}",
    guards=[needs("documentStores:update")],
    summary="Change a document store",
    tags=["document stores"],
)
async def change_store(request: Request[Any, Any, Any], store_id: StoreId, data: StoreChange) -> ShownStore:
    """Changes what the body names."""
    here = local(request)
    given = columns(data)
    nodes = {name: given.pop(name) for name in NODES if name in given}
    await here.stores.change(store_id, **given)
    await here.stores.take_nodes(store_id, nodes)
    return await _read(store_id, here)


@delete(
    "/api/v1/document-store/store/{store_id:str}",
    guards=[needs("documentStores:delete")],
    status_code=200,
    summary="Delete a document store",
    tags=["document stores"],
)
async def remove_store(request: Request[Any, Any, Any], store_id: StoreId) -> DeletedStore:
    """Deletes the store with its chunks, files and passages; says which flows used it, which now lack it.

    Passages in another vector store than the embedded one stay there, and `warning` says so.
    """
    here = local(request)
    uses = (await here.stores.uses(store_id)).get(store_id, ())
    told = DeletedStore(whereUsed=list(uses))
    if vectors := await here.documents.delete_store(store_id):
        told.warning = (
            f"its passages stay in the vector store {vectors!r}: to have them deleted too, call "
            "DELETE /api/v1/document-store/vectorstore/<store> before you delete a store"
        )
    return told


@post(
    "/api/v1/document-store/loader/save",
    guards=[needs("documentStores:preview-process")],
    status_code=200,
    opt={"refuses": (404, 409, 422)},
    summary="Add or change a loader",
    tags=["document stores"],
)
async def save_loader(request: Request[Any, Any, Any], data: LoaderInput) -> ShownLoader:
    """Stores the loader and its files. Nothing is read before it is processed."""
    here = local(request)
    return shown_loader(await here.documents.save_loader(await _loader(data, here)), here)


@post(
    "/api/v1/document-store/loader/preview",
    guards=[needs("documentStores:preview-process")],
    status_code=200,
    opt={"refuses": (404, 409, 422)},
    summary="See the chunks that a loader would bring",
    tags=["document stores"],
)
async def preview(request: Request[Any, Any, Any], data: LoaderInput) -> PreviewedChunks:
    """Reads and cuts the documents, shows a thousand chunks at most, keeps none. Of a web site three pages are read."""
    here = local(request)
    loader = await _loader(data, here)
    if loader.loaderId in _CRAWLERS:
        loader.loaderConfig = {**loader.loaderConfig, "limit": _PREVIEWED}
    wanted = data.previewChunkCount if data.previewChunkCount and data.previewChunkCount > 0 else _SHOWN
    found = await while_there(request, here.documents.preview(loader, min(wanted, _SHOWN)))
    return PreviewedChunks(found.chunks, found.total, len(found.chunks), found.failures)


@post(
    "/api/v1/document-store/loader/process/{loader_id:str}",
    guards=[needs("documentStores:preview-process")],
    status_code=200,
    opt={"refuses": (409, 422)},
    summary="Read a loader's documents into chunks",
    tags=["document stores"],
)
async def process(request: Request[Any, Any, Any], loader_id: LoaderId, data: LoaderInput) -> ChunkPage:
    """Puts the chunks in the place of those before, and answers with the first of them. Leaving stops it."""
    here = local(request)
    if here.stopping:
        raise Interrupted("the server is stopping; process the loader again in a moment")
    if data.loaderConfig is not None or data.loaderId:
        await here.documents.save_loader(await _loader(msgspec.structs.replace(data, id=loader_id), here))
    await while_there(request, here.documents.process(data.storeId, loader_id))
    return await page_of(data.storeId, loader_id, 1, here)


async def _loader(data: LoaderInput, here: Local) -> Loader:
    """The loader that a request means. Raises InvalidRequest without a type."""
    loader = Loader(id=data.id or "", storeId=data.storeId, loaderId="")
    if data.storeId:
        store = await here.stores.get(data.storeId)
        found = next((one for one in store.loaders if one.id == data.id), None)
        loader = msgspec.structs.replace(defined(found), status="STALE") if found else loader
    values = {name: getattr(data, name) for name in Loader.__struct_fields__ if getattr(data, name, None) is not None}
    loader = msgspec.structs.replace(loader, **values)
    if not loader.loaderId:
        raise InvalidRequest("say at $.loaderId which document loader to use, such as 'plainText'")
    return loader


@delete(
    "/api/v1/document-store/loader/{store_id:str}/{loader_id:str}",
    guards=[needs("documentStores:delete-loader")],
    status_code=200,
    summary="Delete a loader",
    tags=["document stores"],
)
async def remove_loader(request: Request[Any, Any, Any], store_id: StoreId, loader_id: LoaderId) -> ChangedStore:
    """Deletes the loader with its chunks and files, and what the vector store has of it.

    Where that cannot be reached, `warning` says what stays there and how to delete it later.
    """
    here = local(request)
    reason = await here.documents.delete_loader(store_id, loader_id)
    store = ChangedStore(**msgspec.structs.asdict(await _read(store_id, here)))
    if reason:
        later = f"DELETE /api/v1/document-store/vectorstore/{store_id}?docId={loader_id}"
        store.warning = (
            f"the loader is deleted, and its passages stay in the vector store: {reason}; delete them with "
            f"{later} once that works"
        )
    return store


@get(
    "/api/v1/document-store/chunks/{store_id:str}/{loader_id:str}/{item:str}",
    guards=[needs("documentStores:view")],
    summary="Read a page of chunks",
    tags=["document stores"],
)
async def read_chunks(request: Request[Any, Any, Any], store_id: StoreId, loader_id: LoaderId, item: str) -> ChunkPage:
    """Fifty chunks of a loader, or of the whole store for the loader `all`; the last part is the page's number."""
    if not item.isdecimal() or not 0 < int(item) < 10**9:
        raise InvalidRequest(f"{item!r} is not the number of a page: use 1 for the first")
    return await page_of(store_id, loader_id, int(item), local(request))


@put(
    "/api/v1/document-store/chunks/{store_id:str}/{loader_id:str}/{item:str}",
    guards=[needs("documentStores:update")],
    summary="Change a chunk",
    tags=["document stores"],
)
async def change_chunk(
    request: Request[Any, Any, Any], store_id: StoreId, loader_id: LoaderId, item: str, data: ChunkInput
) -> ChunkPage:
    """Changes text and metadata; the vector store has it with the next upsert."""
    here = local(request)
    await here.chunks.edit(store_id, loader_id, item, data.pageContent, data.metadata)
    return await page_of(store_id, loader_id, 1, here)


@delete(
    "/api/v1/document-store/chunks/{store_id:str}/{loader_id:str}/{item:str}",
    guards=[needs("documentStores:delete")],
    status_code=200,
    summary="Delete a chunk",
    tags=["document stores"],
)
async def remove_chunk(request: Request[Any, Any, Any], store_id: StoreId, loader_id: LoaderId, item: str) -> ChunkPage:
    """Deletes a chunk; the vector store loses it with the next upsert."""
    here = local(request)
    await here.chunks.remove(store_id, loader_id, item)
    return await page_of(store_id, loader_id, 1, here)


ROUTES = (
    list_stores,
    create_store,
    read_store,
    change_store,
    remove_store,
    save_loader,
    preview,
    process,
    remove_loader,
    read_chunks,
    change_chunk,
    remove_chunk,
)
