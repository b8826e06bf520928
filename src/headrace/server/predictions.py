"""Predictions: the one endpoint that everything else exists for."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import MediaType, Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter, QueryParameter

from headrace.errors import Interrupted, InvalidRequest, OriginRefused, RateLimited, RunNotFound
from headrace.events import Prediction
from headrace.runtime.flows import Flow
from headrace.runtime.local import Local
from headrace.schema import HumanInput, PredictionRequest, is_id
from headrace.server.auth import OF_A_FLOW, check_flow_key, check_origin, local
from headrace.server.bodies import asked
from headrace.server.disconnect import while_there
from headrace.server.docs import PredictionOperation
from headrace.server.error_responses import ShownRun, accepted, error_reply
from headrace.server.files import check_form, checked, upsert_for_chat
from headrace.server.forms import is_form
from headrace.server.frames import EventStream, PredictionResponse, dialect_of, first_event_wait, position
from headrace.server.internals import shows_internals
from headrace.server.rate_limits import caller_of

FlowId = Annotated[str, Parameter(description="The flow's id.")]


async def flow_at(flow_id: str, here: Local) -> Flow:
    """The flow. Raises InvalidRequest for what is not an id, FlowNotFound."""
    if not is_id(flow_id):
        raise InvalidRequest(f"{flow_id!r} is not a flow id: `headrace flows` lists them")
    await here.storage.refresh()
    return await here.flows.get(flow_id)


_OF_BUILDERS: Final = "/api/v1/internal-prediction/"


@post(
    [f"/api/v1/{name}/{{flow_id:str}}" for name in ("prediction", "predictions", "internal-prediction")],
    status_code=200,
    opt={**OF_A_FLOW, "refuses": (409, 412, 422), "plain": (403, 429), "streams": "too"},
    summary="Ask a flow",
    description="With `streaming` true the answer is an event stream, else JSON.",
    operation_class=PredictionOperation,
    responses={
        200: ResponseSpec(
            Prediction, generate_examples=False, description="The answer, or with `streaming` a text/event-stream"
        ),
        202: ResponseSpec(ShownRun, generate_examples=False, description="The run, with `background`"),
    },
    tags=["predictions"],
)
async def predict(
    request: Request[Any, Any, Any],
    flow_id: FlowId,
    dialect: Annotated[str, QueryParameter(name="format", description="`named` gives `event:` lines.")] = "",
    deltas: Annotated[
        bool, QueryParameter(name="executedDeltas", description="Tells each executed node of an agent flow once.")
    ] = False,
) -> Response[Any]:
    """Runs a flow."""
    here = local(request)
    flow = await flow_at(flow_id, here)
    try:
        request.app.state.limiter.check(flow_id, caller_of(request, request.app.state.trusted), flow.api.rateLimit)
    except RateLimited as error:
        return _plain(error)
    body = await asked(request)
    try:
        check_origin(request.headers.get("origin"), flow.chatbot)
    except OriginRefused as error:
        return _plain(error) if body.wants_stream else error_reply(error)
    await check_flow_key(request, flow)
    if is_form(request):
        check_form(flow, here.catalog, body.overrideConfig or {})
    streaming = body.wants_stream and flow.streams
    chat_type = "INTERNAL" if request.url.path.startswith(_OF_BUILDERS) else "EXTERNAL"
    run = await start_run(request, flow, body, streaming=streaming, chat_type=chat_type)
    return await reply_of(request, flow, body, run, dialect, deltas=deltas)


async def reply_of(
    request: Request[Any, Any, Any],
    flow: Flow,
    body: PredictionRequest,
    run: str,
    dialect: str,
    *,
    deltas: bool = False,
) -> Response[Any]:
    """The run's answer as the body wants it: at once with the run's links, as a stream, or as JSON."""
    runs = local(request).runs
    if body.background or "respond-async" in request.headers.get("prefer", ""):
        return accepted(await runs.info(run))
    internals = await shows_internals(request, flow)
    if body.wants_stream and flow.streams:
        after, kind = position(request, run, 0), dialect_of(request, dialect)
        wait = first_event_wait(request)
        return EventStream(runs, run, after, kind, internals=internals, deltas=deltas, wait=wait)
    return PredictionResponse(runs, run, internals=internals)


async def start_run(
    request: Request[Any, Any, Any],
    flow: Flow,
    body: PredictionRequest,
    *,
    streaming: bool,
    key: str | None = None,
    chat_type: str = "EXTERNAL",
) -> str:
    """The run that answers a caller who may ask the flow. Files are checked, and upserted for the chat, before it.
    `key` stands for the Idempotency-Key where the request has none, and `chat_type` is stored with the messages.

    A POST that carries `Last-Event-ID` comes from a browser that reconnects: it joins its run. One with a known
    `Idempotency-Key` joins as well. Raises RunNotFound for a run that has expired: it must not begin anew.
    """
    here = local(request)
    if webhook := flow.webhook:
        raise InvalidRequest(
            f"This flow is configured as a Webhook Trigger. Call {webhook.webhookMethod} /api/v1/webhook/{flow.row.id} "
            "instead of the prediction API."
        )
    if flow.schedule and not flow.draft:
        raise InvalidRequest(
            "This flow is configured as a Scheduled Trigger. It is fired by the scheduler and cannot be invoked via "
            "the API. Change the Start node Input Type to Chat or Form to call it from the prediction API."
        )
    body.uploads = await checked(flow, body, request.app.state.settings) or None
    if any(upload.type == "file:rag" for upload in body.uploads or ()):
        await while_there(request, upsert_for_chat(here, flow, body))
    if last := request.headers.get("last-event-id"):
        run = last.rpartition(":")[0]
        info = await here.runs.info(run)
        if info.chatflowid != flow.row.id:
            raise RunNotFound(f"this flow has no run {run!r}")
        return run
    if here.stopping:
        raise Interrupted("the server is stopping; ask again in a moment")
    key = request.headers.get("idempotency-key", key)
    if (answer := answer_of(body)) and body.humanInput is None:
        body.humanInput = answer
    claim = here.executions.claim if body.humanInput else None
    return await here.runs.start(flow, body, streaming=streaming, key=key, claim=claim, chat_type=chat_type)


def answer_of(body: PredictionRequest) -> HumanInput | None:
    """The answer to a multi-agent flow: `action` repeats what it has asked, and `question` is one button's label."""
    mapping = (body.action or {}).get("mapping")
    if not isinstance(mapping, dict) or "toolCalls" not in mapping or not isinstance(body.question, str):
        return None
    if body.question == mapping.get("approve"):
        return HumanInput(type="proceed")
    return HumanInput(type="reject") if body.question == mapping.get("reject") else None


def _plain(error: RateLimited | OriginRefused) -> Response[Any]:
    """The message alone, as today's clients show it to people."""
    reply = error_reply(error)
    return Response(str(error), status_code=error.status, headers=reply.headers, media_type=MediaType.TEXT)


@get(
    "/api/v1/chatflows-streaming/{flow_id:str}",
    opt={"refuses": (422,)},
    summary="Does this flow stream?",
    tags=["predictions"],
)
async def streaming(request: Request[Any, Any, Any], flow_id: FlowId) -> dict[str, bool]:
    """Public: both published libraries ask it without a key."""
    flow = await flow_at(flow_id, local(request))
    return {"isStreaming": flow.streams}


ROUTES = (predict, streaming)
