"""A run's events as frames of another protocol, and the numbering that lets a reader come back at any frame.

An encoder is made anew for every reader and takes the run's events from the first one on, so that the frames depend on
the log alone. Each frame is numbered by its event and its place among that event's frames; a reader who comes back
gets what follows the frame that it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec
from litestar import Request

from headrace.errors import InvalidRequest
from headrace.runtime.flows import Flow
from headrace.runtime.log import Entry
from headrace.runtime.runs import Runs
from headrace.schema import PredictionRequest, RunInfo
from headrace.server.auth import check_caller, local
from headrace.server.frames import EventStream
from headrace.server.predictions import start_run
from headrace.server.rate_limits import caller_of

json = msgspec.json.Encoder().encode
DONE = b"data: [DONE]\n\n"
"""The frame after the last one, where a protocol has such a thing."""
Place = tuple[int, int]
"""A frame's place: the number of its event, and its index among the frames of that event."""
BEGINNING: Place = (0, 0)


class Encoder(Protocol):
    """Makes frames of a run's events. The same events always give the same frames."""

    def frames(self, entry: Entry) -> Iterable[bytes]:
        """The frames of the next event, each with its empty line at the end and without an id."""
        ...


def frame(data: Any) -> bytes:
    """A frame whose data is JSON."""
    return b"data: %b\n\n" % json(data)


def unix_time(date: str) -> int:
    """The seconds since 1970 of a stored date."""
    return int(datetime.fromisoformat(date).timestamp())


def json_text(value: Any) -> str:
    """A value as JSON text, such as the answer of a flow that answers with one."""
    return json(value).decode()


def place(request: Request[Any, Any, Any], run: str) -> Place:
    """The last frame that the reader has, from `Last-Event-ID`. Raises InvalidRequest."""
    last = request.headers.get("last-event-id", "")
    if not last:
        return BEGINNING
    found, _, numbers = last.rpartition(":")
    seq, _, index = numbers.partition(".")
    if found != run or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in (seq, index)):
        raise InvalidRequest(f"the Last-Event-ID must be {run}:<number>.<number>, as the stream gave it")
    return int(seq), int(index)


async def begin(
    request: Request[Any, Any, Any],
    flow: Flow,
    asked: PredictionRequest,
    *,
    streaming: bool,
    key: str | None = None,
    admitted: bool = False,
    chat_type: str = "EXTERNAL",
) -> RunInfo:
    """Starts the run that answers, under the flow's limit, sites and key, as a prediction does.

    `key` stands for the Idempotency-Key where the request has none. With `admitted` the caller was let in already.
    """
    state = request.app.state
    state.limiter.check(flow.row.id, caller_of(request, state.trusted), flow.api.rateLimit)
    if not admitted:
        await check_caller(request, flow)
    run = await start_run(request, flow, asked, streaming=streaming, key=key, chat_type=chat_type)
    return await local(request).runs.info(run)


class ProtocolStream(EventStream):
    """Sends the frames that an encoder makes of a run, after the one that the reader has."""

    def __init__(
        self,
        runs: Runs,
        run: str,
        encoder: Encoder,
        after: Place,
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        wait: float = 0.0,
    ) -> None:
        super().__init__(runs, run, 0, "flowise", wait=wait)
        self.headers_beside = headers
        self._id, self._encoder, self._place = run, encoder, after

    @property
    def position(self) -> str:
        """The frame that the reader has."""
        return "{}.{}".format(*self._place)

    def encoded(self, entries: Sequence[Entry]) -> bytes:
        """The frames of the next events that the reader has not; without events a sign of life."""
        if not entries:
            return super().encoded(entries)
        sent: list[bytes] = []
        for entry in self.visible(entries):
            for index, data in enumerate(self._encoder.frames(entry)):
                if (entry.seq, index) > self._place:
                    sent += (b"id: %b:%d.%d\n" % (self._id.encode(), entry.seq, index), data)
        return b"".join(sent)
