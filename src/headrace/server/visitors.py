"""Feedback on answers, and leads. Callers who may use a flow may leave them; reading them needs a key."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import uuid4

import msgspec
from litestar import Request, get, post, put
from litestar.params import Parameter, QueryParameter
from msgspec import UNSET, Meta, UnsetType

from headrace.errors import InvalidRequest
from headrace.schema import Feedback, Lead, Rating
from headrace.server.auth import OF_A_FLOW, check_caller, local, needs
from headrace.server.pagination import Page, paged
from headrace.server.predictions import FlowId, flow_at
from headrace.server.rate_limits import caller_of

Remark = Annotated[str, Meta(max_length=10_000)]
Entry = Annotated[str, Meta(max_length=1000)]


class FeedbackInput(msgspec.Struct):
    """A rating of an answer; `chatId` and `chatflowid` may say again what the message's are."""

    messageId: str
    rating: Rating
    content: Remark | None = None
    chatId: str | None = None
    chatflowid: str | None = None


class FeedbackChange(msgspec.Struct):
    """Changes to a feedback."""

    rating: Rating | UnsetType = UNSET
    content: Remark | UnsetType | None = UNSET


class LeadInput(msgspec.Struct):
    """A lead: the contact details of a visitor of a flow's chat."""

    chatflowid: str
    chatId: Entry | None = None
    name: Entry | None = None
    email: Entry | None = None
    phone: Entry | None = None


@post("/api/v1/feedback/{item:str}", status_code=200, opt=OF_A_FLOW, summary="Rate an answer", tags=["visitors"])
async def rate(request: Request[Any, Any, Any], item: FlowId, data: FeedbackInput) -> Feedback:
    """Stores the rating of one of the flow's answers; another time changes it."""
    if data.chatflowid and data.chatflowid != item:
        raise InvalidRequest(f"the body names another flow than the path: {data.chatflowid!r} at $.chatflowid")
    return await _rated(request, item, data)


@post(
    "/api/v1/feedback",
    status_code=200,
    opt={**OF_A_FLOW, "refuses": (404,)},
    summary="Rate an answer of the flow that the body names",
    tags=["visitors"],
)
async def rate_anywhere(request: Request[Any, Any, Any], data: FeedbackInput) -> Feedback:
    """The same with the flow in the body."""
    if not data.chatflowid:
        raise InvalidRequest("say at $.chatflowid which flow the answer is of")
    return await _rated(request, data.chatflowid, data)


async def _rated(request: Request[Any, Any, Any], flow_id: str, data: FeedbackInput) -> Feedback:
    here = local(request)
    flow = await flow_at(flow_id, here)
    await check_caller(request, flow)
    return await here.ratings.put(flow.row.id, data.messageId, data.rating, data.content, data.chatId)


@put("/api/v1/feedback/{item:str}", opt=OF_A_FLOW, summary="Change a rating", tags=["visitors"])
async def change_rating(
    request: Request[Any, Any, Any],
    item: Annotated[str, Parameter(description="The feedback's id, which only who left it was told.")],
    data: FeedbackChange,
) -> dict[str, str]:
    """Changes the rating or says why."""
    here = local(request)
    found = await here.ratings.one(item)
    await check_caller(request, await flow_at(found.chatflowid, here))
    changes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    if changes:
        await here.ratings.change(item, changes)
    return {"status": "OK"}


@get("/api/v1/feedback/{item:str}", guards=[needs("chatflows:view")], summary="Read ratings", tags=["visitors"])
async def read_ratings(
    request: Request[Any, Any, Any],
    item: FlowId,
    order: Literal["ASC", "DESC"] = "ASC",
    chat_id: Annotated[str | None, QueryParameter(name="chatId")] = None,
    start: Annotated[str | None, QueryParameter(name="startDate")] = None,
    end: Annotated[str | None, QueryParameter(name="endDate")] = None,
) -> list[Feedback]:
    """The ratings of a flow's answers."""
    here = local(request)
    await here.storage.flow(item)
    return await here.ratings.of_flow(item, chat_id, start, end, newest_first=order == "DESC")


@post("/api/v1/leads", status_code=200, opt={**OF_A_FLOW, "refuses": (404,)}, summary="Leave a lead", tags=["visitors"])
async def leave_lead(request: Request[Any, Any, Any], data: LeadInput) -> Lead:
    """Stores how to reach a visitor."""
    here = local(request)
    flow = await flow_at(data.chatflowid, here)
    await check_caller(request, flow)
    caller = caller_of(request, request.app.state.trusted)
    request.app.state.limiter.check(f"{flow.row.id} leads", caller, flow.api.rateLimit)  # beside its predictions
    chat = data.chatId or str(uuid4())
    return await here.leads.add(Lead("", flow.row.id, chat, data.name, data.email, data.phone))


@get("/api/v1/leads/{flow_id:str}", guards=[needs("chatflows:view")], summary="Read leads", tags=["visitors"])
async def read_leads(
    request: Request[Any, Any, Any], flow_id: FlowId, page: int = 0, limit: int = 0
) -> list[Lead] | Page[Lead]:
    """The leads of a flow, oldest first, or one page of them as `{data, total}`."""
    here = local(request)
    await here.storage.flow(flow_id)
    return paged(await here.leads.of_flow(flow_id), page, limit)


ROUTES = (rate, rate_anywhere, change_rating, read_ratings, leave_lead, read_leads)
