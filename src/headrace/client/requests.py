"""The client's requests, and the errors that come back in place of an answer. No I/O."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Literal, NamedTuple, TypedDict
from urllib.parse import quote
from uuid import uuid4

import httpx2
import msgspec

from headrace.errors import ConnectionFailed, HeadraceError, InvalidRequest, by_code
from headrace.events import Error
from headrace.schema import ContinueFor, FileUpload, HistoryMessage, HumanInput, PredictionRequest, Rating

Kind = Literal["stream", "answer", "call"]


class Options(TypedDict, total=False):
    """Options of a question.

    - `chat_id`: the thread; the server makes one when absent.
    - `session_id`: the memory to use, when it is not the thread's; wins over `override_config["sessionId"]`.
    - `override_config`: parameters of the flow's nodes, as far as the flow lets callers set them.
    - `history`: earlier turns that the server has not stored itself.
    - `uploads`: files.
    - `form`: for an agent flow that begins with a form, its values by name; the question is "" then.
    - `human_input`: the answer to an agent flow that has stopped to ask a person; the question is "" then.
    - `on_disconnect`: what becomes of the run when nobody reads it any more; the flow decides when absent.
    - `idempotency_key`: the same key and question join the run that there is; a new key for each call when absent.
    """

    chat_id: str | None
    session_id: str | None
    override_config: dict[str, Any] | None
    history: Sequence[HistoryMessage] | None
    uploads: Sequence[FileUpload] | None
    form: dict[str, Any] | None
    human_input: HumanInput | None
    on_disconnect: Literal["continue", "cancel"] | ContinueFor | None
    idempotency_key: str | None


def _body(question: str, kind: Kind, options: Options) -> PredictionRequest:
    config = options.get("override_config")
    if session := options.get("session_id"):
        config = {**(config or {}), "sessionId": session}
    form, human_input = options.get("form"), options.get("human_input")
    return PredictionRequest(
        question=None if (form or human_input) and not question else question,
        streaming=True if kind == "stream" else None,
        chatId=options.get("chat_id"),
        overrideConfig=config,
        history=list(options.get("history") or []) or None,
        uploads=list(options.get("uploads") or []) or None,
        form=form,
        humanInput=human_input,
        background=True if kind == "call" else None,
        onDisconnect=options.get("on_disconnect"),
    )


class _Refusal(msgspec.Struct):
    """Body of an HTTP error: Headrace's and Flowise's, or that of Flowise's key check, which has only `error`."""

    message: str | None = None
    error: str | None = None
    code: str | None = None


def _refusal(response: httpx2.Response) -> _Refusal:
    try:
        return msgspec.json.decode(response.content, type=_Refusal)
    except msgspec.DecodeError:
        html = "html" in response.headers.get("content-type", "")  # a proxy's page says nothing worth quoting
        return _Refusal(None if html else response.text.strip()[:500])


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


class ClientLimits(NamedTuple):
    """Timeouts in seconds and the number of attempts: the clients' arguments of the same names."""

    timeout: float
    read_timeout: float | None
    answer_timeout: float | None
    attempts: int
    backoff: float


class Home:
    """A client's defaults for address and environment. A client under another name changes these two."""

    default_url: ClassVar[str] = "http://localhost:3000"
    variables: ClassVar[str] = "HEADRACE"
    """The prefix of the environment variables with the server's address and key."""


class Ask(NamedTuple):
    """A request, and how its answer is read.

    A "stream" goes on with the run's events when it breaks off; an "answer" takes as long as its run, so its silence is
    no reason to ask again; a "call" is over at once. `start` is the id of the event that the answer follows.
    """

    request: httpx2.Request
    kind: Kind
    start: str = ""

    @property
    def pays(self) -> bool:
        """True for a request that starts a run unless the server knows its idempotency key."""
        return "idempotency-key" in self.request.headers


