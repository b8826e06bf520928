"""Moves an old install into a data folder, kind by kind, in batches that are each one transaction.

Nothing refers to what has not been moved yet, so a move that is killed leaves nothing halfway: the next one goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.errors import HeadraceError
from headrace.exports import BARE
from headrace.migration import row_kinds
from headrace.migration.context import Advanced, MoveContext
from headrace.migration.flows import move_flows
from headrace.migration.folders import Folders
from headrace.migration.install import Install
from headrace.migration.keys import check_key, move_credentials, move_keys
from headrace.migration.merge import Target
from headrace.migration.paused_flows import paused
from headrace.migration.report import Report
from headrace.migration.row_kinds import KINDS, Kind
from headrace.migration.sources import Row, Source, Wanted
from headrace.migration.stores import move_document_stores, move_upserts
from headrace.runtime.uploads import Uploads
from headrace.storage.storage import Storage

_HOMELESS: Final = {
    "assistant": "assistants (their flows come)",
    "custom_mcp_server": "MCP servers of the page",
    "custom_template": "templates",
    "schedule_trigger_log": "runs of schedules",
    "dataset": "datasets",
    "dataset_row": "rows of datasets",
    "evaluation": "evaluations",
    "evaluation_run": "runs of evaluations",
    "evaluator": "evaluators",
    "user": "accounts (API keys stand for people here)",
    "organization": "organizations",
    "workspace": "workspaces (all rows come into one)",
    "workspace_shared": "shares between workspaces",
    "role": "roles",
    "login_method": "ways to sign in",
    "checkpoints": "checkpoints of agent memory",
}
_NOTHING_LOST: Final = (
    "migrations sqlite_sequence login_sessions login_activity organization_user workspace_user FileDefaultName".split()
)
"""Rows that only the old server needs."""
_COLUMNS: Final = {
    **{kind.source: kind.columns for kind in KINDS.values()},
    "chat_flow": row_kinds.FLOW_COLUMNS,
    "credential": row_kinds.CREDENTIAL_COLUMNS,
    "apikey": row_kinds.KEY_COLUMNS,
    "document_store": row_kinds.STORE_COLUMNS,
    "document_store_file_chunk": row_kinds.CHUNK_COLUMNS,
    "upsert_history": row_kinds.UPSERT_COLUMNS,
}


async def move(install: Install, source: Source, storage: Storage, advanced: Advanced, *, dry: bool = False) -> Report:
    """Moves everything that can be read. Raises InvalidRequest before anything is written, StorageError."""
    report = Report(install.place.name if isinstance(install.place, Path) else "the database")
    context = MoveContext(install, source, storage, report, advanced, dry=dry)
    folders = Folders(install.storage) if install.storage else None
    await check_key(context)
    _tell_missing_columns(context)
    keys = await move_keys(context)
    await move_credentials(context)
    for name in ("variables", "tools"):
        await _move_kind(context, KINDS[name])
    await move_flows(context, keys)
    await _move_kind(context, KINDS["schedules"])
    _tell_schedules(context)
    for name in ("messages", "feedback", "leads"):
        await _move_kind(context, KINDS[name])
    await _move_executions(context)
    await move_document_stores(context, folders)
    await move_upserts(context)
    await _move_files(context, folders)
    await _tell_homeless(context)
    return report


async def size(source: Source) -> int:
    """The number of rows that a move looks at."""
    return sum([await source.count(table) for table in _COLUMNS if table in source.columns])


async def _move_kind(context: MoveContext, kind: Kind) -> None:
    tally = context.report.tally(kind.name)
    target = Target(kind.table, kind.owner, kind.unique)
    async for rows in context.rows(Wanted(kind.source, "createdDate")):
        await context.merge_rows(tally, target, context.read(tally, rows, kind.values))


async def _move_executions(context: MoveContext) -> None:
    """Executions; those that wait for a person can be answered here where their place in the flow can be told."""
    graphs = {flow.id: flow.flowData for flow in context.report.flows}

    def values(row: Row) -> dict[str, Any]:
        read = row_kinds.execution(row)
        found = paused(graphs.get(read["agentflowId"], ""), msgspec.json.decode(read["executionData"]))
        if found is None or read["state"] != "STOPPED":
            if read["state"] == "STOPPED":
                context.report.notes.append(f"the execution {read['id']!r} waits for an answer that it cannot get here")
            return {**read, "progress": None, "flowData": None}
        return {
            **read,
            "action": msgspec.json.encode(found.action).decode(),
            "progress": msgspec.json.encode(found.progress).decode(),
            "flowData": graphs[read["agentflowId"]],
        }

    await _move_kind(context, KINDS["executions"]._replace(values=values))


async def _move_files(context: MoveContext, folders: Folders | None) -> None:
    """The files that came with questions."""
    if folders is None:
        context.report.notes.append("no storage folder was found: name it with --storage to bring the files of chats")
        return
    tally = context.report.tally("files of chats")
    uploads = Uploads(context.storage.folder / "uploads")
    for file in folders.of_chats([flow.id for flow in context.report.flows]):
        try:
            tally.add("new" if context.dry or await uploads.take(file.flow, file.chat, file.path) else "same")
        except HeadraceError as error:
            context.unreadable(tally, {"name": str(file.path)}, str(error))


def _tell_schedules(context: MoveContext) -> None:
    if context.report.tallies[-1].new:
        context.report.notes.append(
            "schedules came switched off, or both servers would begin their flows: switch each on once the old server "
            "is gone, with PATCH /api/v1/chatflows/<flow-id>/schedule/enabled"
        )


def _tell_missing_columns(context: MoveContext) -> None:
    """Older releases have less, and exports too."""
    for table, columns in _COLUMNS.items():
        there: Sequence[str] = context.source.columns.get(table, ())
        if there and (missing := [name for name in columns if name not in there]):
            context.report.notes.append(f"an older release, or a part left out: {table!r} has no {', '.join(missing)}")
    if "apikeyid" not in context.source.columns["chat_flow"]:
        context.report.notes.append(BARE)


async def _tell_homeless(context: MoveContext) -> None:
    for table in sorted(set(context.source.columns) - {*_COLUMNS, *_NOTHING_LOST}):
        if count := await context.source.count(table):
            context.report.homeless[_HOMELESS.get(table, table)] = count
