"""Imports and exports of everything over HTTP, in Flowise's format."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.params import QueryParameter

from headrace.documents.chunks import PAGE, StoredChunk
from headrace.exports import SECTIONS, Export, export_of
from headrace.imports import Existing, take
from headrace.runtime.inventory import inventory
from headrace.runtime.local import Local
from headrace.schema import ApiKey, CustomTool, FlowRow, Variable
from headrace.server.auth import check_permission, local, needs
from headrace.server.flows import ShownFlow, flow_json
from headrace.server.store_responses import WrittenStore, written

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
        flows=[flow_json(row, here.catalog, has) for row in flows],
        keys=done.keys,
        tools=[tool.name for tool in done.tools],
        variables=done.variables,
        documentStores=done.stores,
        notes=done.notes,
        skipped=done.skipped,
    )


class Wanted(msgspec.Struct):
    """The parts of an export."""

    chatflow: bool = False
    agentflow: bool = False
    agentflowv2: bool = False
    assistantCustom: bool = False
    tool: bool = False
    variable: bool = False
    document_store: bool = False


class ExportFile(msgspec.Struct, kw_only=True):
    """An `ExportData.json`, as Flowise reads it: rows with all their columns.

    Values of variables are left out, as Flowise leaves them out. Chats, ratings and executions stay here.
    """

    FileDefaultName: str = "ExportData.json"
    AgentFlow: list[FlowRow] = []
    AgentFlowV2: list[FlowRow] = []
    AssistantCustom: list[Any] = []
    AssistantFlow: list[FlowRow] = []
    AssistantOpenAI: list[Any] = []
    AssistantAzure: list[Any] = []
    ChatFlow: list[FlowRow] = []
    ChatMessage: list[Any] = []
    ChatMessageFeedback: list[Any] = []
    CustomTemplate: list[Any] = []
    DocumentStore: list[WrittenStore] = []
    DocumentStoreFileChunk: list[StoredChunk] = []
    Execution: list[Any] = []
    Tool: list[CustomTool] = []
    Variable: list[Variable] = []


_SWITCHES = {"ChatFlow": "chatflow", "AgentFlow": "agentflow", "AgentFlowV2": "agentflowv2"}
_VIEWS = {"tool": "tools:view", "variable": "variables:view", "document_store": "documentStores:view"}


@post(
    "/api/v1/export-import/export",
    guards=[needs("workspace:export", "chatflows:view", *_VIEWS.values())],
    status_code=200,
    summary="Export flows, tools, variables and document stores",
    tags=["administration"],
)
async def export_all(request: Request[Any, Any, Any], data: Wanted) -> ExportFile:
    """A file that Flowise and `headrace import` read. Needs `workspace:export`, or the right to see each part."""
    here, file = local(request), ExportFile()
    for name, permission in {**dict.fromkeys(_SWITCHES.values(), "chatflows:view"), **_VIEWS}.items():
        if getattr(data, name):
            await check_permission(request, "workspace:export", permission)
    for section, kind in SECTIONS.items():
        if getattr(data, _SWITCHES.get(section, "assistantCustom")):
            setattr(file, section, await here.storage.flows(kind))
    if data.tool:
        file.Tool = list(await here.storage.tools())
    if data.variable:
        file.Variable = [msgspec.structs.replace(one, value="") for one in await here.storage.variables()]
    if data.document_store:
        for store in await here.stores.all():
            file.DocumentStore.append(written(store))
            file.DocumentStoreFileChunk += await _chunks(store.id, here)
    return file


async def _chunks(store_id: str, here: Local) -> list[StoredChunk]:
    found: list[StoredChunk] = []
    while True:
        some, count = await here.chunks.page(store_id, None, len(found) // PAGE + 1)
        found += some
        if not some or len(found) >= count:
            return found


def _needed(export: Export) -> list[str]:
    return [permission for part, permission in _PERMISSIONS.items() if getattr(export, part)] or ["workspace:import"]


ROUTES = (import_export, export_all)
