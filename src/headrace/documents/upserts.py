"""Upserts of document stores: a loader is stored, processed and upserted in one go.

The same upsert again finds the loader that it made, by everything that defines it, so nothing is stored twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec

from headrace.documents.files import is_file_input
from headrace.documents.library import DocumentLibrary
from headrace.documents.service import DocumentService, source_of
from headrace.documents.stores import Component, Loader, StoreRow
from headrace.engine.inputs import fields_of
from headrace.engine.ports import LoadFailure, Upserted
from headrace.errors import HeadraceError, InvalidRequest
from headrace.storage.storage import timestamp


class Change(msgspec.Struct, frozen=True):
    """A node to take, or other inputs for the one that is there."""

    name: str = ""
    config: dict[str, Any] = {}


class StoreInput(msgspec.Struct, kw_only=True):
    """A document store to make."""

    id: str = ""
    name: str = ""
    description: str | None = None


class StoreUpsert(msgspec.Struct, kw_only=True):
    """The loader to upsert: `docId` itself, one like it, or a new one. Unset fields keep their values."""

    docId: str | None = None
    metadata: dict[str, Any] | None = None
    replaceExisting: bool = False
    createNewDocStore: bool = False
    docStore: StoreInput | None = None
    loaderName: str | None = None
    loader: Change | None = None
    splitter: Change | None = None
    vectorStore: Change | None = None
    embedding: Change | None = None
    recordManager: Change | None = None


class StoreUpserted(Upserted):
    """The result of an upsert, with its loader and store; `numFailed` counts all failures."""

    docId: str = ""
    storeId: str = ""
    numFailed: int = 0


class StoreUpserts:
    """Upserts of loaders, one at a time or all of a store."""

    def __init__(self, service: DocumentService, library: DocumentLibrary) -> None:
        self._service, self._library = service, library

    async def run(
        self, store_id: str, asked: StoreUpsert, files: Mapping[str, str] | None = None, names: Sequence[str] = ()
    ) -> StoreUpserted:
        """Does it. `files` has for each input what it would take of the uploaded files, whose names are `names`.

        Raises InvalidRequest, NotFound, Conflict, FlowError and ProviderError; a new loader that brings nothing goes.
        """
        store = await self._store(store_id, asked)
        try:
            loader = await self._processed(store, store_id, asked, files or {}, names)
        except BaseException:
            if store.id != store_id:
                await self._service.delete_store(store.id)
            raise
        return await self._upserted(store.id, loader.id)

    async def refresh(self, store_id: str, items: Sequence[StoreUpsert]) -> list[StoreUpserted]:
        """Processes and upserts loaders again, all of the store without items. One that fails stops no other."""
        store = await self._service.stores.get(store_id)
        items = items or [StoreUpsert(docId=loader.id) for loader in store.loaders]
        wanted = [(store.loader(item.docId or ""), item) for item in items]
        return [await self._again(store, before, item) for before, item in wanted]

    async def _again(self, store: StoreRow, before: Loader, item: StoreUpsert) -> StoreUpserted:
        """Refreshes a loader; the error that ends it is told as its failure."""
        step = "processed"
        try:
            await self._processed(store, store.id, msgspec.structs.replace(item, replaceExisting=True), {}, ())
            step = "upserted"
            return await self._upserted(store.id, before.id)
        except HeadraceError as error:
            failure = LoadFailure(source_of(before), step, str(error))
            return StoreUpserted(failures=[failure], docId=before.id, storeId=store.id, numFailed=1)

    async def _store(self, store_id: str, asked: StoreUpsert) -> StoreRow:
        if not asked.createNewDocStore:
            return await self._service.stores.get(store_id)
        given = asked.docStore or StoreInput()
        name = given.name or f"Document Store {timestamp()}"
        return await self._service.new_store(StoreRow(id=given.id, name=name, description=given.description))

    async def _processed(
        self, store: StoreRow, template_store: str, asked: StoreUpsert, files: Mapping[str, str], names: Sequence[str]
    ) -> Loader:
        """The loader, stored and processed, and the store's nodes as the request wants them."""
        template = Loader(loaderId="")
        if asked.docId:
            template = defined((await self._service.stores.get(template_store)).loader(asked.docId))
        replaced = bool(asked.docId) and asked.replaceExisting and store.id == template_store
        wanted = self._with_files(_merged(template, asked), files, names)
        if not wanted.loaderId:
            raise InvalidRequest("say at $.loader which loader to use, or at $.docId which one of the store")
        await self._take_nodes(store, asked)
        key = template.id if replaced else str(uuid4())
        loader, is_new = await self._placed(msgspec.structs.replace(wanted, id=key, storeId=store.id), template.id)
        finished = False
        try:
            await self._service.process(store.id, loader.id)
            finished = True
        finally:
            if is_new and not finished:
                await self._service.drop_loader(store.id, loader.id)
        return loader

    async def _placed(self, loader: Loader, template: str) -> tuple[Loader, bool]:
        """The loader as it is stored, and whether it is new: a loader of the store that is just the same is taken."""
        async with self._service.placing:
            ready = await self._service.prepared(loader)
            if ready.id == template:
                return await self._service.stores.put_loader(ready), False
            store = await self._service.stores.get(loader.storeId)
            for twin in store.loaders:
                if twin.fingerprint == ready.fingerprint:
                    await asyncio.to_thread(self._service.files.forget, loader.storeId, ready.id)
                    return twin, False
            return await self._service.stores.put_loader(ready), True

    def _with_files(self, loader: Loader, files: Mapping[str, str], names: Sequence[str]) -> Loader:
        if not files:
            return loader
        loader = loader if loader.loaderId else msgspec.structs.replace(loader, loaderId="fileLoader")
        self._service.check(loader.loaderId)
        inputs = fields_of(self._library.catalog[loader.loaderId])
        taken = {name: value for name, value in files.items() if name in inputs and is_file_input(name)}
        if not taken:
            raise InvalidRequest(
                f"{loader.loaderId!r} takes no file like {names[0]!r}: use another loader, or fileLoader"
            )
        return msgspec.structs.replace(loader, loaderConfig={**loader.loaderConfig, **taken})

    async def _take_nodes(self, store: StoreRow, asked: StoreUpsert) -> None:
        nodes = {
            column: changed(getattr(store, column), change)
            for column, change in (
                ("vectorStoreConfig", asked.vectorStore),
                ("embeddingConfig", asked.embedding),
                ("recordManagerConfig", asked.recordManager),
            )
            if change
        }
        self._service.check(*(node.name for node in nodes.values()))
        if nodes:
            await self._service.stores.take_nodes(store.id, nodes)

    async def _upserted(self, store_id: str, loader_id: str) -> StoreUpserted:
        done = await self._service.upsert(store_id, loader_id)
        loader = (await self._service.stores.get(store_id)).loader(loader_id)
        told = StoreUpserted(**msgspec.structs.asdict(done), docId=loader_id, storeId=store_id)
        told.failures = [*loader.failures, *done.failures]
        told.numFailed = loader.failed + len(done.failures)
        return told


