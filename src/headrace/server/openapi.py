"""The OpenAPI document: what the framework reads off the endpoints, completed with what it does not see there.

These are the refusals, the keys that are asked for, and the media types of answers that are not JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute

from headrace.server.auth import ANY_KEY, OF_A_FLOW, guards_of
from headrace.server.error_responses import Refusal

_KEY: Final = "apiKey"
COMPONENTS: Final = Components(
    security_schemes={
        _KEY: SecurityScheme(
            type="http", scheme="bearer", description="An API key of this server: `Authorization: Bearer <key>`."
        )
    }
)
_SCHEMAS: Final = "#/components/schemas/{name}"
_MEANINGS: Final = {
    400: "The request cannot be read; the message names the place.",
    401: "There is no API key, or a wrong one.",
    403: "The key lacks the permission, or the web site is not allowed.",
    404: "There is no such thing.",
    405: "The webhook is called with another method.",
    408: "The body came too slowly.",
    409: "The current state does not allow this.",
    412: "The body is missing, or of a kind that cannot be read.",
    413: "The body is over the limit.",
    415: "The webhook takes no body of this media type.",
    422: "The flow, or what it is made of, must be changed.",
    429: "There are too many requests.",
}
_FRAME: Final = {
    "type": "object",
    "description": "A frame of the stream. `data` is the JSON text of an event, `id` the place to resume after.",
    "properties": {"id": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
_FAILED: Final = "The server, its database or a provider failed; the code says which."


class Document(JsonRenderPlugin):
    """Sends the document as JSON."""

    def render(self, request: Any, openapi_schema: dict[str, Any]) -> bytes:
        """The document."""
        return msgspec.json.encode(completed(openapi_schema, request.app))


def completed(document: dict[str, Any], app: Litestar) -> dict[str, Any]:
    """The framework's document with the refusals and the keys of every endpoint."""
    paths = {path: dict(methods) for path, methods in document["paths"].items()}
    for path, method, handler in _handlers(app):
        if operation := paths.get(path, {}).get(method):
            paths[path][method] = _operation(operation, handler)
    (_, shared) = msgspec.json.schema_components(
        list({_shape(handler) for _, _, handler in _handlers(app)}), ref_template=_SCHEMAS
    )
    parts = {**document["components"], "schemas": {**document["components"]["schemas"], **shared}}
    return _unambiguous({**document, "paths": paths, "components": parts})


def _handlers(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Every endpoint with its path and its method."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                yield route.path_format, method.lower(), handler


def _shape(handler: HTTPRouteHandler) -> type[msgspec.Struct]:
    """The record that an endpoint refuses with: `refusal` in its options, where another protocol has its own."""
    return handler.opt.get("refusal", Refusal)


def _operation(operation: dict[str, Any], handler: HTTPRouteHandler) -> dict[str, Any]:
    guards, of_a_flow = guards_of(handler), OF_A_FLOW.items() <= handler.opt.items()
    open_too = of_a_flow or any(guard.open_too for guard in guards)
    any_key = ANY_KEY.items() <= handler.opt.items()
    keys = [*([{}] if open_too and not any_key else []), *([{_KEY: []}] if guards or of_a_flow or any_key else [])]
    wants = {"x-permissions": [list(guard.permissions) for guard in guards]} if guards else {}
    return {
        **operation,
        **wants,
        "security": keys,
        "parameters": [_parameter(one) for one in operation.get("parameters", ())],
        "responses": {**_answers(operation, handler), **dict(_refusals(operation, handler))},
    }


def _answers(operation: dict[str, Any], handler: HTTPRouteHandler) -> dict[str, Any]:
    """The responses of requests that succeed. Among an endpoint's options, `sends` names its media types where they
    are not JSON, and `streams` says that it sends events too."""
    found = {status: dict(one) for status, one in operation["responses"].items() if status.startswith("2")}
    if sends := handler.opt.get("sends"):
        found["200"]["content"] = {kind: {"schema": {"type": "string"}} for kind in sends}
    if streams := handler.opt.get("streams"):
        own = found["200"]["content"] if streams == "too" else {}
        found["200"]["content"] = {**own, "text/event-stream": {"schema": _FRAME}}
    return found


def _refusals(operation: dict[str, Any], handler: HTTPRouteHandler) -> Iterator[tuple[str, Any]]:
    for status in sorted(_statuses(operation, handler)):
        yield str(status), _refusal(_MEANINGS[status], handler, plain=status in handler.opt.get("plain", ()))
    yield "5XX", _refusal(_FAILED, handler)


def _statuses(operation: dict[str, Any], handler: HTTPRouteHandler) -> set[int]:
    """The statuses that an endpoint refuses with; `refuses` in its options names those that only it knows."""
    found = {400, 429, *handler.opt.get("refuses", ())}
    of_a_flow = OF_A_FLOW.items() <= handler.opt.items()
    if guards_of(handler) or of_a_flow:
        found |= {401, 403}
    if of_a_flow:
        found.add(422)  # for a flow that cannot be read
    if any(one["in"] == "path" for one in operation.get("parameters", ())):
        found.add(404)
    if "requestBody" in operation:
        found |= {408, 413}
    return found


def _refusal(meaning: str, handler: HTTPRouteHandler, *, plain: bool = False) -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}} if plain else {}
    schema = {"$ref": _SCHEMAS.format(name=_shape(handler).__name__)}
    return {"description": meaning, "content": {"application/json": {"schema": schema}, **text}}


def _parameter(one: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter without null, which no path and no query can hold."""
    schema = one["schema"]
    kinds = [kind for kind in schema.get("oneOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        schema = {**{name: value for name, value in schema.items() if name != "oneOf"}, **kinds[0]}
    return {**one, "schema": schema}


def _unambiguous(value: Any) -> Any:
    """The document with `anyOf` for `oneOf`: 5 is an integer and a number too."""
    if isinstance(value, dict):
        return {"anyOf" if name == "oneOf" else name: _unambiguous(item) for name, item in value.items()}
    return [_unambiguous(item) for item in value] if isinstance(value, list) else value
