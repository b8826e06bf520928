"""Upserts into a flow's vector stores, and the history of those before."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, patch, post
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter, QueryParameter

from headrace.engine.ports import Upserted
from headrace.errors import FlowNotFound, Interrupted, NotFound, Unauthorized
from headrace.runtime.flows import Flow
from headrace.schema import UpsertRequest
from headrace.server.auth import Guard, check_flow_key, check_origin, check_permission, local, needs
from headrace.server.bodies import converted, decoded
from headrace.server.disconnect import while_there
from headrace.server.docs import UpsertOperation
from headrace.server.files import check_size, upsert_files
from headrace.server.forms import is_form, read_form
from headrace.server.pagination import Deleted
from headrace.server.predictions import FlowId, flow_at
from headrace.server.rate_limits import caller_of
from headrace.storage.upserts import UpsertHistory, UpsertRow

_OWN_FIELDS = ("stopNodeId", "overrideConfig", "chatId", "chatflowId", "question")


class UnlessAVisitor(Guard):
    """Leaves to the endpoint who sends a form and no key: it takes files for the visitor's own chat."""

    open_too = True

    async def __call__(self, connection: Any, handler: BaseRouteHandler) -> None:
        """Called before the endpoint."""
        if not _is_visitor(connection):
            await super().__call__(connection, handler)


def _is_visitor(connection: Request[Any, Any, Any]) -> bool:
    return is_form(connection) and "authorization" not in connection.headers


@post(
    ["/api/v1/vector/upsert/{flow_id:str}", "/api/v1/vector/internal-upsert/{flow_id:str}"],
    guards=[UnlessAVisitor("chatflows:update")],
    status_code=200,
    opt={"refuses": (409, 422)},
    summary="Upsert a flow's documents",
    description="JSON, or a multipart form whose `files` go to the flow's loaders. Closing the connection stops it.",
    operation_class=UpsertOperation,
    responses={
        200: ResponseSpec(
            Upserted, generate_examples=False, description="What was added, updated, skipped, deleted, and what failed"
        )
    },
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
    if _is_visitor(request):
        return await while_there(request, await _of_a_visitor(request, flow))
    asked, files = await _asked(request)
    return await while_there(request, here.upserts.run(flow, asked, files))


async def _of_a_visitor(request: Request[Any, Any, Any], flow: Flow) -> Coroutine[Any, Any, Upserted]:
    """The chat widget's way to bring files to a chat, as open as a question that brings them.

    Raises Unauthorized, OriginRefused, BodyTooLarge.
    """
    check_origin(request.headers.get("origin"), flow.chatbot)
    form = await read_form(request)
    chat = form.fields.get("chatId")
    if not chat or not flow.file_inputs:
        raise Unauthorized("send an API key of this server as `Authorization: Bearer <key>`")
    for file in form.files:
        check_size(file.name, file.mime, len(file.content), request.app.state.settings)
    return upsert_files(local(request), flow, form.files, chat)


async def _asked(request: Request[Any, Any, Any]) -> tuple[UpsertRequest, Mapping[str, Sequence[str]]]:
    if is_form(request):
        form = await read_form(request)
        named = {name: form.fields.get(name) or None for name in ("stopNodeId", "chatId")}
        overrides = await asyncio.to_thread(form.overrides, _OWN_FIELDS)
        return UpsertRequest(overrideConfig=overrides, **named), form.inputs
    body = await request.body()
    value = decoded(body) if body.strip() else {}
    return converted(value, UpsertRequest), {}


@get(
    "/api/v1/upsert-history/{flow_id:str}",
    guards=[needs("chatflows:view")],
    summary="The upserts of a flow or a document store",
    tags=["retrieval"],
)
async def upsert_history(
    request: Request[Any, Any, Any],
    flow_id: Annotated[str, Parameter(description="The id of a flow or of a document store.")],
    order: Literal["ASC", "DESC"] = "ASC",
    start: Annotated[str | None, QueryParameter(name="startDate")] = None,
    end: Annotated[str | None, QueryParameter(name="endDate")] = None,
) -> list[UpsertRow]:
    """The results of upserts; for flows with the first passages added. Stores need `documentStores:view` too."""
    history = await _history_of(flow_id, request)
    return await history.of(flow_id, start, end, newest_first=order == "DESC")


async def _history_of(owner: str, request: Request[Any, Any, Any]) -> UpsertHistory:
    """Raises FlowNotFound when there is neither a flow nor a document store."""
    here = local(request)
    try:
        await here.storage.flow(owner)
    except FlowNotFound as error:
        try:
            await here.stores.get(owner)
        except NotFound:
            raise error from None
        await check_permission(request, "documentStores:view")
        return here.documents.history
    return here.upserts.history


class HistoryIds(msgspec.Struct):
    """Entries of the history, by id."""

    ids: list[str]


@patch(
    "/api/v1/upsert-history",
    guards=[needs("chatflows:update")],
    summary="Delete entries of the upsert history",
    tags=["retrieval"],
)
async def delete_history(request: Request[Any, Any, Any], data: HistoryIds) -> Deleted:
    """Deletes entries; what was upserted stays."""
    here = local(request)
    return Deleted(sum([await history.delete(data.ids) for history in (here.upserts.history, here.documents.history)]))


ROUTES = (upsert, upsert_history, delete_history)
