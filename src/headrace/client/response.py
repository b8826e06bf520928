"""Reads an answer without I/O: bytes become events, and a broken connection is resumed.

Written once for `Headrace` and `AsyncHeadrace`, which only move the bytes.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self, TypeVar

import httpx2
import msgspec

from headrace.client.requests import Ask, Server
from headrace.errors import (
    ConnectionFailed,
    HeadraceError,
    Interrupted,
    NotFound,
    RateLimited,
    StorageError,
)
from headrace.events import (
    Action,
    AgentFlowExecutedData,
    AgentReasoning,
    Artifacts,
    End,
    Error,
    Event,
    FileAnnotations,
    Fold,
    Metadata,
    Prediction,
    RunMetadata,
    SourceDocuments,
    Token,
    Unknown,
    UsedTools,
    decode,
)
from headrace.sse import Decoder

_LONGEST_PAUSE: Final = 60.0  # seconds; who is asked to wait longer gets the error instead
_PASSING: Final = (ConnectionFailed, RateLimited, StorageError, Interrupted)  # the same request may well succeed later

T = TypeVar("T")


class Chunk(str):
    """One event of a stream as text: its JSON exactly as it came over the wire.

    `event` is its kind, `data` its payload as plain JSON values, `id` its SSE id (`<run>:<seq>`, or "" when the server
    sends none).
    """

    event: str
    data: Any
    id: str

    def __new__(cls, text: str, id: str = "") -> Self:  # noqa: A002  # the SSE field's name
        """Raises msgspec.DecodeError when `text` is not a JSON object with a text `event`."""
        chunk = super().__new__(cls, text)
        fields = msgspec.json.decode(text, type=dict[str, Any])
        if not isinstance(kind := fields.get("event"), str):
            raise msgspec.ValidationError("an event needs a text `event`")
        chunk.event, chunk.data, chunk.id = kind, fields.get("data"), id
        return chunk


def _reason(error: Exception) -> str:
    if isinstance(error, httpx2.ReadTimeout):
        return "nothing came in time (see `read_timeout` and `answer_timeout`)"
    return str(error) or type(error).__name__


class ResponseReader:
    """One answer as it comes in, over as many connections as it takes. No I/O.

    Bytes to chunks, chunks to events, what is known so far, and what to send when a connection breaks.
    """

    def __init__(self, server: Server, ask: Ask) -> None:
        self.run_id: str | None = None
        self.last_event_id: str | None = None
        self.arrived = False
        """True once the answer is complete."""
        self._server, self._ask = server, ask
        self._seq = -1  # number of the last event
        self._known = -1  # the same, of the last one that came over an earlier connection
        self._failures = 0  # requests in a row that brought no event
        self._taken = False  # the server has answered with a success
        self._final = False  # another request would bring the same failure
        self._retry = 0.0  # seconds, from the stream's `retry:`
        self._streams = False
        self._body: list[bytes] = []
        self._decoder = Decoder()
        self._fold = Fold()
        self._error: Error | None = None
        self._complete = False  # the end has been read
        self._advance(ask.start)

    def request(self) -> httpx2.Request:
        """The next request. Once the run is known it asks for the rest of its stream and never repeats the question."""
        if self.run_id is None or self._ask.kind != "stream":
            return self._ask.request
        return self._server.events(self.run_id, self.last_event_id or f"{self.run_id}:0").request

    def begin(self, response: httpx2.Response) -> None:
        """Takes status and headers. Raises the error that an error status stands for; its body must have been read."""
        run = response.headers.get("x-run-id")
        if not response.is_success:
            # The run itself failed, and its key leads back to it.
            self._final = run is not None and "idempotency-key" in response.request.headers
            raise self._refused(response)
        self._taken = True
        self.run_id = self.run_id or run
        self._streams = response.headers.get("content-type", "").startswith("text/event-stream")
        self._body, self._decoder, self._known = [], Decoder(), self._seq

    def _refused(self, response: httpx2.Response) -> HeadraceError:
        error = self._server.refused(response)
        if not (self._ask.kind == "stream" and self._taken and isinstance(error, NotFound)):
            return error
        lost = f"the stream broke off, and run {self.run_id!r} cannot be resumed: {error}"
        return self._server.lost(lost, retryable=False)

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """The chunks that `data` completes, without those that came before; none when the answer is no stream.

        A chunk counts as received when it is taken, so what a failure leaves over comes with the next connection.
        """
        if not self._streams:
            self._body.append(data)
            return
        for event in self._decoder.feed(data):
            if (text := event.data.strip()) and (chunk := self._chunk(text, event.id)):
                yield chunk
        self._advance(self._decoder.last_id)  # a frame may have an id and no data

    def _chunk(self, text: str, event_id: str) -> Chunk | None:
        try:
            chunk = Chunk(text, event_id)
        except msgspec.DecodeError as error:
            raise self._server.lost(f"a frame of the stream is not an event: {error}", retryable=False) from error
        if not self._advance(event_id):
            return None
        self._failures = 0
        self.arrived = self.arrived or chunk.event == "end"
        return chunk

    def _advance(self, event_id: str) -> bool:
        """Takes an event's id. Whether the event is a new one, which without numbers every event is."""
        run, _, number = event_id.rpartition(":")
        if run and number.isdecimal():
            if int(number) <= self._known:
                return False
            self._seq = int(number)
        if event_id:
            self.last_event_id = event_id
            self.run_id = self.run_id or run or None
        return True

    def finish(self) -> None:
        """Takes notice that no byte will follow. Raises ConnectionFailed when the stream is not whole."""
        if self._streams and not self.arrived:
            raise self._server.lost("the stream broke off before its `end` event")
        self.arrived = True

    def pause(self, error: HeadraceError) -> float:
        """Seconds to wait before the next request. Raises the error when there shall be none."""
        self._failures += 1
        limits, least = self._server.limits, error.retry_after or 0.0
        if not self._may_pass(error) or least > _LONGEST_PAUSE:
            raise error
        if self._failures >= limits.attempts:
            error.add_note(f"attempts: {self._failures}; last event: {self.last_event_id}")
            raise error
        if self._decoder.retry is not None:
            self._retry = min(self._decoder.retry / 1000, _LONGEST_PAUSE)
        backoff = min(limits.backoff * 2.0 ** min(self._failures - 1, 16), _LONGEST_PAUSE)
        return max(least, self._retry) + backoff * random.uniform(0.5, 1.0)  # noqa: S311 jitter

    def _may_pass(self, error: HeadraceError) -> bool:
        # A server that names no run, as Flowise, does not know the key either: asking it again would pay twice.
        repeatable = not (self._ask.pays and self._taken and self.run_id is None)
        return repeatable and not self._final and error.retryable and isinstance(error, _PASSING)

    def event(self, chunk: Chunk) -> Event:
        """The chunk's event, which now counts as read."""
        event = decode(str(chunk))  # msgspec takes no subclass of str
        self._fold.add((event,))
        self._complete = self._complete or chunk.event == "end"
        if isinstance(event, Error):
            self._error = event
        elif isinstance(event, Unknown) and event.event == "error":  # its payload is no text
            self._error = Error(msgspec.json.encode(event.data).decode())
        return event

    def events(self) -> list[Event]:
        """The events that an answer which came as JSON amounts to; none when it was a stream."""
        return list(_unfold(self.decoded(Prediction))) if self.is_json else []

    def result(self) -> Prediction:
        """The whole answer.

        Raises the error of the stream's `error` event, and ConnectionFailed when the stream was not read to its end.
        """
        if self._error:
            raise self._server.failed(self._error)
        if self.is_json:
            return self.decoded(Prediction)
        if not self._complete:
            raise self._server.lost("the answer was left before its end")
        return self._fold.prediction

    @property
    def is_json(self) -> bool:
        """True when the answer has come and is not a stream."""
        return self.arrived and not self._streams

    @property
    def body(self) -> bytes:
        """The body of an answer that is not a stream."""
        return b"".join(self._body)

    def decoded(self, kind: type[T]) -> T:
        """The JSON answer. Raises ConnectionFailed when it is something else."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except msgspec.DecodeError as error:
            reason = f"the answer is neither a stream nor the expected JSON: {error}"
            raise self._server.lost(reason, retryable=False) from error

    @contextmanager
    def failures(self) -> Generator[None]:
        """Turns httpx2's errors into ConnectionFailed. After the `end` event they do not matter."""
        try:
            yield
        # Python's resolver has UnicodeError for a host with a label of more than 63 characters.
        except (httpx2.HTTPError, httpx2.StreamError, UnicodeError) as error:
            if self.arrived:
                return
            self._final = self._ask.kind == "answer" and isinstance(error, httpx2.ReadTimeout)
            raise self._server.lost(_reason(error)) from error


_PARTS: Final = (SourceDocuments, UsedTools, Artifacts, FileAnnotations, AgentReasoning, AgentFlowExecutedData, Action)


def _unfold(answer: Prediction) -> Iterator[Event]:
    """The shortest stream that folds to the answer."""
    text = answer.text if answer.json is None else msgspec.json.encode(answer.json).decode()
    if text:
        yield Token(text)
    for part in _PARTS:
        if (value := getattr(answer, str(part.__struct_config__.tag))) is not None:
            yield part(value)
    about = {name: getattr(answer, name) for name in RunMetadata.__struct_fields__ if name != "text"}
    yield Metadata(RunMetadata(**about))
    yield End()
