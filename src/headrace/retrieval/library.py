"""The library of a process: collections, cached vectors, stored files, and a way to the web for retrieval nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

from headrace.engine.node import Context
from headrace.engine.ports import Embeddings
from headrace.errors import FlowError
from headrace.retrieval.embedded import passages
from headrace.retrieval.embedded.cached import CachedEmbeddings
from headrace.retrieval.embedded.collection import Collection
from headrace.retrieval.embedded.searcher import Searcher
from headrace.storage.database import Database
from headrace.storage.records import OwnRecords


class Fetch(Protocol):
    """Reads an address that a flow names. Its implementation decides which addresses may be reached."""

    def __call__(self, url: str, headers: Mapping[str, str]) -> AsyncGenerator[bytes]:
        """The answer's bytes as they come. Raises HeadraceError when there is no answer with status 200."""
        ...


class Library:
    """Everything that is retrieved from, in one data folder."""

    def __init__(self, database: Database, folder: Path, fetch: Fetch | None = None) -> None:
        self._database, self._folder, self._fetch = database, folder, fetch
        self._searcher = Searcher(folder / "vectors")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def collection(self, name: str, embeddings: Embeddings | None = None) -> Collection:
        """The collection of this name; it begins to exist when something is stored."""
        return Collection(self._database, self._searcher, self.turn(name), name, embeddings)

    def turn(self, name: str) -> asyncio.Lock:
        """The one lock of this name: what changes the same thing here waits for each other."""
        return self._locks.get(name) or self._locks.setdefault(name, asyncio.Lock())

    def records(self, table: str, namespace: str) -> OwnRecords:
        """The records of a vector store on another server."""
        return OwnRecords(self._database, table, namespace)

    def cached(self, embeddings: Embeddings) -> CachedEmbeddings:
        """The same embeddings, each vector paid for once."""
        return CachedEmbeddings(embeddings, self._database)

    async def forget_oldest(self, prefix: str, keep: int) -> None:
        """Deletes collections whose names begin so, but the newest."""
        names = await self._database.scan(lambda c: passages.collection_names(c, prefix))
        for name in names[: max(0, len(names) - keep)]:
            await self.collection(name).drop()

    async def forget_chats(self, flow: str, chat: str | None) -> None:
        """Deletes what was upserted for one chat of a flow alone, or for each of its chats."""
        prefix = f"upserted/{flow}/"
        for name in await self._database.scan(lambda c: passages.collection_names(c, prefix)):
            _, slash, owner = name.removeprefix(prefix).partition("/")  # behind the node's id; chats have any name
            if slash and chat in (None, owner):
                await self.collection(name).drop()

    async def sweep(self) -> None:
        """Deletes the collections of flows and document stores that were deleted."""
        await self.forget_oldest("deleted/", 0)

    @property
    def files(self) -> Path:
        """The folder of files that flows name: `files/<flow id>/<name>`. No path leads out of it."""
        return self._folder / "files"

    @property
    def fetch(self) -> Fetch:
        """The way to the web. Raises FlowError when this process has none."""
        if self._fetch is None:
            raise FlowError("this server does not fetch web pages: it was started without a way to the web")
        return self._fetch


def library(ctx: Context) -> Library:
    """The library that a run retrieves from. Raises FlowError when the process has none."""
    found = ctx.outside.library
    if not isinstance(found, Library):
        raise FlowError("this process keeps no documents: run the flow in a server")
    return found
