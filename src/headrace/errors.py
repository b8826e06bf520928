"""Everything that can go wrong, as one tree. Each class has a stable code, an HTTP status and says whether to retry.

HeadraceError
├── RequestError                 the caller must change something
│   ├── InvalidRequest           400  invalid_request
│   ├── InvalidForm              422  invalid_form          it names each field that is missing or wrong
│   ├── Unauthorized             401  unauthorized
│   ├── Forbidden                403  forbidden
│   ├── OriginRefused            403  origin_refused
│   ├── NotFound                 404  not_found
│   │   ├── FlowNotFound         404  flow_not_found
│   │   └── RunNotFound          404  run_not_found
│   ├── Conflict                 409  conflict
│   │   ├── IdempotencyConflict  409  idempotency_conflict
│   │   └── SessionBusy          409  session_busy          retryable
│   ├── BodyTimeout              408  body_timeout          retryable: the body came too slowly
│   ├── MethodRefused            405  method_not_allowed
│   ├── MediaTypeRefused         415  media_type_refused
│   ├── BodyMissing              412  body_missing
│   ├── BodyTooLarge             413  body_too_large
│   └── RateLimited              429  rate_limited          retryable
├── FlowError                    422  flow_error            the flow must be changed
│   ├── UnknownNodes             422  unknown_nodes
│   ├── ScriptError              422  script_error          a script of the flow threw, or met a limit
│   ├── FetchRefused             422  fetch_refused         a flow asked for an address that it may not reach
│   └── FetchFailed              422  fetch_failed          retryable: no answer came, or not a whole one
├── ProviderError                502  provider_error        the model's provider refused or failed
│   ├── ProviderUnauthorized     502  provider_unauthorized
│   ├── ProviderNotFound         502  provider_not_found
│   ├── ProviderRefused          502  provider_refused      it does not accept this request
│   │   ├── ProviderContextTooLong 502  provider_context_too_long
│   │   └── ProviderFiltered     502  provider_filtered     its content filter stopped question or answer
│   ├── ProviderRateLimited      503  provider_rate_limited retryable
│   ├── ProviderUnavailable      503  provider_unavailable  retryable
│   ├── ProviderTimeout          504  provider_timeout      retryable
│   ├── ProviderCut              502  provider_cut          retryable: the connection ended inside the answer
│   └── ProviderMalformed        502  provider_malformed    it sent what is not its protocol
├── StorageError                 503  storage_error         retryable: the database did not take or give it
├── Interrupted                  503  interrupted           retryable: the server stopped during the run
├── Internal                     500  internal              a fault of Headrace itself
└── ConnectionFailed             (client) retryable: no answer, or the answer broke off
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class HeadraceError(Exception):
    """Root of the tree. `str(error)` is safe to show to any caller: no secret, no traceback."""

    status: int = 500
    """The class's own HTTP status, or the one that came; 0 when the server gave no answer."""
    code: str = "internal"
    """The class's own, or what came over the wire: a newer server may send a code that has no class here."""
    retryable: bool = False
    retry_after: float | None = None
    """Seconds to wait before another attempt, when known."""
    node: str = ""
    """The id of the node that failed, when known."""


class RequestError(HeadraceError):
    """The caller must change something."""

    status, code = 400, "invalid_request"


class InvalidRequest(RequestError):
    """The request cannot be read; the message names the place."""


class InvalidForm(RequestError):
    """The form that a flow begins with lacks fields, or has wrong ones; each is named."""

    status, code = 422, "invalid_form"


class Unauthorized(RequestError):
    """No key, or a wrong one."""

    status, code = 401, "unauthorized"


class Forbidden(RequestError):
    """The key does not allow this."""

    status, code = 403, "forbidden"


class OriginRefused(Forbidden):
    """The flow does not allow this web site."""

    code = "origin_refused"


class NotFound(RequestError):
    """There is no such thing."""

    status, code = 404, "not_found"


class FlowNotFound(NotFound):
    """There is no such flow."""

    code = "flow_not_found"


class RunNotFound(NotFound):
    """There is no such run, or it has expired."""

    code = "run_not_found"


class Conflict(RequestError):
    """The current state does not allow this."""

    status, code = 409, "conflict"


class IdempotencyConflict(Conflict):
    """The Idempotency-Key was used with another body."""

    code = "idempotency_conflict"


class SessionBusy(Conflict):
    """The session has a run already, and the flow allows one at a time."""

    code, retryable = "session_busy", True


