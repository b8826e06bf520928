"""Everything that one process needs to run flows, wired together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from headrace.engine.catalog import Catalog
from headrace.engine.ports import Http
from headrace.runtime.flows import Flows
from headrace.runtime.log import MemoryLog
from headrace.runtime.queue import LocalQueue
from headrace.runtime.runs import Runs
from headrace.runtime.worker import Worker
from headrace.store.store import Store


class Local:
    """A store, its flows, and a worker with log and queue in this process."""

    def __init__(self, store: Store, catalog: Catalog, http: Http, *, keep_log_bytes: int) -> None:
        self.store = store
        self.flows = Flows(store, catalog)
        self.log = MemoryLog(keep_log_bytes)
        self._queue = LocalQueue()
        self.runs = Runs(self.log, self._queue)
        self._worker = Worker(self._queue, self.log, self.flows, store, http)
        self.stopping = False
        """No new runs are taken."""

    @asynccontextmanager
    async def working(self, *, heartbeat: float, grace: float) -> AsyncGenerator[None]:
        """Runs jobs inside the block; on leaving it runs get `grace` seconds to end, and every log gets its end."""
        work, beat = asyncio.create_task(self._worker.work()), asyncio.create_task(self._beat(heartbeat))
        try:
            yield
        finally:
            self.stopping = True
            self._queue.close()
            if (await asyncio.wait([work], timeout=grace))[1]:
                self._worker.interrupt()
            await work
            beat.cancel()

    async def _beat(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self.log.beat()
