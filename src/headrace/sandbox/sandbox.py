"""Scripts of flows, each in a child process of its own while it runs: a few processes are kept warm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.engine.ports import Fetch
from headrace.sandbox.child import Child, Outcome, ScriptLimits
from headrace.sandbox.pool import Pool


class Sandbox:
    """Runs JavaScript. Belongs to one event loop."""

    def __init__(self, limits: ScriptLimits | None = None) -> None:
        self.limits = limits or ScriptLimits()
        self._pool = Pool(lambda: Child.start(self.limits), self.limits.children, self.limits.idle)

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that are there, busy or idle."""
        return [child.pid for child in self._pool.processes]

    async def run(self, code: str, values: Mapping[str, Any], fetch: Fetch | None = None) -> Outcome:
        """Runs the body of an async function, each of `values` under its name with a `$` in front.

        Raises ScriptError: for what the script throws, with its message and line, and for a limit that it met.
        Cancelling ends the script's process at once.
        """
        async with self._pool.taken() as child:
            return await child.run(code, values, fetch)

    async def close(self) -> None:
        """Ends all processes."""
        await self._pool.close()
