"""A backend in memory alone, for tests: complete, and shared by as many processes as a test opens in one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple

from headrace.events import End
from headrace.runtime.backend import Backend
from headrace.runtime.log import MemoryLog, Retention
from headrace.runtime.queue import Job, LocalQueue
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

_SHOWN = 100


class _Row(NamedTuple):
    info: RunInfo
    terms: Terms
    owner: str
    crashes: int = 0

    @property
    def survives(self) -> bool:
        return self.terms.job is not None and self.crashes < MOST_CRASHES


class Memory:
    """The log and the runs that every process of it knows."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.rows: dict[str, _Row] = {}
        self.keys: dict[tuple[str, str], str] = {}
        self.processes: dict[str, MemoryRegistry] = {}

    def backend(self) -> Backend:
        """The backend of one more process."""
        return Backend(self.log, LocalQueue(), MemoryRegistry(self))


class MemoryRegistry:
    """Implements `headrace.runtime.registry.RunRegistry` for one process."""

    def __init__(self, memory: Memory) -> None:
        self.id = secrets.token_hex(8)
        self.taken: asyncio.Queue[Order] = asyncio.Queue()
        self._memory = memory
        memory.processes[self.id] = self

    async def register(self, info: RunInfo, terms: Terms) -> Registered:
        """Opens the run's log, unless the terms do not allow that."""
        memory, flow = self._memory, info.chatflowid
        known = memory.keys.get((flow, terms.key)) if terms.key else None
        if known and known in memory.rows:
            row = memory.rows[known]
            if answered(Keyed(known, row.terms.digest, row.info.code), terms.digest):
                return Registered(known)
        others = [] if terms.session == "parallel" else self._session(flow, info.sessionId)
        check_session(terms, others)
        await memory.log.open(info)
        memory.rows[info.id] = _Row(info, terms, self.id)
        if terms.key:
            memory.keys[flow, terms.key] = info.id
        return Registered(None, tuple(others))

    def _session(self, flow: str, session: str) -> list[str]:
        infos = [row.info for row in self._memory.rows.values() if row.info.endedDate is None]
        return [info.id for info in infos if (info.chatflowid, info.sessionId) == (flow, session)]

    async def of_chat(self, flow: str, chat: str) -> Sequence[RunInfo]:
        """The runs of a chat, newest first."""
        infos = [row.info for row in self._memory.rows.values()]
        own = [info for info in infos if (info.chatflowid, info.chatId) == (flow, chat)]
        newest = sorted(own, key=lambda info: info.createdDate, reverse=True)
        return [info for place, info in enumerate(newest) if place < _SHOWN or info.endedDate is None]

    async def order(self, run: str, wish: Wish) -> None:
        """Hands the order to the owner's process."""
        row = self._memory.rows.get(run)
        if row and row.info.endedDate is None and (wish == "cancel" or row.terms.watched):
            owner = self._memory.processes.get(row.owner)
            if owner:
                owner.taken.put_nowait(Order(run, wish))

    async def orders(self) -> AsyncGenerator[Order]:
        """The orders for this process."""
        while True:
            yield await self.taken.get()

    async def watch(self) -> None:
        """Waits until cancelled: other processes' writes are visible at once."""
        await asyncio.Event().wait()

    def gone(self, owner: str) -> bool:
        """True for a process that has ended."""
        return owner not in self._memory.processes

    async def take_over(self) -> list[Job]:
        """Makes runs with a job of processes that are gone this one's."""
        taken: list[Job] = []
        for row in list(self._memory.rows.values()):
            lost = row.info.endedDate is None and row.owner not in self._memory.processes
            if lost and row.terms.job and row.survives:
                self._memory.rows[row.info.id] = row._replace(owner=self.id, crashes=row.crashes + 1)
                taken.append(resumed(row.terms.job))
        return taken

    async def close_abandoned(self) -> int:
        """Ends the other runs of processes that are gone; says how many."""
        open_runs = [row for row in self._memory.rows.values() if row.info.endedDate is None]
        lost = [row.info.id for row in open_runs if row.owner not in self._memory.processes and not row.survives]
        for run in lost:
            self._memory.log.append(run, [interrupted(), End()])
        return len(lost)

    async def forget_old(self, retention: Retention) -> None:
        """Forgets the runs that the log has forgotten."""
        self._memory.rows = {run: row for run, row in self._memory.rows.items() if run in self._memory.log.tails}

    def close(self) -> None:
        """Says that this process is gone."""
        self._memory.processes.pop(self.id, None)