class Server:
    """A server's address: requests to it and errors from it. No I/O."""

    def __init__(self, base_url: str | None, api_key: str | None, limits: ClientLimits, home: type[Home] = Home):
        self._url = (base_url or os.environ.get(f"{home.variables}_URL") or home.default_url).strip().rstrip("/")
        self._key = (os.environ.get(f"{home.variables}_API_KEY", "") if api_key is None else api_key).strip()
        self.limits = limits
        self.name = self._url.rpartition("@")[2]
        """The address without a user's name and password, for messages."""
        if not self._url.startswith(("http://", "https://")):
            raise InvalidRequest(f"base_url {self.name!r} must start with http:// or https://")
        if not _fits_a_header(self._key):
            raise InvalidRequest("the API key has characters that no HTTP header can carry; was it pasted whole?")

    def predict(self, flow: str, body: PredictionRequest, key: str | None = None) -> Ask:
        """A prediction; the body says how it is answered. It always has a key, so that it may be sent again."""
        kind = "stream" if body.wants_stream else "call" if body.background else "answer"
        headers = {"Content-Type": "application/json", "Idempotency-Key": key or str(uuid4())}
        return self._ask(kind, "POST", f"prediction/{_quoted(flow)}", headers, content=msgspec.json.encode(body))

    def question(self, flow: str, question: str, kind: Kind, options: Options) -> Ask:
        """A prediction in the words of the typed methods. As a "call" it runs in the background."""
        return self.predict(flow, _body(question, kind, options), options.get("idempotency_key"))

    def events(self, run: str, after: str) -> Ask:
        """The events of a run that come after the one with the id `after`."""
        ask = self._ask("stream", "GET", f"runs/{_quoted(run)}/events", {"Last-Event-ID": after})
        return ask._replace(start=after)

    def run(self, run: str) -> Ask:
        """Asks for a run's state."""
        return self._ask("call", "GET", f"runs/{_quoted(run)}")

    def runs(self, flow: str, chat: str) -> Ask:
        """Asks for the state of a chat's runs."""
        return self._ask("call", "GET", "runs", params={"flowId": flow, "chatId": chat})

    def cancel(self, run: str | None) -> Ask:
        """The request that ends a run, over or not. Raises InvalidRequest without a run."""
        if run is None:
            raise InvalidRequest("there is no run to cancel: the stream has not begun, or the server names no run")
        return self._ask("call", "POST", f"runs/{_quoted(run)}/cancel")

    def flows(self) -> Ask:
        """All flows."""
        return self._ask("call", "GET", "chatflows")

    def chat_config(self, flow: str) -> Ask:
        """The request for a flow's chat configuration."""
        return self._ask("call", "GET", f"public-chatbotConfig/{_quoted(flow)}")

    def attach(self, flow: str, chat: str, files: Sequence[tuple[str, bytes, str]]) -> Ask:
        """The texts of files, each given as name, content and media type."""
        return self._ask(
            "call", "POST", f"attachments/{_quoted(flow)}/{_quoted(chat)}", files=[("files", file) for file in files]
        )

    def rate(self, flow: str, message: str, rating: Rating, remark: str | None) -> Ask:
        """A rating of an answer."""
        body = {"messageId": message, "rating": rating, "content": remark}
        return self._ask("call", "POST", f"feedback/{_quoted(flow)}", json=body)

    def look(self) -> Ask:
        """The request for the look of the server's pages."""
        return self._ask("call", "GET", "brand")

    def logo(self) -> Ask:
        """The picture that goes with the name."""
        return self._ask("call", "GET", "brand/logo")

    def _ask(self, kind: Kind, method: str, path: str, headers: dict[str, str] | None = None, **rest: Any) -> Ask:
        headers = {"Accept": "text/event-stream, application/json", **(headers or {})}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        for name, value in headers.items():
            if not _fits_a_header(value):
                raise InvalidRequest(f"{name} {value!r} has characters that no HTTP header can carry")
        timeout = httpx2.Timeout(self.limits.timeout, read=self._silence(kind)).as_dict()
        try:
            url = httpx2.URL(f"{self._url}/api/v1/{path}")
        except httpx2.InvalidURL as error:
            raise InvalidRequest(f"base_url {self.name!r} is no address: {error}") from error
        return Ask(httpx2.Request(method, url, headers=headers, extensions={"timeout": timeout}, **rest), kind)

    def _silence(self, kind: Kind) -> float | None:
        match kind:
            case "stream":
                return self.limits.read_timeout
            case "answer":
                return self.limits.answer_timeout
            case "call":
                return self.limits.timeout

    def refused(self, response: httpx2.Response) -> HeadraceError:
        """The error that an answer with an error status stands for."""
        refusal, status = _refusal(response), response.status_code
        message = refusal.message or refusal.error or f"{self.name} answered with HTTP status {status}"
        error = self._error(by_code(refusal.code, status), message, refusal.code)
        error.status = status
        error.retry_after = _seconds(response.headers.get("retry-after"))
        return error

    def failed(self, event: Error) -> HeadraceError:
        """The error that an `error` event stands for."""
        error = self._error(by_code(event.code), event.data, event.code)
        error.retryable = error.retryable if event.retryable is None else event.retryable
        error.retry_after = event.retryAfter
        return error

    def lost(self, reason: str, *, retryable: bool = True) -> ConnectionFailed:
        """The error for an answer that did not come, not whole, or not such that it can be read."""
        error = ConnectionFailed(self._safe(f"{self.name}: {reason}"))
        error.retryable = retryable
        return error

    def _error(self, kind: type[HeadraceError], message: str, code: str | None) -> HeadraceError:
        error = kind(self._safe(message))
        error.code = code or error.code
        return error

    def _safe(self, message: str) -> str:
        return message.replace(self._key, "***") if self._key else message


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _fits_a_header(value: str) -> bool:
    return value.isascii() and value.isprintable()
