"""Scripts of flows, each in a child process of its own while it runs: a few processes are kept warm."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from headrace.engine.ports import Fetch
from headrace.sandbox.child import Child, Limits, Outcome


class Sandbox:
    """Runs JavaScript. Belongs to one event loop."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._places = asyncio.Semaphore(self.limits.children)
        self._idle: dict[Child, asyncio.TimerHandle] = {}
        self._children: set[Child] = set()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that are there, busy or idle."""
        return [child.pid for child in self._children]

    async def run(self, code: str, values: Mapping[str, Any], fetch: Fetch | None = None) -> Outcome:
        """Runs the body of an async function, each of `values` under its name with a `$` in front.

        Raises ScriptError: for what the script throws, with its message and line, and for a limit that it met.
        Cancelling ends the script's process at once.
        """
        async with self._places:
            child = await self._child()
            try:
                return await child.run(code, values, fetch)
            finally:
                self._put_back(child)

    async def close(self) -> None:
        """Ends all processes."""
        for child in list(self._children):
            self._end(child)
        await asyncio.gather(*self._ending)

    async def _child(self) -> Child:
        while self._idle:
            child, timer = self._idle.popitem()
            timer.cancel()
            if not child.spent:
                return child
            self._end(child)
        child = await Child.start(self.limits)
        self._children.add(child)
        return child

    def _put_back(self, child: Child) -> None:
        if child.spent or child not in self._children:
            self._end(child)
        else:
            self._idle[child] = asyncio.get_running_loop().call_later(self.limits.idle, self._end, child)

    def _end(self, child: Child) -> None:
        """Kills a process; that it is gone is waited for beside, at the latest by `close`."""
        timer = self._idle.pop(child, None)
        if timer:
            timer.cancel()
        if child in self._children:
            self._children.remove(child)
            child.kill()
            task = asyncio.create_task(child.gone(), name="the end of a sandbox process")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
