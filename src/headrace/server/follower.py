"""A reader of a run that goes on in this process, on a connection that is written to at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import Final

from headrace.runtime.log import Behind, Entry, Tail
from headrace.server.backpressure import PIECE, Sending
from headrace.server.exchange import Exchange

_AT_ONCE: Final = 200  # events; a connection that takes them all is asked again


class Follower:
    """Writes each event as it comes into the log, called by the log: a cursor, and no task that has to wake.

    While the connection takes nothing more it only lags behind. It stops at the run's end, and where something must be
    waited for.
    """

    def __init__(
        self,
        tail: Tail,
        after: int,
        exchange: Exchange,
        sending: Sending,
        encoded: Callable[[Sequence[Entry]], bytes],
    ) -> None:
        """`after` is the number of the last event that the reader has; `encoded` makes the bytes of the next ones."""
        self._tail, self._exchange, self._sending, self._encoded = tail, exchange, sending, encoded
        self.after = after
        self.left = b""
        """Bytes of the last events that are too many to be written at once."""
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def done(self) -> bool:
        """True when the reader has had the run's last event."""
        return self._tail.closed and self.after == self._tail.info.lastSeq

    async def follow(self) -> None:
        """Follows until it stops. Raises what `encoded` does."""
        self._tail.watchers.append(self._look)
        self._exchange.on_room = self._go_on
        try:
            if self._tail.info.lastSeq > self.after:
                self._look()
            await self._stopped
        finally:
            self._tail.watchers.remove(self._look)
            self._exchange.on_room = None

    def _go_on(self) -> None:
        """The connection takes something again."""
        self._sending.since = inf
        if self._tail.info.lastSeq > self.after:
            self._look()
        elif self._tail.closed and not self._stopped.done():
            self._stopped.set_result(None)

    def _look(self) -> None:
        if self._stopped.done():
            return
        try:
            self._write()
        except Behind:
            self._stopped.set_result(None)
        except Exception as error:  # it belongs to the reader's task, not to the run
            self._stopped.set_exception(error)

    def _write(self) -> None:
        """Writes what is new, as far as the connection takes it."""
        sending, exchange = self._sending, self._exchange
        if exchange.paused:
            return
        new = self._tail.since(self.after)
        while True:
            new = new[:_AT_ONCE]
            data = self._encoded([Entry(seq, data) for seq, data in enumerate(new, self.after + 1)])
            self.after += len(new)
            if len(data) > PIECE:
                self.left = data
                self._stopped.set_result(None)
                return
            sending.sent += len(data)
            exchange.write(data)
            if exchange.paused:
                sending.since = monotonic()
                return
            sending.since = inf
            if not (new := self._tail.since(self.after)):
                break
        if self._tail.closed:
            self._stopped.set_result(None)
