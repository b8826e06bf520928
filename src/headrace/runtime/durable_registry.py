"""The registry in the database: rows for runs, and orders that processes leave for each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from time import time

from sqlalchemy import Connection

from headrace.runtime.durable import DurableLog
from headrace.runtime.log import Retention
from headrace.runtime.queue import Job
from headrace.runtime.registry import (
    MOST_CRASHES,
    Keyed,
    Order,
    Registered,
    Terms,
    Wish,
    answered,
    check_session,
    interrupted,
    resumed,
)
from headrace.schema import RunInfo
from headrace.storage import journal
from headrace.storage.database import Database
from headrace.storage.encryption import Seal
from headrace.storage.presence import Presence
from headrace.storage.storage import timestamp

_logger = logging.getLogger("headrace.log")
_LOOK = 0.02  # seconds between looks at what other processes have written
_FORGET_AFTER = timedelta(days=30).total_seconds()


class DurableRegistry:
    """Implements `headrace.runtime.registry.RunRegistry` beside a durable log, which may know more than is stored."""

    def __init__(self, database: Database, presence: Presence, log: DurableLog, seal: Seal) -> None:
        self._database, self._presence, self._log, self._seal = database, presence, log, seal
        self._orders: asyncio.Queue[Order] = asyncio.Queue()
        self._watched: set[str] = set()
        log.lost = lambda run: self._orders.put_nowait(Order(run, "cancel"))

    @property
    def id(self) -> str:
        """This process."""
        return self._presence.id

    async def register(self, info: RunInfo, terms: Terms) -> Registered:
        """Stores a run that others must know of first; the log's next commit stores any other."""
        found = Registered(None)
        if terms.key or terms.watched or terms.job or terms.session != "parallel":
            found = await self._database.write(lambda c: self._register(c, info, terms))
        if found.existing is None:
            if terms.watched:
                self._watched = {run for run in self._watched if self._log.tail(run)} | {info.id}
            await self._log.open(info, survives=terms.job is not None)
        return found

    def _register(self, c: Connection, info: RunInfo, terms: Terms) -> Registered:
        flow = info.chatflowid
        if terms.key and (known := journal.keyed_run(c, flow, terms.key)):
            run, digest, code = known
            if here := self._log.memory.tails.get(run):
                code = here.info.code
            if answered(Keyed(run, digest, code), terms.digest):
                return Registered(run)
            journal.free_key(c, run)
        others = [] if terms.session == "parallel" else journal.session_runs(c, flow, info.sessionId, info.id)
        # The database learns of an end with the next commit; a caller that has read it may ask at once.
        others = [run for run in others if not ((tail := self._log.memory.tails.get(run)) and tail.closed)]
        check_session(terms, others)
        more = {"watched": terms.watched, "idempotencyKey": terms.key, "requestHash": terms.digest}
        job = self._seal.close(terms.job, info.id) if terms.job else None
        journal.add_run(c, info, self.id, **more, job=job)
        return Registered(None, tuple(others))

    async def of_chat(self, flow: str, chat: str) -> Sequence[RunInfo]:
        """The runs of a chat: those in memory, and those that are stored."""
        # Memory first: a commit during the read moves runs from there into what is read.
        tails = [tail.info for tail in self._log.memory.tails.values()]
        here = {info.id: info for info in tails if (info.chatflowid, info.chatId) == (flow, chat)}
        stored = await self._database.read(lambda c: journal.chat_runs(c, flow, chat))
        every = {info.id: info for info in stored} | here
        return sorted(every.values(), key=lambda info: info.createdDate, reverse=True)

    async def order(self, run: str, wish: Wish) -> None:
        """Hands the order over here, or leaves it in the database for the process that has the run."""
        if self._log.tail(run):
            if wish == "cancel" or run in self._watched:
                self._orders.put_nowait(Order(run, wish))
        elif run not in self._log.memory.tails:
            owner = await self._database.read(lambda c: journal.owner_of(c, run))
            if owner and (owner.watched or wish == "cancel"):
                await self._database.write(lambda c: journal.add_order(c, owner.id, run, wish))

    async def orders(self) -> AsyncGenerator[Order]:
        """Orders of this process, and those of others that `watch` has found."""
        while True:
            yield await self._orders.get()

    async def watch(self) -> None:
        """Looks at the database's version; when that is another one, somebody has written something."""
        seen = -1
        while True:
            try:
                version = self._database.version()
                if version != seen:
                    seen = version
                    self._log.look()
                    await self._take()
            except Exception as error:  # this must go on, whatever a look came to
                _logger.warning("cannot see what other processes ask for: %s", error)
            await asyncio.sleep(_LOOK)

    async def _take(self) -> None:
        if await self._database.read(lambda c: journal.any_order(c, self.id)):
            for run, wish in await self._database.write(lambda c: journal.take_orders(c, self.id)):
                self._orders.put_nowait(Order(run, wish))

    def gone(self, owner: str) -> bool:
        """True for a process that has ended: nobody holds the lock on its file."""
        return self._presence.gone(owner)

    async def take_over(self) -> list[Job]:
        """Makes runs with a job of processes that are gone this one's."""
        jobs: list[Job] = []
        for owner in filter(self._presence.gone, await self._database.read(journal.owners)):
            taken = await self._database.write(
                lambda c, owner=owner: journal.take_runs(c, owner, self.id, MOST_CRASHES)
            )
            for info, size, job in taken:
                self._log.adopt(info, size)
                jobs.append(resumed(self._seal.open(job, info.id)))
        return jobs

    async def close_abandoned(self) -> int:
        """Ends the other runs of processes that are gone; says how many."""
        error, count = interrupted(), 0
        for owner in filter(self._presence.gone, await self._database.read(journal.owners)):
            count += await self._database.write(
                lambda c, owner=owner: journal.interrupt_runs(c, owner, self.id, error, timestamp(), MOST_CRASHES)
            )
        return count

    async def forget_old(self, retention: Retention) -> None:
        """Deletes the rows of runs that ended long ago."""
        before = timestamp(max(0.0, time() - max(retention.hours * 3600, _FORGET_AFTER)))
        await self._database.write(lambda c: journal.remove_old(c, before))

    def close(self) -> None:
        """Lets go of this process's lock."""
        self._presence.close()
