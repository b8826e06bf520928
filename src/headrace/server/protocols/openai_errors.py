"""Errors in the shape that OpenAI's clients read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from headrace.errors import HeadraceError
from headrace.server.auth import OF_A_FLOW
from headrace.server.error_responses import HANDLERS

_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES: Final = {"flow_not_found": "model_not_found", "rate_limited": "rate_limit_exceeded"}


class OpenAIError(msgspec.Struct):
    """An error as OpenAI's clients read it."""

    message: str
    type: str
    code: str | None
    param: None = None


class OpenAIRefusal(msgspec.Struct):
    """The body of an answer to a request of OpenAI's clients that failed."""

    error: OpenAIError


OPENAI: Final = {**OF_A_FLOW, "refusal": OpenAIRefusal}
"""Options of the endpoints that OpenAI's clients call."""


def error_body(status: int, message: str, code: str | None) -> dict[str, Any]:
    """The JSON of an error with this HTTP status."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": _CODES.get(code or "", code)}}


def _in_their_shape(kind: type[Exception]) -> Callable[[Request[Any, Any, Any], Any], Response[Any]]:
    def handle(request: Request[Any, Any, Any], error: Any) -> Response[Any]:
        reply = HANDLERS[kind](request, error)
        content: Mapping[str, Any] = reply.content
        reply.content = error_body(int(reply.status_code or 500), content["message"], content["code"])
        return reply

    return handle


OPENAI_HANDLERS: Final[Any] = {kind: _in_their_shape(kind) for kind in (HeadraceError, HTTPException, Exception)}
"""Handlers of exceptions for the routes that OpenAI's clients call."""
