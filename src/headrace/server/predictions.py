"""Predictions: the one endpoint that everything else exists for."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import MediaType, Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter, QueryParameter

from headrace.errors import Interrupted, InvalidRequest, OriginRefused, RateLimited
from headrace.events import Prediction
from headrace.runtime.flows import Flow
from headrace.runtime.local import Local
from headrace.server.auth import check_flow_key, check_origin, local
from headrace.server.bodies import prediction_request
from headrace.server.docs import PredictionOperation
from headrace.server.frames import Dialect, EventStream
from headrace.server.limits import caller_of
from headrace.server.replies import error_reply

FlowId = Annotated[str, Parameter(description="The flow's id.")]


def is_flow_id(text: str) -> bool:
    """Whether the text is a UUID; every flow has one."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


async def flow_at(flow_id: str, here: Local) -> Flow:
    """The flow. Raises InvalidRequest for what is not an id, FlowNotFound."""
    if not is_flow_id(flow_id):
        raise InvalidRequest(f"{flow_id!r} is not a flow id: `headrace flows` lists them")
    here.store.refresh()
    return await here.flows.get(flow_id)


@post(
    ["/api/v1/prediction/{flow_id:str}", "/api/v1/predictions/{flow_id:str}"],
    status_code=200,
    summary="Ask a flow",
    description="With `streaming` true the answer is an event stream, else JSON.",
    operation_class=PredictionOperation,
    responses={200: ResponseSpec(Prediction, description="The answer, or with `streaming` a text/event-stream")},
    tags=["predictions"],
)
async def predict(
    request: Request[Any, Any, Any],
    flow_id: FlowId,
    dialect: Annotated[str, QueryParameter(name="format", description="`named` gives `event:` lines.")] = "",
) -> Response[Any]:
    """Runs a flow."""
    here = local(request)
    flow = await flow_at(flow_id, here)
    try:
        request.app.state.limiter.check(flow_id, caller_of(request, request.app.state.trusted), flow.api.rateLimit)
    except RateLimited as error:
        return _plain(error)
    body = prediction_request(await request.body(), request.headers.get("content-type", ""))
    try:
        check_origin(request.headers.get("origin"), flow.chatbot)
    except OriginRefused as error:
        return _plain(error) if body.wants_stream else error_reply(error)
    await check_flow_key(request, flow)
    streaming = body.wants_stream and flow.streams
    if here.stopping:
        raise Interrupted("the server is stopping; ask again in a moment")
    run = await here.runs.start(flow, body, streaming=streaming)
    if streaming:
        return EventStream(run, here.runs.follow(run), _dialect(request, dialect))
    prediction = await here.runs.answer(run)
    prediction.isStreamValid = False  # Flowise says so in every JSON answer
    return Response(prediction, headers={"X-Run-Id": run})


def _plain(error: RateLimited | OriginRefused) -> Response[Any]:
    """The message alone, as today's clients show it to people."""
    reply = error_reply(error)
    return Response(str(error), status_code=error.status, headers=reply.headers, media_type=MediaType.TEXT)


def _dialect(request: Request[Any, Any, Any], asked: str) -> Dialect:
    return "named" if asked == "named" or "format=named" in request.headers.get("accept", "") else "flowise"


@get("/api/v1/chatflows-streaming/{flow_id:str}", summary="Does this flow stream?", tags=["predictions"])
async def streaming(request: Request[Any, Any, Any], flow_id: FlowId) -> dict[str, bool]:
    """Public: both published libraries ask it without a key."""
    flow = await flow_at(flow_id, local(request))
    return {"isStreaming": flow.streams}


ROUTES = (predict, streaming)
