"""A row of Flowise's tables as a row of ours: a small function for each kind. All of them raise InvalidRequest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Table

from headrace.documents.chunks import StoredChunk
from headrace.documents.exports import document_chunk, document_store
from headrace.documents.stores import StoreRow
from headrace.engine.complaints import complaint
from headrace.errors import InvalidRequest
from headrace.exports import Export, export_of
from headrace.migration.sources import Row, moment
from headrace.schema import ExecutionRow, Feedback, FileUpload, FlowRow, Lead, Message, is_id
from headrace.storage import tables
from headrace.storage.key_secrets import hash_of
from headrace.storage.storage import ADMIN

_MESSAGE_LISTS: Final = {
    **dict.fromkeys(("sourceDocuments", "usedTools", "fileAnnotations", "agentReasoning", "artifacts"), list[Any]),
    "fileUploads": list[FileUpload],
}
_SETTINGS: Final = "chatbotConfig apiConfig analytic speechToText textToSpeech followUpPrompts mcpServerConfig".split()
_DATES: Final = ("createdDate", "updatedDate", "stoppedDate", "date")


class Kind(NamedTuple):
    """A kind of rows: Flowise's table, the columns that are read of it, ours, and how one becomes the other."""

    name: str
    source: str
    columns: Sequence[str]
    table: Table
    values: Callable[[Row], dict[str, Any]]
    owner: tuple[str, Table] | None = None
    """The column that names the row which this one belongs to, and that row's table."""
    unique: str = ""
    """A column besides the id that no two rows have the same in."""


def api_key(row: Row) -> dict[str, Any]:
    """A key, of which only the hash is kept. Before keys had permissions, each of them could do everything."""
    given = _json(row, "permissions", list[str]) if "permissions" in row else [ADMIN]
    return {
        "id": _text(row, "id"),
        "keyName": str(row.get("keyName") or ""),
        "permissions": msgspec.json.encode(given or []).decode(),
        "hash": hash_of(_text(row, "apiKey")),
        "createdDate": _created(row),
    }


def variable(row: Row) -> dict[str, Any]:
    """A variable."""
    return _dated(msgspec.structs.asdict(_exported("Variable", row).variables[0]))


def tool(row: Row) -> dict[str, Any]:
    """A tool that somebody wrote."""
    return _dated(msgspec.structs.asdict(_exported("Tool", row).tools[0]))


def flow(row: Row) -> tuple[FlowRow, list[str]]:
    """A flow, and notes on what works differently here."""
    _id(row)
    for name in _SETTINGS:
        _json(row, name)
    given = {name: value for name, value in _dated(row).items() if value is not None}
    export = export_of(given, str(row.get("name") or row["id"]))
    return export.flows[0], export.notes


def message(row: Row) -> dict[str, Any]:
    """A chat message. Older ones have no session, which was the chat's then."""
    lists = {name: _json(row, name, kind) for name, kind in _MESSAGE_LISTS.items()}
    chat = row.get("chatId") or row.get("sessionId")
    given = {
        **_without_null(row),
        **lists,
        "action": _json(row, "action"),
        "content": row.get("content") or "",
        "chatId": chat,
        "sessionId": row.get("sessionId") or chat,
        "createdDate": _created(row),
    }
    read = msgspec.structs.asdict(_record(given, Message))
    texts = {name: _encoded(read[name]) for name in (*lists, "action", "reasonContent")}
    return {**read, **texts, "reasonContent": _reason(row)}


def feedback(row: Row) -> dict[str, Any]:
    """A visitor's rating of an answer."""
    read = _record({**row, "createdDate": _created(row)}, Feedback)
    return {name: getattr(read, name) for name in ("id", "messageId", "rating", "content", "createdDate")}


def lead(row: Row) -> dict[str, Any]:
    """A lead: the contact details of a visitor."""
    return msgspec.structs.asdict(_record({**row, "createdDate": _created(row)}, Lead))


def schedule(row: Row) -> dict[str, Any]:
    """A schedule, switched off: both servers would begin its flow."""
    return {
        "id": _text(row, "id"),
        "chatflowid": _text(row, "targetId"),
        "cronExpression": _text(row, "cronExpression"),
        "timezone": row.get("timezone") or "UTC",
        "endDate": moment(row["endDate"]) if row.get("endDate") else None,
        "enabled": False,
        "lastRunAt": moment(row["lastRunAt"]) if row.get("lastRunAt") else None,
        "nextRunAt": None,
        "createdDate": _created(row),
        "updatedDate": moment(row.get("updatedDate") or row.get("createdDate")),
    }


def execution(row: Row) -> dict[str, Any]:
    """An execution of an agent flow; one that was at work then is not at work here."""
    _json(row, "executionData", list[dict[str, Any]])
    action = _json(row, "action")
    given = {
        **_dated(row),
        "executionData": _as_text(row["executionData"]),
        "action": _encoded(action),
        "workspaceId": None,
    }
    read = msgspec.structs.asdict(_record(given, ExecutionRow))
    return {**read, "run": "", "state": "ERROR" if read["state"] == "INPROGRESS" else read["state"]}


