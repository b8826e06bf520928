"""The newest upserts of each flow or document store, each in a row of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, Delete, Table, delete, insert, select
from sqlalchemy.exc import IntegrityError

from headrace.engine.ports import Upserted
from headrace.errors import NotFound
from headrace.events import Document
from headrace.schema import NodeData
from headrace.storage.database import Database
from headrace.storage.load_failures import kept
from headrace.storage.storage import timestamp
from headrace.storage.tables import upsert_history

_KEPT = 1000
"""Upserts of a flow or a document store: six weeks of hourly ones."""
_SHOWN = 100
_SHOWN_BYTES = 20_000
"""Documents of `addedDocs` that a row keeps, and what their JSON takes together; the counts are of all."""


class UpsertRow(msgspec.Struct):
    """One upsert: when, what it did, and the nodes that took part; `chatflowid` may be a document store's id."""

    id: str
    chatflowid: str
    result: dict[str, Any]
    flowData: list[dict[str, str]]
    date: str


class UpsertHistory:
    """The table `upsert_history` of flows, or `store_upsert_history` of document stores."""

    def __init__(self, database: Database, table: Table = upsert_history) -> None:
        self._database, self._table = database, table

    async def add(self, owner: str, done: Upserted, nodes: Sequence[NodeData]) -> UpsertRow:
        """Keeps what an upsert did, with the first documents and failures; the oldest beyond a thousand go.

        Raises NotFound when the flow or document store was deleted meanwhile.
        """
        shown = msgspec.structs.replace(done, addedDocs=_shown_documents(done.addedDocs), failures=kept(done.failures))
        result = {**msgspec.to_builtins(shown), "numFailed": len(done.failures)}
        took_part = [{"id": n.id, "label": n.label, "name": n.name, "category": n.category} for n in nodes]
        row = UpsertRow(str(uuid4()), owner, result, took_part, timestamp())
        texts = {name: msgspec.json.encode(getattr(row, name)).decode() for name in ("result", "flowData")}
        statement = insert(self._table).values(**{**msgspec.structs.asdict(row), **texts})

        def work(c: Connection) -> None:
            c.execute(statement)
            c.execute(_beyond(self._table, owner))

        try:
            await self._database.write(work)
        except IntegrityError:
            raise NotFound(f"{owner!r} was deleted during the upsert: what was stored for it is gone") from None
        return row

    async def of(
        self, owner: str, start: str | None = None, end: str | None = None, *, newest_first: bool = False
    ) -> list[UpsertRow]:
        """The upserts of a flow or document store between two dates."""
        table = self._table.c
        statement = select(self._table).where(table.chatflowid == owner)
        statement = statement.where(table.date >= start) if start else statement
        statement = statement.where(table.date <= end) if end else statement
        statement = statement.order_by(table.position.desc() if newest_first else table.position)
        return await self._database.scan(lambda c: [_read(row) for row in c.execute(statement).mappings()])

    async def delete(self, ids: Sequence[str]) -> int:
        """Deletes entries and says how many; what was upserted stays."""
        statement = delete(self._table).where(self._table.c.id.in_(ids))
        return await self._database.write(lambda c: c.execute(statement).rowcount)


def _shown_documents(documents: list[Document]) -> list[Document]:
    sizes = accumulate(len(msgspec.json.encode(document)) for document in documents[:_SHOWN])
    return documents[: sum(1 for _ in takewhile(lambda size: size <= _SHOWN_BYTES, sizes))]


def _beyond(history: Table, owner: str) -> Delete:
    """Deletes upserts that are older than those which are kept."""
    table = history.c
    own = select(table.position).where(table.chatflowid == owner)
    oldest = own.order_by(table.position.desc()).offset(_KEPT - 1).limit(1).scalar_subquery()
    return delete(history).where(table.chatflowid == owner, table.position < oldest)


def _read(row: Any) -> UpsertRow:
    result, nodes = (msgspec.json.decode(row[name]) for name in ("result", "flowData"))
    return UpsertRow(row["id"], row["chatflowid"], result, nodes, row["date"])