def changed(old: Component | None, change: Change) -> Component:
    """The node that a store has after a change. Raises InvalidRequest without a node to change."""
    name = change.name or (old.name if old else "")
    if not name:
        raise InvalidRequest("the name of a node is missing: say which one to use")
    return Component(name, {**(old.config if old and old.name == name else {}), **change.config})


def defined(loader: Loader) -> Loader:
    """A loader that is made like this one, and has brought nothing yet."""
    names = ("id", "storeId", "loaderId", "loaderName", "loaderConfig", "splitterId", "splitterName", "splitterConfig")
    return Loader(**{name: getattr(loader, name) for name in (*names, "credential", "files", "folder")})


def _merged(loader: Loader, asked: StoreUpsert) -> Loader:
    """The template with what the request says instead."""
    values: dict[str, Any] = {"loaderName": asked.loaderName or loader.loaderName}
    if asked.loader:
        node = changed(Component(loader.loaderId, loader.loaderConfig), asked.loader)
        values |= {"loaderId": node.name, "loaderConfig": node.config}
        if node.name != loader.loaderId:
            values["loaderName"] = asked.loaderName or node.name
    if asked.splitter:
        node = changed(Component(loader.splitterId, loader.splitterConfig), asked.splitter)
        values |= {"splitterId": node.name, "splitterName": node.name, "splitterConfig": node.config}
    if asked.metadata:
        config = values.get("loaderConfig", loader.loaderConfig)
        values["loaderConfig"] = {**config, "metadata": asked.metadata}
    return msgspec.structs.replace(loader, **values)
