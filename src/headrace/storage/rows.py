"""Rows of the database as records, and records as rows: some columns hold JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import RowMapping

from headrace.schema import FileUpload, MemoryMessage, Role
from headrace.storage import tables

_T = TypeVar("_T")
_JSON = frozenset(
    "sourceDocuments usedTools fileAnnotations agentReasoning reasonContent fileUploads artifacts action".split()
)
_FLAGS = ("deployed", "isPublic")  # older rows have null


class MessageFilter(msgspec.Struct, frozen=True):
    """Which messages of a flow are meant; None means any."""

    chatId: str | None = None
    sessionId: str | None = None
    memoryType: str | None = None
    messageId: str | None = None
    chatTypes: Sequence[str] = ()
    startDate: str | None = None
    endDate: str | None = None


def conditions(flow_id: str, wanted: MessageFilter) -> list[Any]:
    """The conditions on the messages of a flow that a filter means."""
    columns = tables.message.c
    equal = {
        columns.chatId: wanted.chatId,
        columns.sessionId: wanted.sessionId,
        columns.memoryType: wanted.memoryType,
        columns.id: wanted.messageId,
    }
    conditions = [columns.chatflowid == flow_id, *(column == value for column, value in equal.items() if value)]
    if wanted.chatTypes:
        conditions.append(columns.chatType.in_(wanted.chatTypes))
    if wanted.startDate:
        conditions.append(columns.createdDate >= wanted.startDate)
    if wanted.endDate:
        conditions.append(columns.createdDate <= wanted.endDate)
    return conditions


def memory_message(role: Role, content: str, uploads: str | None, chat: str, tools: str | None) -> MemoryMessage:
    """The message that these columns of a row hold."""
    files = msgspec.json.decode(uploads, type=list[FileUpload]) if uploads else ()
    return MemoryMessage(role, content, files, chat if files else "", msgspec.json.decode(tools) if tools else ())


def record(row: RowMapping, kind: type[_T]) -> _T:
    """The record of a row."""
    # Column names are a subclass of str, which msgspec does not take as keys.
    return msgspec.convert({str(name): _parsed(name, value) for name, value in row.items()}, kind)


def _parsed(name: str, value: Any) -> Any:
    if name in _FLAGS:
        return bool(value)
    return msgspec.json.decode(value) if value is not None and name in (*_JSON, "permissions") else value


def column(name: str, value: Any) -> Any:
    """The value of a field as its column holds it."""
    return msgspec.json.encode(value).decode() if value is not None and name in _JSON else value
