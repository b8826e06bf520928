"""Brings documents into document stores: reads and cuts them, keeps the chunks, and upserts them into vector stores."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple, cast
from uuid import uuid4

import msgspec

from headrace.documents.chunks import Attempt, DocumentChunks
from headrace.documents.context import upsert_context
from headrace.documents.files import StoreFiles
from headrace.documents.graph import EMBEDDED, Part, loader_graph, single_graph, store_graph
from headrace.documents.library import DocumentLibrary, parts_of
from headrace.documents.stores import Loader, StoreRow
from headrace.engine import chatflow
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.graph import Graph
from headrace.engine.inputs import provides
from headrace.engine.model_events import answer_text
from headrace.engine.node import Context
from headrace.engine.overrides import OverrideRules, Overrides
from headrace.engine.ports import ChatModel, Documents, LoadFailure, Outside, Retriever, Upserted
from headrace.errors import FlowError, HeadraceError, InvalidRequest, NotFound, ProviderError
from headrace.events import Document
from headrace.schema import is_id
from headrace.storage.storage import Storage
from headrace.storage.tables import store_upsert_history
from headrace.storage.upserts import UpsertHistory

_BATCH: Final = 512
_BATCH_TEXT: Final = 2_000_000  # characters
_TOLD_EVERY: Final = 0.25  # seconds
_NOTHING: Final = Overrides(OverrideRules(), None)
_COUNTS: Final = ("numAdded", "numUpdated", "numSkipped", "numDeleted")
_DESCRIBED: Final = 4
_DESCRIBED_TEXT: Final = 20_000
"""Chunks, and characters of them, that a model reads to describe a store."""
_DESCRIBE: Final = (
    "An assistant may search a collection of documents. Write one sentence, of 1024 characters at most, that tells it "
    "for which questions to do so. Answer with that sentence alone. The collection begins so:\n\n{text}"
)
_SHARED: Final = ("faiss",)
"""Vector stores of this data folder that several document stores may keep their passages in."""


class Preview(NamedTuple):
    """The first chunks that a loader would bring, how many there are, and what could not be read."""

    chunks: list[Document]
    total: int
    failures: list[LoadFailure]


class DocumentService:
    """Loads, cuts, upserts and queries the document stores of a data folder."""

    def __init__(self, library: DocumentLibrary, storage: Storage, outside: Outside, process: str) -> None:
        """`process` is the id of this process, which owns the upserts that it runs."""
        self._library, self._storage, self._outside, self._process = library, storage, outside, process
        self.stores, self.chunks = library.stores, library.chunks
        self.files = StoreFiles(library.files)
        self.history = UpsertHistory(storage.database, store_upsert_history)
        self.placing = asyncio.Lock()
        """Who stores a loader's files holds it until the loader names them."""

    async def new_store(self, store: StoreRow) -> StoreRow:
        """Stores an empty document store; without an id it gets one. Raises InvalidRequest."""
        if store.id and not is_id(store.id):
            raise InvalidRequest(f"{store.id[:80]!r} is not a UUID: leave the id out to get one")
        return await self.stores.add(store)

    # Loaders

    async def save_loader(self, loader: Loader) -> Loader:
        """Stores a loader and its files, not its documents. Raises InvalidRequest, NotFound and StorageError."""
        async with self.placing:
            return await self.stores.put_loader(await self.prepared(loader))

    async def prepared(self, loader: Loader) -> Loader:
        """The loader as it can be stored; its files are. Hold `placing`. Raises InvalidRequest and StorageError."""
        self.check(loader.loaderId, loader.splitterId)
        loader = msgspec.structs.replace(loader, id=loader.id or str(uuid4()))
        for one in (loader.storeId, loader.id):
            if not is_id(one):
                raise InvalidRequest(f"{one[:80]!r} is not the id of a document store or a loader: use a UUID")
        kept = await asyncio.to_thread(self.files.keep, loader.storeId, loader.id, loader.loaderConfig, loader.folder)
        files = kept.files if kept.folder != loader.folder else loader.files
        new = msgspec.structs.replace(loader, loaderConfig=kept.inputs, files=files, folder=kept.folder)
        return msgspec.structs.replace(new, fingerprint=_fingerprint(new))

    def check(self, *names: str) -> None:
        """Raises InvalidRequest for a node type that this server does not have."""
        for name in names:
            if name and name not in self._library.catalog:
                raise InvalidRequest(f"this server has no node {name!r}: replace it, or install a package with it")

    async def preview(self, loader: Loader, most: int) -> Preview:
        """Reads and cuts a loader's documents without keeping them; returns at most `most` chunks.

        Raises FlowError and what loaders raise.
        """
        found = Preview([], 0, [])
        total = 0
        async with aclosing((await self._documents(loader)).read()) as documents:
            async for one in documents:
                if isinstance(one, LoadFailure):
                    found.failures.append(one)
                    continue
                total += 1
                if total <= most:
                    found.chunks.append(one)
        return found._replace(total=total)

    async def process(self, store_id: str, loader_id: str) -> None:
        """Reads and cuts a loader's documents, and puts the chunks in the place of those before.

        A document that fails does not stop the others. Raises NotFound, Conflict, and FlowError when nothing could be
        read; then, as when it is cancelled, the chunks stay as they were.
        """
        loader = (await self.stores.get(store_id)).loader(loader_id)
        attempt = await self.chunks.begin(store_id, loader_id, self._process)
        reason, filled = "it was interrupted", False
        try:
            await _Filling(self.chunks, attempt).fill(await self._documents(loader))
            filled = True
        except HeadraceError as error:
            reason = str(error)
            raise
        finally:
            if not filled:
                await self.chunks.fail(attempt, [LoadFailure(source_of(loader), "processed", reason)])
        async with self.placing:
            now = (await self.stores.get(store_id)).loader(loader_id)
            await asyncio.to_thread(self.files.keep_only, store_id, loader_id, now.folder)

    async def _documents(self, loader: Loader) -> Documents:
        self.check(loader.loaderId, loader.splitterId)
        inputs = {**loader.loaderConfig, **({"credential": loader.credential} if loader.credential else {})}
        splitter = Part(loader.splitterId, loader.splitterConfig) if loader.splitterId else None
        graph = loader_graph(Part(loader.loaderId, inputs), splitter, self._library.catalog)
        ctx = await self._context(loader.folder or loader.storeId)
        found = await chatflow.built(graph, self._library.catalog, ctx)
        if not hasattr(found, "read"):
            raise FlowError(f"{loader.loaderId!r} is no document loader: choose another one")
        return cast("Documents", found)

    async def delete_loader(self, store_id: str, loader_id: str) -> str:
        """Deletes a loader with its files, its chunks, and its passages in the vector store.

        Where that cannot be reached, its passages stay there: then says why, else "".
        """
        reason = ""
        async with self._turn(store_id):
            store = await self.stores.get(store_id)
            store.loader(loader_id)
            if store.progress is not None:
                try:
                    await self._remove(store, [loader_id])
                except (FlowError, ProviderError) as error:
                    reason = str(error)
            await self.drop_loader(store_id, loader_id)
        return reason

    async def drop_loader(self, store_id: str, loader_id: str) -> None:
        """Deletes a loader that has brought nothing into the vector store."""
        await self.chunks.clear(loader_id)
        await self.stores.delete_loader(store_id, loader_id)
        await asyncio.to_thread(self.files.forget, store_id, loader_id)

    async def delete_store(self, store_id: str) -> str:
        """Deletes a store, and its passages if they are in the embedded vector store; else names who keeps them."""
        store = await self.stores.get(store_id)
        vectors = parts_of(store).vectors.name
        for loader in store.loaders:
            await self.chunks.clear(loader.id)
        await self.stores.delete(store_id)
        await asyncio.to_thread(self.files.forget, store_id)
        await self._library.sweep()
        return vectors if vectors != EMBEDDED and store.progress is not None else ""

    # Vector stores

    async def upsert(self, store_id: str, loader_id: str | None = None) -> Upserted:
        """Brings the vector store to what the chunks say: of a loader, or of all. Raises what nodes raise."""
        async with self._turn(store_id):
            store = await self.stores.get(store_id)
            parts = parts_of(store)
            records = parts.records or _records(parts.vectors, whole=loader_id is None)
            whole = loader_id is None or records.inputs.get("cleanup") == "full"
            loaders = store.loaders if whole else [store.loader(loader_id or "")]
            graph = store_graph(msgspec.structs.replace(parts, records=records), self._library.catalog)
            ids, owner, done, ended = [loader.id for loader in loaders], self._process, Upserted(), False
            await self.stores.begin_upsert(store, ids, owner, _counts(done))
            try:
                done = await self._brought(store, loaders, graph, done)
                ended = True
            finally:
                await self.stores.end_upsert(store, ids, owner, _counts(done), done=ended)
            await self.history.add(store.id, msgspec.structs.replace(done, addedDocs=[]), graph.order)
            return done

    async def _brought(self, store: StoreRow, loaders: Sequence[Loader], graph: Graph, so_far: Upserted) -> Upserted:
        """Brings the chunks of these loaders into the store that the graph ends with."""
        ctx = await self._context(store.id)
        node = await chatflow.keeping(graph, self._library.catalog, ctx, _NOTHING)
        documents = self._library.documents(store, [loader.id for loader in loaders], named=True)
        node = msgspec.structs.replace(node, document=[documents])
        done = await self._reported(store.id, so_far, node.upsert(ctx, lambda told: _copy(told, so_far)))
        if empty := [loader.id for loader in loaders if not loader.totalChunks]:
            done.numDeleted += await node.remove(ctx, empty)
        return done

    def _turn(self, store_id: str) -> asyncio.Lock:
        """The lock of a document store's vector store: changes come one after the other."""
        return self._library.turn(f"document store {store_id}")

    async def _reported(self, store_id: str, so_far: Upserted, work: Coroutine[Any, Any, Upserted]) -> Upserted:
        """Does it, and writes down now and then what has been done, for those who look at the store."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait([task], timeout=_TOLD_EVERY))[0]:
                await self.stores.change(store_id, progress=_counts(so_far))
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def remove(self, store_id: str, loaders: Sequence[str] | None = None) -> int:
        """Deletes from the vector store what these loaders, or all, have brought into it; says how many."""
        async with self._turn(store_id):
            store = await self.stores.get(store_id)
            return await self._remove(store, [one.id for one in store.loaders] if loaders is None else loaders)

    async def _remove(self, store: StoreRow, loaders: Sequence[str]) -> int:
        parts = parts_of(store)
        records = parts.records or _records(parts.vectors, whole=False)
        graph = store_graph(msgspec.structs.replace(parts, records=records), self._library.catalog)
        ctx = await self._context(store.id)
        count = await (await chatflow.keeping(graph, self._library.catalog, ctx, _NOTHING)).remove(ctx, loaders)
        await self.stores.unstored(store.id, loaders)
        return count

    async def query(self, store_id: str, text: str, inputs: Mapping[str, Any]) -> list[Document]:
        """The passages that a question finds. `inputs` replace inputs of the vector store for this search."""
        parts = parts_of(await self.stores.get(store_id))
        vectors = Part(parts.vectors.name, {**parts.vectors.inputs, **inputs})
        graph = store_graph(msgspec.structs.replace(parts, vectors=vectors), self._library.catalog)
        found = await chatflow.built(graph, self._library.catalog, await self._context(store_id))
        if not hasattr(found, "find"):
            raise FlowError(f"{vectors.name!r} cannot be searched: choose another vector store")
        return await cast("Retriever", found).find(text)

    async def describe(self, store_id: str, model: Part) -> str:
        """A sentence on when to search the store, written by a chat model that reads its first chunks.

        Raises NotFound without chunks, InvalidRequest for what is no chat model, and what models raise.
        """
        name = (await self.stores.get(store_id)).name
        chunks, _ = await self.chunks.page(store_id, None, 1)
        if not chunks:
            raise NotFound(f"the document store {name!r} has no chunks yet: process a loader first")
        self.check(model.name)
        ctx = await self._context(store_id)
        found = await chatflow.built(single_graph(model, self._library.catalog), self._library.catalog, ctx)
        if not provides(type(found), ChatModel):
            raise InvalidRequest(f"{model.name!r} is no chat model: name one at $.selectedChatModel.name")
        text = "\n".join(chunk.pageContent for chunk in chunks[:_DESCRIBED])[:_DESCRIBED_TEXT]
        request = ChatRequest([ModelMessage("user", _DESCRIBE.format(text=text))])
        return (await answer_text(cast("ChatModel", found), request, ctx)).strip()

    async def _context(self, folder: str) -> Context:
        return await upsert_context(self._storage, self._outside, folder)


class _Filling:
    """The chunks of one attempt, in batches of one transaction each."""

    def __init__(self, chunks: DocumentChunks, attempt: Attempt) -> None:
        self._chunks, self._attempt = chunks, attempt
        self._batch: list[Document] = []
        self._size, self._next = 0, 1
        self._failures: list[LoadFailure] = []
        self._any, self._last = False, None
        """True once a chunk is stored, and the source of the last stored chunk."""

    async def fill(self, documents: Documents) -> None:
        """Keeps what can be read. Raises FlowError when nothing can."""
        async with aclosing(documents.read()) as read:
            async for one in read:
                if isinstance(one, LoadFailure):
                    await self._take_back(one)
                    continue
                self._batch.append(one)
                self._size += len(one.pageContent)
                if len(self._batch) >= _BATCH or self._size >= _BATCH_TEXT:
                    await self._store()
        await self._store()
        if self._failures and not self._any:
            raise FlowError(str(self._failures[0]))
        await self._chunks.finish(self._attempt, self._failures)

    async def _store(self) -> None:
        if not self._batch:
            return
        await self._chunks.add(self._attempt, self._next, self._batch)
        self._any, self._last = True, self._batch[-1].metadata.get("source")
        self._next += len(self._batch)
        self._batch, self._size = [], 0

    async def _take_back(self, failure: LoadFailure) -> None:
        """Forgets the readable half of a document; it is the last one, since loaders read one after the other."""
        self._failures.append(failure)
        self._batch = [one for one in self._batch if one.metadata.get("source") != failure.source]
        if self._last == failure.source:
            self._any = await self._chunks.take_back(self._attempt, failure.source)


def source_of(loader: Loader) -> str:
    """The source of a loader's documents, as far as its inputs name one."""
    if loader.files:
        return ", ".join(file.name for file in loader.files)
    inputs = loader.loaderConfig
    found = next((inputs[name] for name in ("url", "repoLink", "folderPath") if inputs.get(name)), "")
    return str(found) or loader.loaderName or loader.loaderId


def _fingerprint(loader: Loader) -> str:
    """Stands for everything that decides which chunks a loader brings."""
    parts = [
        loader.loaderId,
        loader.loaderConfig,
        loader.splitterId,
        loader.splitterConfig,
        loader.credential,
        loader.folder.rpartition("/")[2],
    ]
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _records(vectors: Part, *, whole: bool) -> Part:
    """The record manager of a store that names none: passages follow the chunks of their loaders."""
    cleanup = "full" if whole and vectors.name not in _SHARED else "incremental"
    return Part("SQLiteRecordManager", {"cleanup": cleanup, "sourceIdKey": "docId"})


def _counts(done: Upserted) -> dict[str, int]:
    return {name: getattr(done, name) for name in _COUNTS}


def _copy(so_far: Upserted, told: Upserted) -> None:
    for name in _COUNTS:
        setattr(told, name, getattr(so_far, name))
