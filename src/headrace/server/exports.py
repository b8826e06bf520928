"""Import of whole exports over HTTP: what `headrace import` does with a file, for the playground and for programs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.params import QueryParameter

from headrace.exports import Export, export_of
from headrace.imports import Existing, take
from headrace.runtime.inventory import inventory
from headrace.schema import ApiKey, FlowRow
from headrace.server.auth import check_permission, local, needs
from headrace.server.flows import ShownFlow, flow_json

_PERMISSIONS = {
    "flows": "chatflows:create",
    "variables": "variables:create",
    "tools": "tools:create",
    "stores": "documentStores:create",
}


class ImportReply(msgspec.Struct):
    """The result of an import. `keys` are shown only here; `notes` name what works differently."""

    message: str
    flows: list[ShownFlow]
    keys: list[ApiKey]
    tools: list[str]
    variables: list[str]
    documentStores: list[str]
    notes: list[str]
    skipped: dict[str, int]


@post(
    "/api/v1/export-import/import",
    guards=[needs("workspace:import", *_PERMISSIONS.values())],
    status_code=200,
    summary="Import flows, tools, variables and document stores",
    tags=["administration"],
)
async def import_export(
    request: Request[Any, Any, Any],
    data: dict[str, Any],
    name: Annotated[str, QueryParameter(description="Name of a flow that has none.")] = "Untitled",
    existing: Annotated[
        Existing, QueryParameter(description="`new` gives flows another id where theirs is taken, `replace` replaces.")
    ] = "new",
) -> ImportReply:
    """Stores what an exported file holds: a flow, a tool, or an `ExportData.json`.

    Needs `workspace:import`, or the permission to create each of what it holds. Flows that were bound to an API key
    are locked: they ask for one of `keys`.
    """
    export = export_of(data, name)
    for permission in _needed(export):
        await check_permission(request, "workspace:import", permission)
    if existing == "replace" and export.flows:
        await check_permission(request, "workspace:import", "chatflows:update")
    here = local(request)
    done = await take(here.storage, [export], existing)
    flows: list[FlowRow] = done.flows
    has = await inventory(here.storage)
    return ImportReply(
        message="success",
        flows=[flow_json(row, here.flows.catalog, has) for row in flows],
        keys=done.keys,
        tools=[tool.name for tool in done.tools],
        variables=done.variables,
        documentStores=done.stores,
        notes=done.notes,
        skipped=done.skipped,
    )


def _needed(export: Export) -> list[str]:
    return [permission for part, permission in _PERMISSIONS.items() if getattr(export, part)] or ["workspace:import"]


ROUTES = (import_export,)
