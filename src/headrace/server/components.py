"""The node types and the kinds of credentials of this server, as builders of flows read them, and their pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Annotated, Any, Final

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.params import Parameter

from headrace.documents.context import upsert_context
from headrace.engine.annotations import Input
from headrace.engine.credentials import CredentialField, CredentialKind, kinds_of
from headrace.engine.description import Description, color_of, described
from headrace.errors import InvalidRequest, NotFound
from headrace.server.auth import local, may, needs
from headrace.server.choices import Asked, Choice, choices
from headrace.server.store_components import Setting, settings_of

_SEPARATOR: Final = re.compile(r"&amp;|[,&]")
_HEADERS: Final = {
    "Cache-Control": "max-age=300",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'",
}
_NODES: Final = needs("chatflows:view", "documentStores:view")
_CREDENTIALS: Final = needs("credentials:view", "chatflows:view")


class CredentialDescription(msgspec.Struct, frozen=True):
    """A kind of credential as builders read it."""

    name: str
    label: str
    inputs: list[Input]
    icon: str
    """The key of its picture: `GET /api/v1/components-credentials-icon/{name}` draws it."""
    version: float = 1


def _sorted(request: Request[Any, Any, Any]) -> list[Description]:
    found = [described(kind) for kind in local(request).catalog.values()]
    return sorted(found, key=lambda one: (one.category, one.label, one.name))


@get("/api/v1/nodes", guards=[_NODES], summary="List the node types", tags=["nodes"])
async def list_nodes(request: Request[Any, Any, Any]) -> list[Description]:
    """Every node type that runs here, with its inputs."""
    return _sorted(request)


@get("/api/v1/nodes/{name:str}", guards=[_NODES], summary="Read a node type", tags=["nodes"])
async def read_node(request: Request[Any, Any, Any], name: str) -> Description:
    """One node type."""
    return described(node_kind(request, name))


@get("/api/v1/nodes/category/{name:str}", guards=[_NODES], summary="List the node types of a category", tags=["nodes"])
async def nodes_of_category(request: Request[Any, Any, Any], name: str) -> list[Description]:
    """Those of a category such as `Chat Models`; none for a category that there is not."""
    return [one for one in _sorted(request) if one.category == name]


def node_kind(request: Request[Any, Any, Any], name: str) -> Any:
    """The node type. Raises NotFound."""
    kind = local(request).catalog.get(name)
    if kind is None:
        raise NotFound(f"there is no node type {name!r}: GET /api/v1/nodes lists those that there are")
    return kind


@get("/api/v1/node-icon/{name:str}", media_type="image/svg+xml", summary="A node type's picture", tags=["nodes"])
async def node_icon(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    """The letters of its label as SVG, on its own colour or its category's."""
    says = described(node_kind(request, name))
    return _picture(says.label, says.color or color_of(says.category))


@get(
    "/api/v1/components-credentials",
    guards=[_CREDENTIALS],
    summary="List the kinds of credentials",
    tags=["credentials"],
)
async def list_kinds(request: Request[Any, Any, Any]) -> list[CredentialDescription]:
    """Every kind that a node here can use."""
    kinds = kinds_of(local(request).catalog)
    return sorted((_description(kind) for kind in kinds.values()), key=lambda one: one.label.lower())


@get(
    "/api/v1/components-credentials/{names:str}",
    guards=[_CREDENTIALS],
    summary="Read kinds of credentials",
    tags=["credentials"],
)
async def read_kinds(
    request: Request[Any, Any, Any],
    names: Annotated[str, Parameter(description="One name, or several with commas between them.")],
) -> CredentialDescription | list[CredentialDescription]:
    """One kind; a list for several names."""
    kinds = kinds_of(local(request).catalog)
    found = [_description(_kind(kinds, name)) for name in _SEPARATOR.split(names)]
    return found if len(found) > 1 else found[0]


