"""Reads document stores out of exports, where nodes and loaders are JSON texts. Executes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.documents.chunks import StoredChunk
from headrace.documents.graph import EMBEDDED
from headrace.documents.stores import StoreRow
from headrace.engine.complaints import complaint
from headrace.errors import InvalidRequest
from headrace.schema import is_id

_TEXTS: Final = ("vectorStoreConfig", "embeddingConfig", "recordManagerConfig", "loaders")
_KEPT: Final = (*_TEXTS, "id", "name", "description", "status", "createdDate")
_LOCAL: Final = (EMBEDDED, "faiss")
_LOADER: Final = ("id loaderId loaderName loaderConfig splitterId splitterName splitterConfig credential files").split()


def document_store(values: Mapping[str, Any]) -> StoreRow:
    """A store with its loaders; their chunks stand elsewhere in the export. Raises InvalidRequest."""
    try:
        row = {name: _value(name, values[name]) for name in _KEPT if values.get(name)}
        row["loaders"] = [_loader(loader, str(row.get("id"))) for loader in row.get("loaders") or []]
        store = msgspec.convert(row, StoreRow)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"a document store of the export cannot be read: {complaint(error)}") from None
    if not all(is_id(one.id) for one in (store, *store.loaders)):
        raise InvalidRequest(f"the document store {store.name!r} of the export, or a loader of it, has no id")
    local = store.vectorStoreConfig is None or store.vectorStoreConfig.name in _LOCAL
    if store.loaders and (local or store.status != "UPSERTED"):  # the passages did not come along
        store.status = "SYNC"
    return store


def _value(name: str, value: Any) -> Any:
    return msgspec.json.decode(value) if name in _TEXTS and isinstance(value, str) else value


def _loader(values: Mapping[str, Any], store: str) -> dict[str, Any]:
    kept = {name: values[name] for name in _LOADER if values.get(name)}
    return {**kept, "storeId": store, "status": "SYNC", "attempt": 1, "generation": 1}


def document_chunk(values: Mapping[str, Any]) -> StoredChunk:
    """A chunk. Raises InvalidRequest."""
    text = values.get("metadata")
    try:
        metadata = msgspec.json.decode(text) if isinstance(text, str) else text
        row = {**values, "metadata": msgspec.json.encode(msgspec.convert(metadata or {}, dict[str, Any])).decode()}
        return msgspec.convert(row, StoredChunk)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"a chunk of the export cannot be read: {complaint(error)}") from None
