"""Runs: look at them, follow them, stop them."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get, post, put
from litestar.params import Parameter, QueryParameter

from headrace.runtime.flows import Flow
from headrace.runtime.local import Local
from headrace.schema import RunInfo
from headrace.server.auth import OF_A_FLOW, check_caller, local
from headrace.server.error_responses import ShownRun, run_json
from headrace.server.frames import EventStream, dialect_of, position
from headrace.server.internals import shows_internals
from headrace.server.predictions import FlowId, flow_at

_PATIENCE = 1.0  # seconds that a run gets to end before its state is told
RunId = Annotated[str, Parameter(description="The run's id.")]


async def _readable(request: Request[Any, Any, Any], run_id: str) -> tuple[RunInfo, Flow]:
    """The run and its flow, for a caller who may ask it. Raises RunNotFound, Unauthorized, OriginRefused."""
    here = local(request)
    info = await here.runs.info(run_id)
    flow = await flow_at(info.chatflowid, here)
    await check_caller(request, flow)
    return info, flow


@get(
    "/api/v1/runs/{run_id:str}/events",
    opt={**OF_A_FLOW, "streams": "only"},
    summary="Follow a run",
    tags=["runs"],
)
async def events(
    request: Request[Any, Any, Any],
    run_id: RunId,
    after: int = 0,
    dialect: Annotated[str, QueryParameter(name="format", description="`named` gives `event:` lines.")] = "",
    times: Annotated[bool, QueryParameter(description="Puts a line `time:<milliseconds>` into each frame.")] = False,
    deltas: Annotated[
        bool, QueryParameter(name="executedDeltas", description="Tells each executed node of an agent flow once.")
    ] = False,
) -> EventStream:
    """The run's events after `Last-Event-ID` (or `after`), byte for byte as the caller was sent them, then new ones."""
    _, flow = await _readable(request, run_id)
    after, internals = position(request, run_id, after), await shows_internals(request, flow)
    runs, form = local(request).runs, dialect_of(request, dialect)
    return EventStream(runs, run_id, after, form, timed=times, internals=internals, deltas=deltas)


@get("/api/v1/runs/{run_id:str}", opt=OF_A_FLOW, summary="What is known of a run", tags=["runs"])
async def read_run(request: Request[Any, Any, Any], run_id: RunId) -> ShownRun:
    """State, chat, times, usage and the number of the newest event."""
    return run_json((await _readable(request, run_id))[0])


@get("/api/v1/runs", opt={**OF_A_FLOW, "refuses": (404,)}, summary="The runs of a chat", tags=["runs"])
async def list_runs(
    request: Request[Any, Any, Any],
    chat_id: Annotated[str, QueryParameter(name="chatId", description="The chat's id.")],
    flow_id: Annotated[str, QueryParameter(name="flowId", description="The flow's id.")],
) -> list[ShownRun]:
    """Newest first, so that an app can come back to an answer after a reload."""
    here = local(request)
    await check_caller(request, await flow_at(flow_id, here))
    return [run_json(info) for info in await here.runs.of_chat(flow_id, chat_id)]


@post("/api/v1/runs/{run_id:str}/cancel", status_code=200, opt=OF_A_FLOW, summary="Stop a run", tags=["runs"])
async def cancel(request: Request[Any, Any, Any], run_id: RunId) -> ShownRun:
    """Closes the connection to the model; the stream ends `abort`, `end`. Again, or after the end, changes nothing."""
    await _readable(request, run_id)
    runs = local(request).runs
    await runs.cancel(run_id)
    return run_json(await runs.settled(run_id, _PATIENCE))


@put(
    "/api/v1/chatmessage/abort/{flow_id:str}/{chat_id:str}", opt=OF_A_FLOW, summary="Stop a chat's runs", tags=["runs"]
)
async def abort(request: Request[Any, Any, Any], flow_id: FlowId, chat_id: str) -> dict[str, Any]:
    """Stops every run of the chat; the answer is the same whether or not there was one."""
    here: Local = local(request)
    await check_caller(request, await flow_at(flow_id, here))
    for info in await here.runs.of_chat(flow_id, chat_id):
        if info.state == "running":
            await here.runs.cancel(info.id)
    return {"status": 200, "message": "Chat message aborted"}


ROUTES = (events, read_run, list_runs, cancel, abort)
