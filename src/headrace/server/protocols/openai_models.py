"""Flows as the models that OpenAI's clients choose from."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get
from litestar.params import Parameter

from headrace.errors import FlowNotFound, InvalidRequest, Unauthorized
from headrace.runtime.flows import Flow
from headrace.schema import FlowRow, is_id
from headrace.server.auth import ANY_KEY, caller_key, check_flow_key, local, may
from headrace.server.predictions import flow_at
from headrace.server.protocols.openai_errors import OPENAI, OPENAI_HANDLERS
from headrace.server.protocols.stream import unix_time

_OWNER = "headrace"


async def model_flow(request: Request[Any, Any, Any], name: str) -> Flow:
    """The flow that a caller means by a model's name: its id, or its name for those who may list it.

    Raises FlowNotFound, InvalidRequest when several flows have the name, Unauthorized.
    """
    here = local(request)
    if is_id(name):
        flow = await flow_at(name, here)
    else:
        named = [row for row in await _listed(request) if row.name == name]
        if len(named) > 1:
            raise InvalidRequest(f"{len(named)} flows are called {name!r}: use the id of one as the model")
        if not named:
            raise FlowNotFound(f"there is no model {name!r}: use the id of a flow; GET /v1/models lists them for keys")
        flow = await flow_at(named[0].id, here)
    await check_flow_key(request, flow)
    return flow


async def _listed(request: Request[Any, Any, Any]) -> list[FlowRow]:
    """The flows that the caller's key may see: all, or those that are bound to it."""
    store = local(request).storage
    await store.refresh()
    key = await caller_key(request)
    if key is None:
        return []
    rows = await store.flows()
    return rows if await may(request, "chatflows:view") else [row for row in rows if row.apikeyid == key.id]


def _model_json(row: FlowRow) -> dict[str, Any]:
    created = unix_time(row.createdDate) if row.createdDate else 0
    return {"id": row.id, "object": "model", "created": created, "owned_by": _OWNER, "name": row.name}


@get(
    "/v1/models",
    summary="The flows as models",
    description="With a key that may view flows all of them, with another key those that are bound to it.",
    exception_handlers=OPENAI_HANDLERS,
    opt={**OPENAI, **ANY_KEY},
    tags=["openai"],
)
async def models(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The flows that the caller's key may see. Raises Unauthorized without a key."""
    if await caller_key(request) is None:
        raise Unauthorized("send an API key of this server as `Authorization: Bearer <key>` to see its flows")
    return {"object": "list", "data": [_model_json(row) for row in await _listed(request)]}


@get(
    "/v1/models/{model:str}",
    summary="One flow as a model",
    exception_handlers=OPENAI_HANDLERS,
    opt=OPENAI,
    tags=["openai"],
)
async def model(
    request: Request[Any, Any, Any], model: Annotated[str, Parameter(description="The flow's id or name.")]
) -> dict[str, Any]:
    """The flow with this id or name."""
    return _model_json((await model_flow(request, model)).row)


ROUTES = (models, model)
