"""Error replies over HTTP: Flowise's shape, plus a stable code."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, InternalServerException, ValidationException
from litestar.routes import HTTPRoute
from litestar.types import Send

from headrace.engine.complaints import worded
from headrace.errors import HeadraceError, InvalidRequest
from headrace.schema import RunFacts, RunInfo
from headrace.settings import Settings


class Refusal(msgspec.Struct, kw_only=True):
    """The body of every answer to a request that failed."""

    statusCode: int
    success: Literal[False] = False
    message: str
    code: str
    """A word for the kind of error, which stays the same."""
    stack: dict[str, Any] = {}
    """Always empty; clients expect it."""


_logger = logging.getLogger("headrace.server")


def error_reply(error: HeadraceError) -> Response[Any]:
    """The answer to a request that failed."""
    return _reply(error.status, str(error), error.code, error.retry_after)


async def refuse(error: HeadraceError, send: Send) -> None:
    """The same, outside of the framework."""
    headers = [(b"content-type", b"application/json")]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(math.ceil(error.retry_after)).encode()))
    body = msgspec.json.encode(_body(error.status, str(error), error.code))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _reply(status: int, message: str, code: str, retry_after: float | None = None) -> Response[Any]:
    headers = {"Retry-After": str(math.ceil(retry_after))} if retry_after is not None else {}
    return Response(_body(status, message, code), status_code=status, headers=headers, media_type=MediaType.JSON)


def _body(status: int, message: str, code: str) -> dict[str, Any]:
    return msgspec.structs.asdict(Refusal(statusCode=status, message=message, code=code))


def on_headrace_error(_: Request[Any, Any, Any], error: HeadraceError) -> Response[Any]:
    """For everything in our own tree."""
    return error_reply(error)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """For what the framework refuses: unreadable bodies, unknown paths, wrong methods."""
    if isinstance(error, ValidationException):
        return error_reply(InvalidRequest(_invalid(error)))
    if isinstance(error, InternalServerException) and "disconnected" in error.detail:  # it may still be listening
        return error_reply(InvalidRequest("the body is shorter than its Content-Length says: send all of it"))
    codes = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
    messages = {
        404: f"there is nothing at {request.url.path}; the API is described at /docs",
        413: f"the body is larger than the {_most(request)} MiB that this server takes (HEADRACE_MAX_BODY_MB)",
    }
    status = error.status_code
    if status == 405:
        methods = ", ".join(_methods(request))
        reply = _reply(status, f"{request.method} is not for {request.url.path}: use {methods}", codes[405])
        reply.headers["Allow"] = methods
        return reply
    return _reply(status, messages.get(status, error.detail), codes.get(status, "invalid_request"))


async def on_options(request: Request[Any, Any, Any]) -> Response[None] | None:
    """Tells the methods of a path. The framework would name those of one of the path's endpoints."""
    if request.method != "OPTIONS":
        return None
    return Response(None, status_code=204, headers={"Allow": ", ".join(_methods(request))})


def _methods(request: Request[Any, Any, Any]) -> list[str]:
    """The methods that a path answers."""
    parts = [part for part in request.url.path.split("/") if part]
    routes = [route for route in request.app.routes if isinstance(route, HTTPRoute) and _leads_to(route, parts)]
    exact = max(map(_literal, routes), default=())  # a segment's own name comes before a placeholder
    found = {method for route in routes if _literal(route) == exact for method in route.methods}
    return sorted({*found, "HEAD"} if "GET" in found else found)


def _leads_to(route: HTTPRoute, parts: Sequence[str]) -> bool:
    places = route.path_components
    return len(places) == len(parts) and all(
        not isinstance(place, str) or place == part for place, part in zip(places, parts, strict=True)
    )


def _literal(route: HTTPRoute) -> tuple[bool, ...]:
    return tuple(isinstance(place, str) for place in route.path_components)


def _most(request: Request[Any, Any, Any]) -> int:
    settings: Settings = request.app.state.settings
    return settings.max_body_mb


def _invalid(error: ValidationException) -> str:
    places = [item for item in error.extra or [] if isinstance(item, dict)]
    return "; ".join(f"{_complaint(item)} at {_place(item)}" for item in places) or error.detail


def _complaint(item: dict[str, Any]) -> str:
    message = item.get("message")
    return "expected a JSON body" if message == "'data'" else worded(str(message))  # Litestar's word for no body at all


def _place(item: dict[str, Any]) -> str:
    key = str(item.get("key") or "")
    if item.get("source") != "body":
        return key or "the request"
    return "$" if key in ("", "data") else f"$.{key}"


def on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """For our own mistakes: the log gets the traceback, the caller does not."""
    if isinstance(error, OverflowError):  # the database has numbers of 64 bits
        return error_reply(InvalidRequest("a number of the request is too large: use one of up to 64 bits"))
    if isinstance(error, UnicodeEncodeError):
        return error_reply(InvalidRequest("a text of the request has half a surrogate pair, which is no character"))
    _logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _reply(500, "the server made a mistake; its log says more", "internal")


class ShownRun(RunFacts, kw_only=True):
    """A run as the API shows it, with the paths of the run itself, of its events, and to cancel it."""

    links: dict[str, str]


def run_json(info: RunInfo) -> ShownRun:
    """A run as the API shows it."""
    return ShownRun(**msgspec.structs.asdict(info), links=info.links)


def accepted(info: RunInfo) -> Response[ShownRun]:
    """The answer to a prediction in the background."""
    return Response(run_json(info), status_code=202, headers={"X-Run-Id": info.id, "Location": info.links["self"]})


HANDLERS = {HeadraceError: on_headrace_error, HTTPException: on_http_exception, Exception: on_exception}
