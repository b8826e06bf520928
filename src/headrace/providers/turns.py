"""A fair share of the event loop: answers that come in take a part of each of its turns, the rest is for all else."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

_READS: Final = 64  # about 3 ms


class Turns:
    """Counts reads in each turn of the event loop. Those beyond the share are done in later turns, in their order.

    What comes on a connection meanwhile joins what waits there, so many small reads become fewer and cheaper ones.
    """

    def __init__(self, reads: int = _READS) -> None:
        self._share = self._left = reads
        self._counting = False
        self._late: deque[Callable[[], None]] = deque()

    def take(self) -> bool:
        """Counts a read; False when this turn has had its share, or others have waited for longer."""
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._next)
        if self._left <= 0 or self._late:
            return False
        self._left -= 1
        return True

    def wait(self, work: Callable[[], None]) -> None:
        """Does the work of a read in a later turn."""
        self._late.append(work)

    def _next(self) -> None:
        """Another turn has begun: the reads that wait come first."""
        self._left, self._counting = self._share, False
        if self._late:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._next)
        while self._late and self._left > 0:
            self._left -= 1
            self._late.popleft()()
