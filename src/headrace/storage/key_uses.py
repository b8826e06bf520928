"""When each API key was used last, written down in groups: a row for every request would cost more than the check."""

from __future__ import annotations

from collections.abc import Mapping
from time import time

from sqlalchemy import Connection, select

from headrace.storage.database import Database
from headrace.storage.dialect import greater, incoming, put
from headrace.storage.storage import timestamp
from headrace.storage.tables import api_key, key_use

_LATER = {"date": greater(key_use.c.date, incoming(key_use).date)}


class KeyUses:
    """The last uses of keys, those of this process in memory until `write`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[str, float] = {}

    def note(self, key_id: str) -> None:
        """Notes that a key is used now."""
        self._seen[key_id] = time()

    async def write(self) -> None:
        """Stores what is in memory. Raises StorageError; then it is stored with the next call."""
        seen, self._seen = self._seen, {}
        if not seen:
            return
        try:
            await self._database.write(lambda c: _store(c, seen))
        except BaseException:
            self._seen = seen | self._seen
            raise

    async def dates(self) -> Mapping[str, str]:
        """The last use of every key that has been used, by its id. Other processes' last minute may be missing."""
        rows = await self._database.read(lambda c: [(row.key, row.date) for row in c.execute(select(key_use))])
        return {**dict(rows), **{key: timestamp(seconds) for key, seconds in self._seen.items()}}


def _store(connection: Connection, seen: Mapping[str, float]) -> None:
    there = set(connection.scalars(select(api_key.c.id)))
    rows = [{"key": key, "date": timestamp(seconds)} for key, seconds in seen.items() if key in there]
    if rows:
        put(connection, key_use, rows, ["key"], _LATER)
