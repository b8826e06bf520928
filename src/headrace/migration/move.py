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
from headrace.migration import kinds
from headrace.migration.flows import move_flows
from headrace.migration.folders import Folders
from headrace.migration.install import Install
from headrace.migration.keys import check_key, move_credentials, move_keys
from headrace.migration.kinds import KINDS, Kind
from headrace.migration.moving import Advanced, Moving
from headrace.migration.paused import paused
from headrace.migration.placing import Target
from headrace.migration.report import Report
from headrace.migration.sources import Row, Source, Wanted
from headrace.migration.stores import move_document_stores, move_upserts
from headrace.runtime.uploads import Uploads
from headrace.store.store import Store

_HOMELESS: Final = {
    "assistant": "assistants (their flows come)",
    "custom_mcp_server": "MCP servers of the page",
    "custom_template": "templates",
    "schedule_record": "schedules",
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
"""What only the old server needs."""
_COLUMNS: Final = {
    **{kind.source: kind.columns for kind in KINDS.values()},
    "chat_flow": kinds.FLOW_COLUMNS,
    "credential": kinds.CREDENTIAL_COLUMNS,
    "apikey": kinds.KEY_COLUMNS,
    "document_store": kinds.STORE_COLUMNS,
    "document_store_file_chunk": kinds.CHUNK_COLUMNS,
    "upsert_history": kinds.UPSERT_COLUMNS,
}


async def move(install: Install, source: Source, store: Store, advanced: Advanced, *, dry: bool = False) -> Report:
    """Moves everything that can be read. Raises InvalidRequest before anything is written, StorageError."""
    report = Report(install.place.name if isinstance(install.place, Path) else "the database")
    moving = Moving(install, source, store, report, advanced, dry=dry)
    folders = Folders(install.storage) if install.storage else None
    await check_key(moving)
    _tell_missing_columns(moving)
    keys = await move_keys(moving)
    await move_credentials(moving)
    for name in ("variables", "tools"):
        await _move_kind(moving, KINDS[name])
    await move_flows(moving, keys)
    for name in ("messages", "feedback", "leads"):
        await _move_kind(moving, KINDS[name])
    await _move_executions(moving)
    await move_document_stores(moving, folders)
    await move_upserts(moving)
    await _move_files(moving, folders)
    await _tell_homeless(moving)
    return report


async def size(source: Source) -> int:
    """How many rows a move looks at."""
    return sum([await source.count(table) for table in _COLUMNS if table in source.columns])


async def _move_kind(moving: Moving, kind: Kind) -> None:
    tally = moving.report.tally(kind.name)
    target = Target(kind.table, kind.owner, kind.unique)
    async for rows in moving.rows(Wanted(kind.source, "createdDate")):
        await moving.place(tally, target, moving.read(tally, rows, kind.values))


async def _move_executions(moving: Moving) -> None:
    """Executions; those that wait for a person can be answered here where their place in the flow can be told."""
    graphs = {flow.id: flow.flowData for flow in moving.report.flows}

    def values(row: Row) -> dict[str, Any]:
        read = kinds.execution(row)
        found = paused(graphs.get(read["agentflowId"], ""), msgspec.json.decode(read["executionData"]))
        if found is None or read["state"] != "STOPPED":
            if read["state"] == "STOPPED":
                moving.report.notes.append(f"the execution {read['id']!r} waits for an answer that it cannot get here")
            return {**read, "progress": None, "flowData": None}
        return {
            **read,
            "action": msgspec.json.encode(found.action).decode(),
            "progress": msgspec.json.encode(found.progress).decode(),
            "flowData": graphs[read["agentflowId"]],
        }

    await _move_kind(moving, KINDS["executions"]._replace(values=values))


async def _move_files(moving: Moving, folders: Folders | None) -> None:
    """The files that came with questions."""
    if folders is None:
        moving.report.notes.append("no storage folder was found: name it with --storage to bring the files of chats")
        return
    tally = moving.report.tally("files of chats")
    uploads = Uploads(moving.store.folder / "uploads")
    for file in folders.of_chats([flow.id for flow in moving.report.flows]):
        try:
            tally.add("new" if moving.dry or await uploads.take(file.flow, file.chat, file.path) else "same")
        except HeadraceError as error:
            moving.unreadable(tally, {"name": str(file.path)}, str(error))


def _tell_missing_columns(moving: Moving) -> None:
    """Older releases have less, and exports too."""
    for table, columns in _COLUMNS.items():
        there: Sequence[str] = moving.source.columns.get(table, ())
        if there and (missing := [name for name in columns if name not in there]):
            moving.report.notes.append(f"an older release, or a part left out: {table!r} has no {', '.join(missing)}")
    if "apikeyid" not in moving.source.columns["chat_flow"]:
        moving.report.notes.append(BARE)


async def _tell_homeless(moving: Moving) -> None:
    for table in sorted(set(moving.source.columns) - {*_COLUMNS, *_NOTHING_LOST}):
        if count := await moving.source.count(table):
            moving.report.homeless[_HOMELESS.get(table, table)] = count
