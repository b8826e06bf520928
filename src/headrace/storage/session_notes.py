"""Notes of memories on a session, such as a summary. Deleting a message deletes its session's notes."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from headrace.errors import FlowNotFound
from headrace.storage.database import Database
from headrace.storage.dialect import put
from headrace.storage.tables import note


class SessionNotes:
    """Implements `headrace.engine.ports.Notes` for a session of a flow."""

    def __init__(self, database: Database, flow: str, session: str) -> None:
        self._database = database
        self._key = {"chatflowid": flow, "sessionId": session}

    async def get(self, name: str) -> str | None:
        """See Notes."""
        where = [note.c[key] == value for key, value in {**self._key, "name": name}.items()]
        return await self._database.read(lambda c: c.execute(select(note.c.text).where(*where)).scalar_one_or_none())

    async def put(self, name: str, text: str) -> None:
        """See Notes. Raises FlowNotFound when the flow has been deleted."""

        def work(c: Connection) -> None:
            put(c, note, [{**self._key, "name": name, "text": text}], (*self._key, "name"), ["text"])

        try:
            await self._database.write(work)
        except IntegrityError:
            raise FlowNotFound("the flow was deleted during the run") from None
