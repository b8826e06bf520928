"""Everything that one process needs to run flows, wired together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from headrace.documents.library import DocumentLibrary
from headrace.documents.service import DocumentService
from headrace.documents.upserts import StoreUpserts
from headrace.engine.catalog import Catalog
from headrace.engine.ports import Outside
from headrace.errors import HeadraceError, StorageError
from headrace.runtime.backend import Backend
from headrace.runtime.executions import Executions
from headrace.runtime.expiry import Expiry
from headrace.runtime.flows import Flows
from headrace.runtime.log import Retention
from headrace.runtime.python_flows import PythonFlows
from headrace.runtime.runs import Runs
from headrace.runtime.schedules import Schedules
from headrace.runtime.uploads import Uploads
from headrace.runtime.upserts import Upserts
from headrace.runtime.worker import Worker
from headrace.storage.key_uses import KeyUses
from headrace.storage.storage import Storage
from headrace.storage.visitors import Leads, Ratings
from headrace.storage.webhook_secrets import WebhookSecrets

_logger = logging.getLogger("headrace")
_TIDY_EVERY = 60.0  # seconds
_LOOK_EVERY = 1.0  # seconds


class Local:
    """A store, its flows, and a worker of this process on a backend."""

    def __init__(
        self,
        storage: Storage,
        backend: Backend,
        catalog: Catalog,
        outside: Outside,
        retention: Retention,
        library: DocumentLibrary,
        python: PythonFlows,
    ) -> None:
        self.storage, self.outside = storage, outside
        self.catalog, self.python = catalog, python
        self.flows = Flows(storage, catalog, python)
        self.backend = backend
        self.executions = Executions(storage.database, storage.seal)
        self.runs = Runs(backend, self.executions.give_back)
        self.webhook_secrets = WebhookSecrets(storage.database, storage.seal)
        self.key_uses = KeyUses(storage.database)
        self.ratings, self.leads = Ratings(storage.database), Leads(storage.database)
        self.uploads = Uploads(storage.folder / "uploads")
        self.upserts = Upserts(self.flows, storage, outside)
        self.library = library
        self.documents = DocumentService(library, storage, outside, backend.registry.id)
        self.stores, self.chunks = library.stores, library.chunks
        self.store_upserts = StoreUpserts(self.documents, library)
        self._worker = Worker(backend, self.flows, storage, self.executions, outside)
        self._expiry = Expiry(self.executions, self.flows, self.runs)
        self.schedules = Schedules(storage, self.flows, self.runs)
        self._retention = retention
        self.stopping = False
        """No new runs are taken."""
        self.works: set[asyncio.Task[Any]] = set()
        """Upserts and the like, which stop with the server: the same request again goes on from there."""

    @asynccontextmanager
    async def working(self, *, heartbeat: float, grace: float) -> AsyncGenerator[None]:
        """Runs jobs inside the block; on leaving it runs get `grace` seconds to end, and every log gets its end."""
        log, queue, registry = self.backend
        await self._take_over()
        commit = asyncio.create_task(log.keep_committing())
        others = [
            asyncio.create_task(self._worker.work()),
            asyncio.create_task(self._worker.obey()),
            asyncio.create_task(self._beat(heartbeat)),
            asyncio.create_task(registry.watch()),
            asyncio.create_task(self._tidy()),
            asyncio.create_task(self._look_for_abandoned()),
            asyncio.create_task(self.python.watch(self.storage)),
            asyncio.create_task(self.executions.keep_writing()),
            asyncio.create_task(self.schedules.keep_firing()),
        ]
        try:
            yield
        finally:
            self.stopping = True
            for task in self.works:
                task.cancel()
            await asyncio.gather(*self.works, return_exceptions=True)
            await queue.close()
            if not await self._worker.finished(grace):
                self._worker.interrupt()
                await self._worker.finished()
            for task in others:
                task.cancel()
            log.close()
            try:
                await commit
                await self.key_uses.write()
            except StorageError as error:
                _logger.error("the last events could not be stored: %s", error)

    async def _beat(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self.backend.log.beat()

    async def _look_for_abandoned(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                await self._take_over()
            except Exception as error:  # whatever it was, the next look may find the same runs
                _logger.warning("runs of processes that are gone wait: %s", error)

    async def _take_over(self) -> None:
        """Goes on with the runs of processes that are gone, or ends them."""
        for job in await self.backend.registry.take_over():
            _logger.warning("run %s goes on here: its process is gone", job.run)
            await self.backend.queue.put(job)
        await self.backend.registry.close_abandoned()

    async def _tidy(self) -> None:
        while True:
            try:
                await self.backend.log.tidy(self._retention)
                await self.backend.registry.forget_old(self._retention)
                await self.library.sweep()
                await self.schedules.tidy()
                await self.key_uses.write()
            except Exception:  # whatever it was, old runs must not pile up for ever after
                _logger.exception("old runs stay as they are for now")
            try:
                await self._expiry.answer_expired()
            except HeadraceError as error:
                _logger.warning("questions that have expired wait on: %s", error)
            await asyncio.sleep(_TIDY_EVERY)
