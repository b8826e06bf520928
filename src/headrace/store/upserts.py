"""What was upserted into the stores of each flow, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from headrace.engine.ports import Upserted
from headrace.errors import FlowNotFound
from headrace.schema import NodeData
from headrace.store.database import Database
from headrace.store.store import timestamp
from headrace.store.tables import upsert_history

_SHOWN = 100
"""Documents of `addedDocs` that the history keeps; the counts are of all."""


class UpsertRow(msgspec.Struct):
    """One upsert: when, what it did, and the nodes that took part."""

    id: str
    chatflowid: str
    result: dict[str, Any]
    flowData: list[dict[str, str]]
    date: str


class UpsertHistory:
    """The table `upsert_history`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, flow_id: str, done: Upserted, nodes: Sequence[NodeData]) -> UpsertRow:
        """Keeps what an upsert did. Raises FlowNotFound when the flow was deleted meanwhile."""
        shown = msgspec.structs.replace(done, addedDocs=done.addedDocs[:_SHOWN])
        took_part = [{"id": n.id, "label": n.label, "name": n.name, "category": n.category} for n in nodes]
        row = UpsertRow(str(uuid4()), flow_id, msgspec.to_builtins(shown), took_part, timestamp())
        texts = {name: msgspec.json.encode(getattr(row, name)).decode() for name in ("result", "flowData")}
        statement = insert(upsert_history).values(**{**msgspec.structs.asdict(row), **texts})
        try:
            await self._database.write(lambda c: c.execute(statement))
        except IntegrityError:
            raise FlowNotFound("the flow was deleted during the upsert: what was stored for it is gone") from None
        return row

    async def of_flow(
        self, flow_id: str, start: str | None = None, end: str | None = None, *, newest_first: bool = False
    ) -> list[UpsertRow]:
        """The upserts of a flow between two dates."""
        table = upsert_history.c
        statement = select(upsert_history).where(table.chatflowid == flow_id)
        statement = statement.where(table.date >= start) if start else statement
        statement = statement.where(table.date <= end) if end else statement
        statement = statement.order_by(table.position.desc() if newest_first else table.position)
        return await self._database.scan(lambda c: [_read(row) for row in c.execute(statement).mappings()])

    async def delete(self, ids: Sequence[str]) -> int:
        """Deletes entries and says how many; what was upserted stays."""
        statement = delete(upsert_history).where(upsert_history.c.id.in_(ids))
        return await self._database.write(lambda c: c.execute(statement).rowcount)


def _read(row: Any) -> UpsertRow:
    result, nodes = (msgspec.json.decode(row[name]) for name in ("result", "flowData"))
    return UpsertRow(row["id"], row["chatflowid"], result, nodes, row["date"])
