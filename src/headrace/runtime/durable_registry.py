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
from headrace.storage.process_rows import BEAT
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
        """Gives signs of life, and looks at what the others write."""
        await asyncio.gather(self._look(), self._keep_alive())

    async def _keep_alive(self) -> None:
        while True:
            try:
                await self._presence.beat()
            except Exception as error:  # this must go on, whatever it was
                _logger.warning("cannot give a sign of life: %s", error)
            await asyncio.sleep(BEAT)

    async def _look(self) -> None:
        """Looks at the database's version; when that is another one, somebody has written something."""
        seen = -1
        while True:
            try:
                if self._presence.retired:
                    await self._come_back()
                version = self._database.version()
                if version != seen:
                    seen = version
                    self._log.look()
                    await self._take()
            except Exception as error:  # this must go on, whatever a look came to
                _logger.warning("cannot see what other processes ask for: %s", error)
            await asyncio.sleep(_LOOK)

    async def _come_back(self) -> None:
        """Gives up the runs that others have closed while this process stood still, and takes part again."""

        def work(c: Connection) -> set[str]:
            self._presence.enter(c)
            return journal.lost_runs(c, self.id, list(self._log.memory.tails))

        for run in await self._database.write(work):
            self._log.give_up(run)
        self._presence.retired = False

    async def _take(self) -> None:
        if await self._database.read(lambda c: journal.any_order(c, self.id)):
            for run, wish in await self._database.write(lambda c: journal.take_orders(c, self.id)):
                self._orders.put_nowait(Order(run, wish))

    def gone(self, owner: str) -> bool:
        """True for a process that has ended, as far as this one knows."""
        return self._presence.gone(owner)

    async def take_over(self) -> list[Job]:
        """Makes runs with a job of processes that are gone this one's."""
        jobs: list[Job] = []
        for owner in await self._departed():
            for info, size, job in await self._database.write(lambda c, owner=owner: self._take_runs(c, owner)):
                self._log.adopt(info, size)
                jobs.append(resumed(self._seal.open(job, info.id)))
        return jobs

    async def close_abandoned(self) -> int:
        """Ends the other runs of processes that are gone; says how many."""
        count = 0
        for owner in await self._departed():
            count += await self._database.write(lambda c, owner=owner: self._close(c, owner))
        return count

    async def _departed(self) -> list[str]:
        return await self._database.read(lambda c: self._presence.departed(c, journal.owners(c)))

    def _take_runs(self, c: Connection, owner: str) -> list[journal.Taken]:
        if not self._presence.retire(c, owner):  # it has given a sign of life meanwhile
            return []
        return journal.take_runs(c, owner, self.id, MOST_CRASHES)

    def _close(self, c: Connection, owner: str) -> int:
        if not self._presence.retire(c, owner):
            return 0
        return journal.interrupt_runs(c, owner, self.id, interrupted(), timestamp(), MOST_CRASHES)

    async def forget_old(self, retention: Retention) -> None:
        """Deletes the rows of runs that ended long ago."""
        before = timestamp(max(0.0, time() - max(retention.hours * 3600, _FORGET_AFTER)))
        await self._database.write(lambda c: journal.remove_old(c, before))

    def close(self) -> None:
        """Says that this process is gone. Blocking."""
        self._presence.close()
