"""Executions of agent flows: list, read, mark and delete them, in Flowise's shapes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, put
from litestar.params import Parameter, QueryParameter

from headrace.schema import ExecutionRow
from headrace.server.auth import local, needs
from headrace.server.pagination import Page
from headrace.storage.executions import ExecutionFilter

_MOST = 500  # on one page
ExecutionId = Annotated[str, Parameter(description="The execution's id.")]


class ExecutionInput(msgspec.Struct):
    """Changes to an execution: its mark as public."""

    isPublic: bool


class ExecutionIds(msgspec.Struct):
    """Executions to delete."""

    executionIds: list[str]


class ListedExecution(ExecutionRow, kw_only=True):
    """An execution with the id, the name and other columns of its flow."""

    agentflow: dict[str, Any]


class DeletedExecutions(msgspec.Struct):
    """How many executions are gone."""

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


ROUTES = (
    list_executions,
    read_execution,
    change_execution,
    delete_execution,
    delete_executions,
)