@get(
    "/api/v1/components-credentials-icon/{name:str}",
    media_type="image/svg+xml",
    summary="The picture of a kind of credential",
    tags=["credentials"],
)
async def credential_icon(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    """The letters of its label, as SVG."""
    kind = _kind(kinds_of(local(request).catalog), name)
    return _picture(kind.label, color_of(kind.name))


def _kind(kinds: Mapping[str, CredentialKind], name: str) -> CredentialKind:
    if name not in kinds:
        raise NotFound(
            f"there is no kind of credential {name!r}: GET /api/v1/components-credentials lists those that there are"
        )
    return kinds[name]


def _description(kind: CredentialKind) -> CredentialDescription:
    return CredentialDescription(kind.name, kind.label, list(_inputs(kind)), kind.name)


def _inputs(kind: CredentialKind) -> Iterator[Input]:
    for field in kind.fields or ():
        yield Input(
            name=field.name,
            label=field.label,
            type=field.type,
            description=_advice(field),
            optional=field.optional,
            default=field.default or None,
        )


def _advice(field: CredentialField) -> str:
    names = " or ".join(field.variables)
    return f"Where a flow names no credential, the server's {names} is used." if names else ""


def _picture(label: str, color: str) -> Response[bytes]:
    letters = escape("".join(word[0] for word in re.findall(r"\w+", label)[:2]).upper())
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 48" width="48" height="48">'
        f'<rect width="48" height="48" rx="12" fill="{color}"/>'
        '<text x="24" y="31" font-family="sans-serif" font-size="20" font-weight="600" text-anchor="middle" '
        f'fill="#fff">{letters}</text></svg>'
    )
    return Response(svg.encode(), media_type="image/svg+xml", headers=_HEADERS)


_CHANGES: Final = needs("chatflows:create", "chatflows:update")


@post(
    "/api/v1/node-load-method/{name:str}",
    guards=[_CHANGES],
    status_code=200,
    opt={"refuses": (422,)},
    summary="List the choices for a node's input",
    tags=["nodes"],
)
async def load_method(request: Request[Any, Any, Any], name: str, data: Asked) -> list[Choice]:
    """The list that the input's `loadMethod` names. An account is asked with the node's credential or the server's key,
    so it needs the right to change flows."""
    return await choices(local(request), node_kind(request, name), data)


class ConfiguredNode(msgspec.Struct):
    """A node as a builder sends it."""

    name: str
    id: str = ""


@post(
    "/api/v1/node-config",
    guards=[_NODES],
    status_code=200,
    opt={"refuses": (404,)},
    summary="List what a request may override of a node",
    tags=["nodes"],
)
async def node_config(request: Request[Any, Any, Any], data: ConfiguredNode) -> list[Setting]:
    """The node's inputs that take values."""
    return list(settings_of(node_kind(request, data.name), data.id or f"{data.name}_0"))


class CustomFunction(msgspec.Struct):
    """A script and its values, as an object or its JSON text."""

    javascriptFunction: str
    functionInputVariables: dict[str, Any] | str = ""


@post(
    "/api/v1/node-custom-function",
    guards=[_CHANGES],
    media_type=MediaType.JSON,
    status_code=200,
    opt={"refuses": (422,)},
    summary="Run a script",
    tags=["nodes"],
)
async def custom_function(request: Request[Any, Any, Any], data: CustomFunction) -> Response[Any]:
    """Runs the script in the sandbox, and answers with what it returns. Variables need the right to see them."""
    here, values = local(request), data.functionInputVariables
    if isinstance(values, str):
        values = _object(values)
    ctx = await upsert_context(here.storage, here.outside, "")
    if not await may(request, "variables:view"):
        ctx.variables = {}
    async with ctx.closing:
        value = await ctx.run_script(data.javascriptFunction, values)
    return Response(msgspec.json.encode(value), media_type=MediaType.JSON)  # a bare text would be sent as it is


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any]) if text.strip() else {}
    except msgspec.MsgspecError:
        raise InvalidRequest("expected a JSON object at $.functionInputVariables") from None


ROUTES = (
    load_method,
    node_config,
    custom_function,
    list_nodes,
    read_node,
    nodes_of_category,
    node_icon,
    list_kinds,
    read_kinds,
    credential_icon,
)
