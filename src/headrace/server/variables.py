"""Variables, which flows read as `{{$vars.name}}`, in Flowise's shapes."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import Request, delete, get, post, put
from msgspec import UNSET, UnsetType

from headrace.schema import Variable
from headrace.server.auth import local, needs
from headrace.server.pagination import Deleted, Page, paged


class VariableInput(msgspec.Struct):
    """A variable to store."""

    name: str
    value: str | None = None
    type: Literal["static", "runtime"] = "static"


class VariableChange(msgspec.Struct):
    """Changes to a variable; absent fields stay."""

    name: str | UnsetType = UNSET
    value: str | UnsetType | None = UNSET
    type: Literal["static", "runtime"] | UnsetType = UNSET


@get("/api/v1/variables", guards=[needs("variables:view")], summary="List variables", tags=["administration"])
async def list_variables(
    request: Request[Any, Any, Any], page: int = 0, limit: int = 0
) -> list[Variable] | Page[Variable]:
    """All variables, or one page of them as `{data, total}`."""
    return paged(await local(request).storage.variables(), page, limit)


@post(
    "/api/v1/variables",
    guards=[needs("variables:create")],
    status_code=200,
    summary="Create a variable",
    tags=["administration"],
)
async def create_variable(request: Request[Any, Any, Any], data: VariableInput) -> Variable:
    """Stores a variable, which flows read as `{{$vars.name}}`."""
    return await local(request).storage.add_variable(data.name, data.value, data.type)


@put(
    "/api/v1/variables/{variable_id:str}",
    guards=[needs("variables:update")],
    summary="Change a variable",
    tags=["administration"],
)
async def change_variable(request: Request[Any, Any, Any], variable_id: str, data: VariableChange) -> Variable:
    """Stores what the body names."""
    return await local(request).storage.change_variable(variable_id, msgspec.to_builtins(data))


@delete(
    "/api/v1/variables/{variable_id:str}",
    guards=[needs("variables:delete")],
    status_code=200,
    summary="Delete a variable",
    tags=["administration"],
)
async def remove_variable(request: Request[Any, Any, Any], variable_id: str) -> Deleted:
    """Deletes a variable."""
    await local(request).storage.delete_variable(variable_id)
    return Deleted()


ROUTES = (list_variables, create_variable, change_variable, remove_variable)
