"""Document stores, their loaders and their chunks as the API shows them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from headrace.documents.chunks import StoredChunk
from headrace.documents.service import source_of
from headrace.documents.stores import Component, Loader, Status, StoredFile, StoreRow, Use
from headrace.engine.ports import Document, LoadFailure
from headrace.runtime.local import Local

NODES = ("vectorStoreConfig", "embeddingConfig", "recordManagerConfig")
_ROW = ("id", "name", "description", "createdDate", "updatedDate")


class ShownLoader(msgspec.Struct, kw_only=True):
    """A loader without the process's own notes; `source` says where its documents come from."""

    id: str
    storeId: str
    loaderId: str
    loaderName: str
    loaderConfig: dict[str, Any]
    splitterId: str
    splitterName: str
    splitterConfig: dict[str, Any]
    credential: str | None
    files: list[StoredFile]
    status: Status
    totalChunks: int
    totalChars: int
    failures: list[LoadFailure]
    failed: int
    processed: int
    source: str


class ShownStore(msgspec.Struct, kw_only=True):
    """A store with its loaders, the flows that use it, and what its upsert has done so far, or did last."""

    id: str
    name: str
    description: str | None
    status: Status
    createdDate: str
    updatedDate: str
    vectorStoreConfig: Component | None
    embeddingConfig: Component | None
    recordManagerConfig: Component | None
    progress: dict[str, Any] | None
    loaders: list[ShownLoader]
    whereUsed: list[Use]
    totalChunks: int
    totalChars: int


class ChangedStore(ShownStore, kw_only=True):
    """A store after a change; `warning` tells what could not be done."""

    warning: str | UnsetType = UNSET


class WrittenStore(msgspec.Struct, kw_only=True):
    """A store with its nodes and loaders as JSON texts, as Flowise answers to some requests."""

    id: str
    name: str
    description: str | None
    status: Status
    createdDate: str
    updatedDate: str
    vectorStoreConfig: str | None
    embeddingConfig: str | None
    recordManagerConfig: str | None
    loaders: str
    whereUsed: str


class DeletedStore(msgspec.Struct):
    """A store is gone. Flows of `whereUsed` lack it now; `warning` tells what could not be deleted."""

    deleted: int = 1
    whereUsed: list[Use] = []
    warning: str | UnsetType = UNSET


class PreviewedChunks(msgspec.Struct):
    """The first chunks that a loader would bring, and how many there are."""

    chunks: list[Document]
    totalChunks: int
    previewChunkCount: int
    failures: list[LoadFailure]


class ChunkPage(msgspec.Struct):
    """A page of chunks of a loader, which is `file`, or of the whole store."""

    chunks: list[StoredChunk]
    count: int
    characters: int
    file: ShownLoader | None
    currentPage: int
    storeName: str
    description: str | None
    docId: str


def store_json(store: StoreRow, uses: Sequence[Use], here: Local) -> ShownStore:
    """A store as the API shows it."""
    loaders = [shown_loader(loader, here) for loader in store.loaders]
    return ShownStore(
        **{name: getattr(store, name) for name in (*_ROW, *NODES, "progress")},
        status=_status(store, {loader.status for loader in loaders}, here),
        loaders=loaders,
        whereUsed=list(uses),
        totalChunks=sum(loader.totalChunks for loader in store.loaders),
        totalChars=sum(loader.totalChars for loader in store.loaders),
    )


def _status(store: StoreRow, loaders: Collection[str], here: Local) -> Status:
    if store.status == "UPSERTING":
        return "STALE" if _gone(store.owner, here) else "UPSERTING"
    if "SYNCING" in loaders:
        return "SYNCING"
    return "STALE" if set(loaders) - {"SYNC"} else store.status


def _gone(owner: str | None, here: Local) -> bool:
    """True when the process that was at work has ended."""
    return not owner or here.backend.registry.gone(owner)


def shown_loader(loader: Loader, here: Local) -> ShownLoader:
    """A loader as the API shows it: one whose process was killed is no longer at work."""
    names = [name for name in ShownLoader.__struct_fields__ if name != "source"]
    shown = ShownLoader(**{name: getattr(loader, name) for name in names}, source=source_of(loader))
    if loader.status == "SYNCING" and _gone(loader.owner, here):
        shown.status = "STALE"
    return shown


def written(store: StoreRow) -> WrittenStore:
    """A store with its nodes and loaders as JSON texts."""
    return WrittenStore(
        **{name: getattr(store, name) for name in (*_ROW, "status")},
        vectorStoreConfig=_node(store.vectorStoreConfig),
        embeddingConfig=_node(store.embeddingConfig),
        recordManagerConfig=_node(store.recordManagerConfig),
        loaders=msgspec.json.encode(store.loaders).decode(),
        whereUsed="[]",
    )


def _node(node: Component | None) -> str | None:
    return msgspec.json.encode(node).decode() if node else None


async def page_of(store_id: str, loader_id: str, number: int, here: Local) -> ChunkPage:
    """A page of a loader's chunks, or of the whole store's for the loader `all`. Raises NotFound."""
    store = await here.stores.get(store_id)
    loader = None if loader_id == "all" else store.loader(loader_id)
    chunks, count = await here.chunks.page(store_id, loader.id if loader else None, number)
    return ChunkPage(
        chunks=chunks,
        count=count,
        characters=sum(one.totalChars for one in ([loader] if loader else store.loaders)),
        file=shown_loader(loader, here) if loader else None,
        currentPage=number,
        storeName=store.name,
        description=store.description,
        docId=loader_id,
    )
