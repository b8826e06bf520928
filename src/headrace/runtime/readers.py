"""Counts the readers of each run, for runs that stop without readers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Readers:
    """Counts readers of watched runs; calls `left` when the last one has been gone for as long as the run allows."""

    def __init__(self, left: Callable[[str], None]) -> None:
        self._left = left
        self._patience: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def watch(self, run: str, seconds: float) -> None:
        """Watches a run from before its first reader comes, until it is forgotten."""
        self._patience[run], self._counts[run] = seconds, 0

    def come(self, run: str) -> None:
        """A reader has come."""
        if run in self._patience:
            self._counts[run] += 1
            if timer := self._timers.pop(run, None):
                timer.cancel()

    def go(self, run: str) -> None:
        """A reader has left."""
        if run not in self._patience:
            return
        self._counts[run] -= 1
        if self._counts[run] <= 0:
            loop = asyncio.get_running_loop()
            self._timers[run] = loop.call_later(self._patience[run], self._left, run)

    def forget(self, run: str) -> None:
        """The run has ended."""
        self._patience.pop(run, None)
        self._counts.pop(run, None)
        if timer := self._timers.pop(run, None):
            timer.cancel()
