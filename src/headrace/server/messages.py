"""Stored chat messages of a flow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, delete, get
from litestar.params import QueryParameter
from msgspec import UNSET, UnsetType

from headrace.errors import InvalidRequest
from headrace.schema import Feedback, Message
from headrace.server.auth import local, needs
from headrace.server.pagination import Deleted
from headrace.server.predictions import FlowId
from headrace.storage.rows import MessageFilter


class ShownMessage(Message, kw_only=True):
    """A message with the execution that it is of, and, where they are asked for, its rating."""

    execution: Any = None
    feedback: Feedback | UnsetType | None = UNSET


ChatTypes = Annotated[
    list[str] | None, QueryParameter(name="chatType", description="One or more; a JSON list is taken too.")
]


RatingTypes = Annotated[
    list[str] | None, QueryParameter(name="feedbackType", description="Only answers rated so, and their questions.")
]


def _list(given: list[str] | None, name: str) -> Sequence[str]:
    """Texts that may be given once, several times, or as a JSON list."""
    if given and len(given) == 1 and given[0].startswith("["):
        try:
            return msgspec.json.decode(given[0], type=list[str])
        except msgspec.MsgspecError:
            raise InvalidRequest(f"{name} {given[0]!r} is not a JSON list of texts") from None
    return given or ()


@get(
    ["/api/v1/chatmessage/{flow_id:str}", "/api/v1/internal-chatmessage/{flow_id:str}"],
    guards=[needs("chatflows:view")],
    summary="Read messages",
    tags=["messages"],
)
async def list_messages(
    request: Request[Any, Any, Any],
    flow_id: FlowId,
    chat_types: ChatTypes = None,
    rating_types: RatingTypes = None,
    order: Literal["ASC", "DESC"] = "ASC",
    chatId: str | None = None,  # noqa: N803 Flowise's name
    sessionId: str | None = None,  # noqa: N803
    memoryType: str | None = None,  # noqa: N803
    messageId: str | None = None,  # noqa: N803
    startDate: str | None = None,  # noqa: N803
    endDate: str | None = None,  # noqa: N803
    feedback: bool = False,
    page: int = 0,
    limit: int = 0,
) -> list[ShownMessage]:
    """Messages of a flow in the order they were stored; with `feedback` each has its rating or null.

    With it, `feedbackType` leaves only answers rated so and their questions, and `page` only `limit` sessions.
    """
    wanted = MessageFilter(chatId, sessionId, memoryType, messageId, _list(chat_types, "chatType"), startDate, endDate)
    here = local(request)
    await here.storage.flow(flow_id)
    rows = await here.storage.messages(flow_id, wanted, newest_first=order == "DESC")
    ratings: dict[str, Feedback] = {}
    if feedback:
        ratings = {found.messageId: found for found in await here.ratings.of_flow(flow_id, chatId)}
        if kinds := _list(rating_types, "feedbackType"):
            answers = {key for key, found in ratings.items() if found.rating in kinds}
            rows = _rated(rows, answers, newest_first=order == "DESC")
        if page > 0 and limit > 0 and not sessionId and not messageId:
            rows = _of_page(rows, page, limit, newest_first=order == "DESC")
    executions = await here.executions.some([row.executionId for row in rows if row.executionId])
    return [
        ShownMessage(
            **msgspec.structs.asdict(row),
            execution=executions.get(row.executionId or ""),
            feedback=ratings.get(row.id) if feedback else UNSET,
        )
        for row in rows
    ]


def _rated(rows: Sequence[Message], answers: set[str], *, newest_first: bool) -> list[Message]:
    """These answers, and their questions: a turn's two messages are stored together."""
    stored = rows[::-1] if newest_first else rows
    asked = {one.id for one, two in pairwise(stored) if two.id in answers and one.chatId == two.chatId}
    return [row for row in rows if row.id in answers or (row.id in asked and row.role == "userMessage")]


def _of_page(rows: Sequence[Message], page: int, limit: int, *, newest_first: bool) -> list[Message]:
    """The messages of so many sessions, which stand in the order of their newest messages."""
    newest = [row.sessionId for row in (rows if newest_first else rows[::-1])]
    sessions = list(dict.fromkeys(newest))
    sessions = sessions if newest_first else sessions[::-1]
    shown = set(sessions[(page - 1) * limit : page * limit])
    return [row for row in rows if row.sessionId in shown]


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
) -> Deleted:
    """Deletes messages of a flow: all, or those that the query names. A chat goes with its files and passages."""
    wanted = MessageFilter(chatId, sessionId, memoryType, None, _list(chat_types, "chatType"), startDate, endDate)
    here = local(request)
    await here.storage.flow(flow_id)
    count = await here.storage.delete_messages(flow_id, wanted)
    if wanted == MessageFilter(chatId):
        await here.uploads.forget(flow_id, chatId)
        await here.library.forget_chats(flow_id, chatId)
    return Deleted(count)


ROUTES = (list_messages, delete_messages)
