"""What the client does without I/O: requests out, and answers in, from bytes to events and errors.

Written once for `Headrace` and `AsyncHeadrace`, which only move the bytes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self
from urllib.parse import quote

import httpx2
import msgspec

from headrace.errors import ConnectionFailed, HeadraceError, InvalidRequest, by_code
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
from headrace.schema import PredictionRequest
from headrace.sse import Decoder

DEFAULT_URL: Final = "http://localhost:3000"


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


class _Refusal(msgspec.Struct):
    """Body of an HTTP error: Headrace's and Flowise's, or that of Flowise's key check, which has only `error`."""

    message: str | None = None
    error: str | None = None
    code: str | None = None


def _refusal(response: httpx2.Response) -> _Refusal:
    try:
        refusal = msgspec.json.decode(response.content, type=_Refusal)
    except msgspec.DecodeError:
        html = "html" in response.headers.get("content-type", "")  # a proxy's page says nothing worth quoting
        refusal = _Refusal(None if html else response.text.strip()[:500])
    return refusal


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After` is a number of seconds or a date."""
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, httpx2.ReadTimeout):
        return "nothing came in time (see `read_timeout` and `answer_timeout`)"
    return str(error) or type(error).__name__


class Server:
    """Where the server is: requests to it and errors from it. No I/O."""

    def __init__(
        self, base_url: str | None, api_key: str | None, timeout: float, read: float | None, answer: float | None
    ):
        self._url = (base_url or os.environ.get("HEADRACE_URL") or DEFAULT_URL).strip().rstrip("/")
        self._key = (os.environ.get("HEADRACE_API_KEY", "") if api_key is None else api_key).strip()
        self._streaming = httpx2.Timeout(timeout, read=read).as_dict()
        self._waiting = httpx2.Timeout(timeout, read=answer).as_dict()
        self.name = self._url.rpartition("@")[2]
        """The address without a user's name and password, for messages."""
        if not self._url.startswith(("http://", "https://")):
            raise InvalidRequest(f"base_url {self.name!r} must start with http:// or https://")
        if not (self._key.isascii() and self._key.isprintable()):
            raise InvalidRequest("the API key has characters that no HTTP header can carry; was it pasted whole?")

    def predict(self, flow: str, body: PredictionRequest) -> httpx2.Request:
        """The request of a prediction; the body says whether it shall stream."""
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            return httpx2.Request(
                "POST",
                f"{self._url}/api/v1/prediction/{quote(flow, safe='')}",
                headers=headers,
                content=msgspec.json.encode(body),
                extensions={"timeout": self._streaming if body.wants_stream else self._waiting},
            )
        except httpx2.InvalidURL as error:
            raise InvalidRequest(f"base_url {self.name!r} is no address: {error}") from error

    def refused(self, response: httpx2.Response) -> HeadraceError:
        """The error that an answer with an error status stands for."""
        refusal, status = _refusal(response), response.status_code
        message = refusal.message or refusal.error or f"{self.name} answered with HTTP status {status}"
        error = self._error(by_code(refusal.code, status), message, refusal.code)
        error.retry_after = _seconds(response.headers.get("retry-after"))
        return error

    def failed(self, event: Error) -> HeadraceError:
        """The error that an `error` event stands for."""
        error = self._error(by_code(event.code), event.data, event.code)
        error.retryable = error.retryable if event.retryable is None else event.retryable
        return error

    def lost(self, reason: str) -> ConnectionFailed:
        """The error for an answer that did not come, or not whole."""
        return ConnectionFailed(self._safe(f"{self.name}: {reason}"))

    def _error(self, kind: type[HeadraceError], message: str, code: str | None) -> HeadraceError:
        error = kind(self._safe(message))
        error.code = code or error.code
        return error

    def _safe(self, message: str) -> str:
        return message.replace(self._key, "***") if self._key else message


class Answer:
    """One answer as it comes in: bytes to chunks, chunks to events, and what is known so far. No I/O."""

    def __init__(self, server: Server) -> None:
        self.run_id: str | None = None
        self.last_event_id: str | None = None
        self.whole: dict[str, Any] | None = None
        """The answer's JSON, once it came, when it is no stream."""
        self._server = server
        self._streams = False
        self._body: list[bytes] = []
        self._decoder = Decoder()
        self._fold = Fold()
        self._error: Error | None = None
        self._arrived = False  # the end has come in
        self._complete = False  # and has been read

    def begin(self, response: httpx2.Response) -> None:
        """Takes status and headers. Raises the error that an error status stands for; its body must have been read."""
        if not response.is_success:
            raise self._server.refused(response)
        self.run_id = response.headers.get("x-run-id")
        self._streams = response.headers.get("content-type", "").startswith("text/event-stream")

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that `data` completes; none when the answer is no stream."""
        if not self._streams:
            self._body.append(data)
            return []
        try:
            chunks = [Chunk(text, event.id) for event in self._decoder.feed(data) if (text := event.data.strip())]
        except msgspec.DecodeError as error:
            raise self._server.lost(f"a frame of the stream is not an event: {error}") from error
        if not chunks:
            self._reached(self._decoder.last_id)  # the first frame has an id and no data
        self._arrived = self._arrived or any(chunk.event == "end" for chunk in chunks)
        return chunks

    def finish(self) -> None:
        """Takes notice that no byte will follow. Raises ConnectionFailed when the answer is not whole."""
        if self._streams:
            if not self._arrived:
                raise self._server.lost("the stream broke off before its `end` event")
            return
        try:
            self.whole = msgspec.json.decode(b"".join(self._body), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise self._server.lost(f"the answer is neither a stream nor a JSON object: {error}") from error

    def event(self, chunk: Chunk) -> Event:
        """The chunk's event, which now counts as read."""
        event = decode(str(chunk))  # msgspec takes no subclass of str
        self._reached(chunk.id)
        self._fold.add((event,))
        self._complete = self._complete or chunk.event == "end"
        if isinstance(event, Error):
            self._error = event
        elif isinstance(event, Unknown) and event.event == "error":  # its payload is no text
            self._error = Error(msgspec.json.encode(event.data).decode())
        return event

    def events(self) -> list[Event]:
        """The events that an answer which came as JSON amounts to; none when it was a stream."""
        return [] if self.whole is None else list(_unfold(self.result()))

    def result(self) -> Prediction:
        """The whole answer.

        Raises the error of the stream's `error` event, and ConnectionFailed when the stream was not read to its end.
        """
        if self._error:
            raise self._server.failed(self._error)
        if self.whole is not None:
            return self._convert(self.whole)
        if not self._complete:
            raise self._server.lost("the answer was left before its end")
        return self._fold.prediction

    def _convert(self, whole: dict[str, Any]) -> Prediction:
        try:
            return msgspec.convert(whole, Prediction)
        except msgspec.ValidationError as error:
            raise self._server.lost(f"the JSON answer is not a prediction: {error}") from error

    @contextmanager
    def failures(self) -> Generator[None]:
        """Turns httpx2's errors into ConnectionFailed. After the `end` event they do not matter."""
        try:
            yield
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            if not self._arrived:
                raise self._server.lost(_reason(error)) from error

    def _reached(self, event_id: str) -> None:
        if event_id:
            self.last_event_id = event_id
            self.run_id = self.run_id or event_id.rpartition(":")[0] or None


_PARTS: Final = (SourceDocuments, UsedTools, Artifacts, FileAnnotations, AgentReasoning, AgentFlowExecutedData, Action)


def _unfold(answer: Prediction) -> Iterator[Event]:
    """The shortest stream that folds to the answer."""
    text = answer.text if answer.json is None else msgspec.json.encode(answer.json).decode()
    if text:
        yield Token(text)
    for part in _PARTS:
        if (value := getattr(answer, str(part.__struct_config__.tag))) is not None:
            yield part(value)
    yield Metadata(RunMetadata(**{name: getattr(answer, name) for name in RunMetadata.__struct_fields__}))
    yield End()
