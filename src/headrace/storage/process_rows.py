"""Says which processes on one PostgreSQL are alive: each has a row with its last sign of life, by the database's clock.

Whoever finds an old row deletes it, and may then close the runs of its process. A transaction that appends events holds
its own process's row, so that one of both comes first; a process without a row stores nothing of runs that it has lost.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from headrace.storage.database import Database
from headrace.storage.tables import process

BEAT: Final = 5.0  # seconds between signs of life
_PATIENCE: Final = timedelta(seconds=15)
_stale = process.c.seen < func.now() - _PATIENCE
_HOLD = select(process.c.id).where(process.c.id == bindparam("own")).with_for_update(read=True, key_share=True)


def anyone(c: Connection) -> bool:
    """True when a process on the database gives signs of life."""
    return c.execute(select(process.c.id).where(~_stale).limit(1)).first() is not None


class ProcessRow:
    """Implements `headrace.storage.presence.Presence` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Blocking. Raises StorageError."""
        self.id, self.retired = secrets.token_hex(8), False
        self._database = database
        self._asked: set[str] = set()
        self._gone: set[str] = set()
        database.at_once(self.enter)

    @property
    def alone(self) -> bool:
        """False: another process may come at any moment."""
        return False

    def seen(self, c: Connection) -> bool:
        """See Presence."""
        self.retired = self.retired or c.execute(_HOLD, {"own": self.id}).first() is None
        return not self.retired

    def gone(self, owner: str) -> bool:
        """See Presence. Of a process that was never asked for, the next sign of life brings the answer."""
        self._asked.add(owner)
        return owner in self._gone

    def departed(self, c: Connection, owners: Sequence[str]) -> list[str]:
        """See Presence."""
        known = set(c.execute(select(process.c.id)).scalars())
        stale = set(c.execute(select(process.c.id).where(_stale)).scalars())
        return sorted((stale | set(owners) - known) - {self.id})

    def retire(self, c: Connection, owner: str) -> bool:
        """See Presence."""
        c.execute(delete(process).where(process.c.id == owner, _stale))
        if c.execute(select(process.c.id).where(process.c.id == owner)).first():
            return False
        self._gone.add(owner)
        return True

    async def beat(self) -> None:
        """See Presence."""
        asked = self._asked - self._gone
        self._gone |= asked - await self._database.write(self._beat, alone=False)

    def _beat(self, c: Connection) -> set[str]:
        """The processes that have rows."""
        own = process.c.id == self.id
        if not self.retired:
            self.retired = not c.execute(update(process).where(own).values(seen=func.now())).rowcount
        return set(c.execute(select(process.c.id)).scalars())

    def enter(self, c: Connection) -> None:
        """See Presence."""
        c.execute(insert(process).values(id=self.id, seen=func.now()))

    def close(self) -> None:
        """See Presence."""
        self._database.at_once(lambda c: c.execute(delete(process).where(process.c.id == self.id)) and None)
