"""Executions of agent flows: list, read, mark and delete them, in Flowise's shapes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter, QueryParameter

from headrace.errors import Interrupted
from headrace.events import Prediction
from headrace.runtime.executions import Further
from headrace.runtime.queue import STOPPING, Job
from headrace.schema import ExecutionRow, HumanInput
from headrace.server.auth import local, needs
from headrace.server.error_responses import ShownRun
from headrace.server.pagination import Page
from headrace.server.predictions import flow_at, reply_of
from headrace.storage.executions import ExecutionFilter

_MOST = 500  # on one page
Claim = Callable[[str, Job], Awaitable[str]]
ExecutionId = Annotated[str, Parameter(description="The execution's id.")]


class ExecutionInput(msgspec.Struct):
    """Changes to an execution: its mark as public."""

    isPublic: bool


class ExecutionIds(msgspec.Struct):
    """Executions to delete."""

    executionIds: list[str]


class Delivery(msgspec.Struct, kw_only=True):
    """The way in which the answer of a run comes: as JSON, as a stream, or later, as with a prediction."""

    streaming: bool = False
    background: bool = False


class ExecutionAnswer(Delivery, kw_only=True):
    """A person's answer to an execution that waits. `type` is `proceed` or `reject`."""

    type: Literal["proceed", "reject"]
    feedback: str | None = None


class ListedExecution(ExecutionRow, kw_only=True):
    """An execution with the id, the name and other columns of its flow."""

    agentflow: dict[str, Any]


class DeletedExecutions(msgspec.Struct):
    """The number of deleted executions."""

    deletedCount: int
    success: bool = True


@get("/api/v1/executions", guards=[needs("executions:view")], summary="List executions", tags=["executions"])
async def list_executions(
    request: Request[Any, Any, Any],
    id: str | None = None,  # noqa: A002 Flowise's name
    agentflowId: str | None = None,  # noqa: N803
    agentflowName: str | None = None,  # noqa: N803
    sessionId: str | None = None,  # noqa: N803
    wanted_state: Annotated[str | None, QueryParameter(name="state")] = None,
    startDate: str | None = None,  # noqa: N803
    endDate: str | None = None,  # noqa: N803
    page: int = 1,
    limit: int = 12,
) -> Page[ListedExecution]:
    """One page of executions, newest first, as `{data, total}`."""
    wanted = ExecutionFilter(id, agentflowId, agentflowName, sessionId, wanted_state, startDate, endDate)
    rows, total = await local(request).executions.page(wanted, max(1, page), min(max(1, limit), _MOST))
    return Page(msgspec.convert(rows, list[ListedExecution]), total)


@get(
    "/api/v1/executions/{execution_id:str}",
    guards=[needs("executions:view")],
    summary="Read an execution",
    tags=["executions"],
)
async def read_execution(request: Request[Any, Any, Any], execution_id: ExecutionId) -> ExecutionRow:
    """One execution with all that its nodes did."""
    return await local(request).executions.one(execution_id)


@put(
    "/api/v1/executions/{execution_id:str}",
    guards=[needs("executions:update")],
    summary="Change an execution",
    tags=["executions"],
)
async def change_execution(
    request: Request[Any, Any, Any], execution_id: ExecutionId, data: ExecutionInput
) -> ExecutionRow:
    """Marks the execution as public or private."""
    return await local(request).executions.mark(execution_id, public=data.isPublic)


@delete(
    "/api/v1/executions/{execution_id:str}",
    guards=[needs("executions:delete")],
    status_code=200,
    summary="Delete an execution",
    tags=["executions"],
)
async def delete_execution(request: Request[Any, Any, Any], execution_id: ExecutionId) -> DeletedExecutions:
    """Deletes one execution; the messages of its chat stay."""
    return DeletedExecutions(await local(request).executions.remove([execution_id]))


@delete(
    "/api/v1/executions",
    guards=[needs("executions:delete")],
    status_code=200,
    summary="Delete executions",
    tags=["executions"],
)
async def delete_executions(request: Request[Any, Any, Any], data: ExecutionIds) -> DeletedExecutions:
    """Deletes the executions that the body names."""
    return DeletedExecutions(await local(request).executions.remove(data.executionIds))


_ANSWERS = {
    200: ResponseSpec(
        Prediction, generate_examples=False, description="The answer, or with `streaming` a text/event-stream"
    ),
    202: ResponseSpec(ShownRun, generate_examples=False, description="The run, with `background`"),
}
_Dialect = Annotated[str, QueryParameter(name="format", description="`named` gives `event:` lines.")]


@post(
    "/api/v1/executions/{execution_id:str}/answer",
    guards=[needs("executions:update")],
    status_code=200,
    opt={"refuses": (404, 409, 422), "streams": "too"},
    responses=_ANSWERS,
    summary="Answer an execution",
    tags=["executions"],
)
async def answer_execution(
    request: Request[Any, Any, Any], execution_id: ExecutionId, data: ExecutionAnswer, dialect: _Dialect = ""
) -> Response[Any]:
    """Answers an execution that waits for a person, which goes on in its own chat; the second answer gets 409."""
    executions = local(request).executions
    further = await executions.answered(execution_id, HumanInput(type=data.type, feedback=data.feedback))
    return await _go_on(request, execution_id, further, data, executions.claim_waiting, dialect)


@post(
    "/api/v1/executions/{execution_id:str}/continue",
    guards=[needs("executions:update")],
    status_code=200,
    opt={"refuses": (404, 409, 422), "streams": "too"},
    responses=_ANSWERS,
    summary="Continue an execution",
    tags=["executions"],
)
async def continue_execution(
    request: Request[Any, Any, Any], execution_id: ExecutionId, data: Delivery, dialect: _Dialect = ""
) -> Response[Any]:
    """Goes on after the last finished node of an execution whose run has failed or was lost with its server."""
    executions = local(request).executions
    further = await executions.again(execution_id)
    return await _go_on(request, execution_id, further, data, executions.claim_failed, dialect)


async def _go_on(
    request: Request[Any, Any, Any], execution_id: str, further: Further, how: Delivery, claim: Claim, dialect: str
) -> Response[Any]:
    here = local(request)
    if here.stopping:
        raise Interrupted(STOPPING)
    flow = await flow_at(further.flow, here)
    body = msgspec.structs.replace(further.request, streaming=how.streaming, background=how.background)
    run = await here.runs.start(
        flow,
        body,
        streaming=how.streaming and flow.streams,
        key=request.headers.get("idempotency-key"),
        claim=lambda job: claim(execution_id, job),
    )
    return await reply_of(request, flow, body, run, dialect)


ROUTES = (
    list_executions,
    read_execution,
    change_execution,
    delete_execution,
    delete_executions,
    answer_execution,
    continue_execution,
)