def upsert(row: Row) -> dict[str, Any]:
    """The result of one upsert into a flow or a document store, as its history has it."""
    _id(row)
    result, nodes = _json(row, "result", dict[str, Any]), _json(row, "flowData", list[dict[str, Any]])
    return {
        "id": row["id"],
        "chatflowid": _text(row, "chatflowid"),
        "result": _encoded(result or {}),
        "flowData": _encoded(nodes or []),
        "date": moment(row.get("date")),
    }


def store(row: Row) -> StoreRow:
    """A document store with its loaders, and without their chunks."""
    read = document_store(_without_null(row))
    read.createdDate = _created(row)
    read.updatedDate = moment(row.get("updatedDate") or row.get("createdDate"))
    return read


def chunk(row: Row) -> StoredChunk:
    """A chunk of a document store."""
    return document_chunk({**row, "pageContent": row.get("pageContent") or ""})


def named(row: Row) -> dict[str, str]:
    """Id, name and dates of a row: the columns that credentials, variables and tools share."""
    _id(row)
    changed = moment(row.get("updatedDate") or row.get("createdDate"))
    return {"id": row["id"], "name": str(row.get("name") or ""), "createdDate": _created(row), "updatedDate": changed}


def _exported(section: str, row: Row) -> Export:
    """The row as imports read it out of an export."""
    _id(row)
    return export_of({section: [_without_null(row)]}, "")


def _record(values: Mapping[str, Any], kind: Any) -> Any:
    _id(values)
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(complaint(error)) from None


def _json(row: Mapping[str, Any], name: str, kind: Any = Any) -> Any:
    """A column's JSON value, None where it is empty; exports have some of them as values already."""
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        read = msgspec.json.decode(value) if isinstance(value, str) else value
        return msgspec.convert(read, kind | None)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"its {name!r} cannot be read: {complaint(error)}") from None
    except RecursionError:
        raise InvalidRequest(f"its {name!r} is nested too deeply to be read") from None


def _encoded(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _reason(row: Row) -> str | None:
    """JSON in this server's column; a text in some releases of the old one."""
    value = row.get("reasonContent")
    if not isinstance(value, str) or not value:
        return _encoded(value or None)
    try:
        msgspec.json.decode(value)
    except msgspec.DecodeError:
        return _encoded(value)
    return value


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"it has no {name!r}")
    return value


def _id(row: Mapping[str, Any]) -> None:
    if not is_id(row.get("id")):
        raise InvalidRequest("its id is no UUID")


def _created(row: Row) -> str:
    return moment(row.get("createdDate") or row.get("updatedDate"))


def _dated(values: Row) -> Row:
    """With the dates that it has."""
    return {**values, **{name: moment(values[name]) for name in _DATES if values.get(name)}}


def _without_null(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is not None}


def _kinds(*kinds: Kind) -> Mapping[str, Kind]:
    return {kind.name: kind for kind in kinds}


_FLOW: Final = ("chatflowid", tables.flow)
_NAMED: Final = ("id", "name", "createdDate", "updatedDate")
FLOW_COLUMNS: Final = (*_NAMED, "flowData", "type", "deployed", "isPublic", "apikeyid", "category", *_SETTINGS)
CREDENTIAL_COLUMNS: Final = (*_NAMED, "credentialName", "encryptedData")
KEY_COLUMNS: Final = "id keyName apiKey permissions".split()
CHUNK_COLUMNS: Final = "id docId storeId chunkNo pageContent metadata".split()
UPSERT_COLUMNS: Final = "id chatflowid result flowData date".split()
SCHEDULE_COLUMNS: Final = "id targetId cronExpression timezone endDate lastRunAt createdDate updatedDate".split()
STORE_COLUMNS: Final = (*_NAMED, *"description status loaders vectorStoreConfig embeddingConfig".split())
KINDS: Final = _kinds(
    Kind("variables", "variable", (*_NAMED, "value", "type"), tables.variable, variable, unique="name"),
    Kind("tools", "tool", (*_NAMED, "description", "schema", "func"), tables.tool, tool),
    Kind("schedules", "schedule_record", SCHEDULE_COLUMNS, tables.schedule, schedule, _FLOW, "chatflowid"),
    Kind(
        "messages",
        "chat_message",
        [name for name in Message.__struct_fields__ if name != "aborted"],
        tables.message,
        message,
        _FLOW,
    ),
    Kind(
        "feedback",
        "chat_message_feedback",
        Feedback.__struct_fields__,
        tables.feedback,
        feedback,
        ("messageId", tables.message),
        "messageId",
    ),
    Kind("leads", "lead", Lead.__struct_fields__, tables.lead, lead, _FLOW),
    Kind(
        "executions",
        "execution",
        [name for name in ExecutionRow.__struct_fields__ if name not in ("workspaceId", "progress", "flowData")],
        tables.execution,
        execution,
        ("agentflowId", tables.flow),
    ),
)
