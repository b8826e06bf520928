"""Upserts into a flow's vector stores, and the history of those before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from headrace.engine.ports import Upserted
from headrace.errors import Interrupted, InvalidRequest
from headrace.schema import UpsertRequest
from headrace.server.auth import check_flow_key, local, needs
from headrace.server.bodies import decoded
from headrace.server.docs import UpsertOperation
from headrace.server.forms import is_form, read_form
from headrace.server.leaving import while_there
from headrace.server.limits import caller_of
from headrace.server.predictions import FlowId, flow_at
from headrace.store.upserts import UpsertRow

_OWN_FIELDS = ("stopNodeId", "overrideConfig", "chatId", "chatflowId", "question")


@post(
    "/api/v1/vector/upsert/{flow_id:str}",
    guards=[needs("chatflows:update")],
    status_code=200,
    summary="Upsert a flow's documents",
    description="JSON, or a multipart form whose `files` go to the flow's loaders. Closing the connection stops it.",
    operation_class=UpsertOperation,
    responses={200: ResponseSpec(Upserted, description="What was added, updated, skipped, deleted, and what failed")},
    tags=["retrieval"],
)
async def upsert(request: Request[Any, Any, Any], flow_id: FlowId) -> Upserted:
    """Brings a vector store of the flow to what its documents say."""
    here = local(request)
    flow = await flow_at(flow_id, here)
    request.app.state.limiter.check(flow_id, caller_of(request, request.app.state.trusted), flow.api.rateLimit)
    await check_flow_key(request, flow)
    if here.stopping:
        raise Interrupted("the server is stopping; upsert again in a moment")
    asked, files = await _asked(request)
    return await while_there(request, here.upserts.run(flow, asked, files))


async def _asked(request: Request[Any, Any, Any]) -> tuple[UpsertRequest, Mapping[str, Sequence[str]]]:
    if is_form(request):
        form = await read_form(request)
        named = {name: form.fields.get(name) or None for name in ("stopNodeId", "chatId")}
        return UpsertRequest(overrideConfig=form.overrides(_OWN_FIELDS), **named), form.inputs
    body = await request.body()
    value = decoded(body) if body.strip() else {}
    try:
        return msgspec.convert(value, UpsertRequest), {}
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the body is not an upsert: {error}") from None


@get(
    "/api/v1/upsert-history/{flow_id:str}",
    guards=[needs("chatflows:view")],
    summary="A flow's upserts",
    tags=["retrieval"],
)
async def upsert_history(
    request: Request[Any, Any, Any],
    flow_id: FlowId,
    order: Literal["ASC", "DESC"] = "ASC",
    start: Annotated[str | None, QueryParameter(name="startDate")] = None,
    end: Annotated[str | None, QueryParameter(name="endDate")] = None,
) -> list[UpsertRow]:
    """What each upsert did, with the first hundred passages that it added."""
    here = local(request)
    await here.store.flow(flow_id)
    return await here.upserts.history.of_flow(flow_id, start, end, newest_first=order == "DESC")


class HistoryIds(msgspec.Struct):
    """Entries of the history, by id."""

    ids: list[str]


@patch(
    "/api/v1/upsert-history",
    guards=[needs("chatflows:update")],
    summary="Delete entries of the upsert history",
    tags=["retrieval"],
)
async def delete_history(request: Request[Any, Any, Any], data: HistoryIds) -> dict[str, int]:
    """Deletes entries; what was upserted stays."""
    return {"affected": await local(request).upserts.history.delete(data.ids)}


ROUTES = (upsert, upsert_history, delete_history)