class MethodRefused(RequestError):
    """The webhook is called with another method."""

    status, code = 405, "method_not_allowed"


class MediaTypeRefused(RequestError):
    """The body has a media type that the webhook does not take."""

    status, code = 415, "media_type_refused"


class BodyMissing(RequestError):
    """The request has no body that can be read."""

    status, code = 412, "body_missing"


class BodyTimeout(RequestError):
    """The body came too slowly, or not at all."""

    status, code, retryable = 408, "body_timeout", True


class BodyTooLarge(RequestError):
    """The body is over the limit."""

    status, code = 413, "body_too_large"


class RateLimited(RequestError):
    """Too many requests; wait `retry_after` seconds."""

    status, code, retryable = 429, "rate_limited", True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class FlowError(HeadraceError):
    """The flow cannot run as it is; the message names node and field."""

    status, code = 422, "flow_error"


class UnknownNodes(FlowError):
    """The flow needs node types that this server does not have."""

    code = "unknown_nodes"


class ScriptError(FlowError):
    """A script of the flow threw, or met a limit; the message is the script's own."""

    code = "script_error"

    def __init__(self, message: str, line: int | None = None, console: Sequence[str] = ()) -> None:
        super().__init__(message if line is None else f"{message} (line {line} of the script)")
        self.message, self.line, self.console = message, line, console


class FetchRefused(FlowError):
    """A flow or its script asked for an address that it may not reach."""

    code = "fetch_refused"


class FetchFailed(FlowError):
    """An address that a flow or its script asked for gave no answer, or not a whole one."""

    code, retryable = "fetch_failed", True


class ProviderError(HeadraceError):
    """The model's provider refused or failed."""

    status, code = 502, "provider_error"


class ProviderUnauthorized(ProviderError):
    """The provider does not accept the key (401, 403)."""

    code = "provider_unauthorized"


class ProviderNotFound(ProviderError):
    """The provider does not have the model or the address (404)."""

    code = "provider_not_found"


class ProviderRefused(ProviderError):
    """The provider does not accept the request (other 4xx)."""

    code = "provider_refused"


class ProviderContextTooLong(ProviderRefused):
    """The conversation is longer than the model can read: shorten the prompt, the memory or the sources."""

    code = "provider_context_too_long"


class ProviderFiltered(ProviderRefused):
    """The provider's content filter stopped the question or the answer."""

    code = "provider_filtered"


class ProviderRateLimited(ProviderError):
    """The provider asks to slow down (429)."""

    status, code, retryable = 503, "provider_rate_limited", True


class ProviderUnavailable(ProviderError):
    """The provider cannot be reached or is overloaded (5xx, connection refused)."""

    status, code, retryable = 503, "provider_unavailable", True


class ProviderTimeout(ProviderError):
    """The provider took too long."""

    status, code, retryable = 504, "provider_timeout", True


class ProviderCut(ProviderError):
    """The connection ended inside the answer."""

    code, retryable = "provider_cut", True


class ProviderMalformed(ProviderError):
    """The provider sent what is not its protocol."""

    code = "provider_malformed"


class StorageError(HeadraceError):
    """The database did not take or give something: locked, full or read-only."""

    status, code, retryable = 503, "storage_error", True


class Interrupted(HeadraceError):
    """The server stopped during the run."""

    status, code, retryable = 503, "interrupted", True


class Internal(HeadraceError):
    """A fault of Headrace itself; the server's log has the details."""


class ConnectionFailed(HeadraceError):
    """Client side: the server gave no answer, or the answer broke off."""

    status, code, retryable = 0, "connection_failed", True


def _tree(root: type[HeadraceError]) -> Iterator[type[HeadraceError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def by_code(code: str | None, status: int = 500) -> type[HeadraceError]:
    """The class for a code from the wire; the class of the status when there is no code or an unknown one."""
    # The two roots lend their codes to Internal and InvalidRequest, which are the ones to raise.
    kinds = [kind for kind in _tree(HeadraceError) if kind not in (HeadraceError, RequestError)]
    for kind in kinds:
        if kind.code == code:
            return kind
    if code is None and status in (502, 503, 504):
        return ConnectionFailed  # a proxy answered in the server's place
    for kind in sorted(kinds, key=lambda one: len(one.__mro__)):  # what is nearer to the root is more general
        if kind.status == status and kind.__base__ is not ProviderError:
            return kind
    return RequestError if 400 <= status < 500 else HeadraceError
