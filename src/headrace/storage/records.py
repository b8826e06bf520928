"""Records of record managers, in this data folder's own database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select

from headrace.storage.database import Database
from headrace.storage.dialect import among, greater, incoming, put
from headrace.storage.tables import upsert_record

_APART = 0.001  # seconds between two upserts, at least
_VALUES = 100  # records in one statement
_new = incoming(upsert_record)
_KEY = ("tableName", "namespace", "key")
_AGAIN = {"source": _new.source, "docId": _new.docId, "seen": greater(upsert_record.c.seen, _new.seen)}


class Record(NamedTuple):
    """A passage: its key in the vector store, the document that it is from, and the loader of a document store."""

    key: str
    source: str = ""
    loader: str = ""


class OwnRecords:
    """Implements `headrace.retrieval.records.Records` in the table `upsert_record`."""

    def __init__(self, database: Database, table: str, namespace: str) -> None:
        self._database = database
        self._own = {"tableName": table, "namespace": namespace}
        self._here = [upsert_record.c[name] == value for name, value in self._own.items()]

    async def begin(self) -> float:
        """See Records."""
        last = select(func.coalesce(func.max(upsert_record.c.seen), 0)).where(*self._here)
        return max(time.time(), await self._database.read(lambda c: c.execute(last).scalar_one()) + _APART)

    async def saw(self, moment: float, records: Sequence[Record]) -> None:
        """See Records."""
        rows = [
            {**self._own, "key": key, "source": source, "docId": loader, "seen": moment}
            for key, source, loader in records
        ]

        def work(c: Connection) -> None:
            for first in range(0, len(rows), _VALUES):
                put(c, upsert_record, rows[first : first + _VALUES], _KEY, _AGAIN)

        await self._database.write(work)

    async def sources(self) -> list[str]:
        """See Records."""
        statement = select(upsert_record.c.source).where(*self._here).distinct()
        return await self._database.scan(lambda c: list(c.execute(statement).scalars()))

    async def unseen(self, moment: float, sources: Sequence[str], most: int) -> list[str]:
        """See Records."""
        return await self._keys(most, among(upsert_record.c.source, sources), upsert_record.c.seen < moment)

    async def of_loaders(self, loaders: Sequence[str], most: int) -> list[str]:
        """See Records."""
        return await self._keys(most, among(upsert_record.c.docId, loaders))

    async def _keys(self, most: int, *conditions: Any) -> list[str]:
        statement = select(upsert_record.c.key).where(*self._here, *conditions).limit(most)
        return await self._database.scan(lambda c: list(c.execute(statement).scalars()))

    async def forget(self, keys: Sequence[str]) -> None:
        """See Records."""
        statement = delete(upsert_record).where(*self._here, among(upsert_record.c.key, keys))
        await self._database.write(lambda c: c.execute(statement))
