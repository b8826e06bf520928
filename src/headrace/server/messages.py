"""Stored chat messages of a flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, delete, get
from litestar.params import QueryParameter

from headrace.errors import InvalidRequest
from headrace.server.auth import local, needs
from headrace.server.predictions import FlowId
from headrace.store.store import MessageFilter

ChatTypes = Annotated[
    list[str] | None, QueryParameter(name="chatType", description="One or more; a JSON list is taken too.")
]


def _types(given: list[str] | None) -> Sequence[str]:
    """`chatType` may be given once, several times, or as a JSON list."""
    if given and len(given) == 1 and given[0].startswith("["):
        try:
            return msgspec.json.decode(given[0], type=list[str])
        except msgspec.MsgspecError:
            raise InvalidRequest(f"chatType {given[0]!r} is not a JSON list of texts") from None
    return given or ()


@get("/api/v1/chatmessage/{flow_id:str}", guards=[needs("chatflows:view")], summary="Read messages", tags=["messages"])
async def list_messages(
    request: Request[Any, Any, Any],
    flow_id: FlowId,
    chat_types: ChatTypes = None,
    order: Literal["ASC", "DESC"] = "ASC",
    chatId: str | None = None,  # noqa: N803 Flowise's name
    sessionId: str | None = None,  # noqa: N803
    memoryType: str | None = None,  # noqa: N803
    messageId: str | None = None,  # noqa: N803
    startDate: str | None = None,  # noqa: N803
    endDate: str | None = None,  # noqa: N803
) -> list[dict[str, Any]]:
    """Messages of a flow in the order they were stored."""
    wanted = MessageFilter(chatId, sessionId, memoryType, messageId, _types(chat_types), startDate, endDate)
    here = local(request)
    await here.store.flow(flow_id)
    rows = await here.store.messages(flow_id, wanted, newest_first=order == "DESC")
    executions = await here.executions.some([row.executionId for row in rows if row.executionId])
    return [{**msgspec.structs.asdict(row), "execution": executions.get(row.executionId or "")} for row in rows]


@delete(
    "/api/v1/chatmessage/{flow_id:str}",
    guards=[needs("chatflows:delete")],
    status_code=200,
    summary="Delete messages",
    tags=["messages"],
)
async def delete_messages(
    request: Request[Any, Any, Any],
    flow_id: FlowId,
    chat_types: ChatTypes = None,
    chatId: str | None = None,  # noqa: N803
    sessionId: str | None = None,  # noqa: N803
    memoryType: str | None = None,  # noqa: N803
    startDate: str | None = None,  # noqa: N803
    endDate: str | None = None,  # noqa: N803
) -> dict[str, Any]:
    """Deletes messages of a flow: all of them, or those that the query names. A whole chat takes its files with it."""
    wanted = MessageFilter(chatId, sessionId, memoryType, None, _types(chat_types), startDate, endDate)
    here = local(request)
    await here.store.flow(flow_id)
    count = await here.store.delete_messages(flow_id, wanted)
    if wanted == MessageFilter(chatId):
        await here.uploads.forget(flow_id, chatId)
    return {"raw": [], "affected": count}


ROUTES = (list_messages, delete_messages)
