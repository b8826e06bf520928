"""Feedback and contact details that visitors of a chat leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, RowMapping, Select, insert, select, update
from sqlalchemy.exc import IntegrityError

from headrace.errors import FlowNotFound, InvalidRequest, NotFound
from headrace.schema import Feedback, Lead
from headrace.storage.database import Database
from headrace.storage.storage import timestamp
from headrace.storage.tables import feedback, lead, message

_T = TypeVar("_T")


class Ratings:
    """The table `feedback`: one for an answer; it goes with its message."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, flow: str, message_id: str, rating: str, content: str | None, chat: str | None) -> Feedback:
        """Rates an answer of the flow; another time changes it. Raises NotFound, InvalidRequest for another chat."""
        return await self._database.write(lambda c: _put(c, flow, message_id, rating, content, chat))

    async def change(self, feedback_id: str, changes: Mapping[str, Any]) -> None:
        """Stores changed columns. Raises NotFound."""
        statement = update(feedback).where(feedback.c.id == feedback_id).values(**changes)
        if not await self._database.write(lambda c: c.execute(statement).rowcount):
            raise NotFound(f"there is no feedback {feedback_id!r}")

    async def one(self, feedback_id: str) -> Feedback:
        """One feedback. Raises NotFound."""
        row = await self._database.read(
            lambda c: c.execute(_joined().where(feedback.c.id == feedback_id)).mappings().one_or_none()
        )
        if row is None:
            raise NotFound(f"there is no feedback {feedback_id!r}")
        return _read(row, Feedback)

    async def of_flow(
        self,
        flow: str,
        chat: str | None = None,
        start: str | None = None,
        end: str | None = None,
        *,
        newest_first: bool = False,
    ) -> list[Feedback]:
        """The feedback on a flow's answers, of one chat or of all, between two dates."""
        conditions = [message.c.chatflowid == flow]
        if chat:
            conditions.append(message.c.chatId == chat)
        if start:
            conditions.append(feedback.c.createdDate >= start)
        if end:
            conditions.append(feedback.c.createdDate <= end)
        position = feedback.c.position
        statement = _joined().where(*conditions).order_by(position.desc() if newest_first else position)
        return await self._database.scan(lambda c: [_read(row, Feedback) for row in c.execute(statement).mappings()])


def _put(c: Connection, flow: str, message_id: str, rating: str, content: str | None, chat: str | None) -> Feedback:
    found = c.execute(select(message.c.chatflowid, message.c.chatId).where(message.c.id == message_id)).one_or_none()
    if found is None or found.chatflowid != flow:
        raise NotFound(f"this flow has no message {message_id!r}")
    if chat and found.chatId != chat:
        raise InvalidRequest(f"the message {message_id!r} is not of the chat {chat!r}")
    said = {"rating": rating, "content": content}
    if not c.execute(update(feedback).where(feedback.c.messageId == message_id).values(**said)).rowcount:
        new = {"id": str(uuid4()), "messageId": message_id, "createdDate": timestamp(), **said}
        c.execute(insert(feedback).values(**new))
    return _read(c.execute(_joined().where(feedback.c.messageId == message_id)).mappings().one(), Feedback)


def _joined() -> Select[*tuple[Any, ...]]:
    own = [feedback.c[name] for name in ("id", "messageId", "rating", "content", "createdDate")]
    return select(*own, message.c.chatflowid, message.c.chatId).join(message, message.c.id == feedback.c.messageId)


class Leads:
    """The table `lead`: visitors who said how to reach them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: Lead) -> Lead:
        """Stores a lead. Raises FlowNotFound when the flow has been deleted."""
        new = msgspec.structs.replace(row, id=str(uuid4()), createdDate=timestamp())
        statement = insert(lead).values(**msgspec.structs.asdict(new))
        try:
            await self._database.write(lambda c: c.execute(statement))
        except IntegrityError:
            raise FlowNotFound(f"there is no flow {row.chatflowid!r} on this server") from None
        return new

    async def of_flow(self, flow: str) -> Sequence[Lead]:
        """A flow's leads, oldest first."""
        columns = [column for column in lead.c if column.name != "position"]
        statement = select(*columns).where(lead.c.chatflowid == flow).order_by(lead.c.position)
        return await self._database.scan(lambda c: [_read(row, Lead) for row in c.execute(statement).mappings()])


def _read(row: RowMapping, kind: type[_T]) -> _T:
    # Column names are a subclass of str, which msgspec does not take as keys.
    return msgspec.convert({str(name): value for name, value in row.items()}, kind)
