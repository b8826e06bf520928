"""One key for all servers on one PostgreSQL: the database says by a digest which one its secrets are sealed with."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from headrace.storage.database import Database
from headrace.storage.encryption import Seal
from headrace.storage.postgres import UnusableDatabase
from headrace.storage.tables import seal as table


def check(database: Database, seal: Seal) -> None:
    """Makes the key that of the database if it has none yet. Blocking. Raises UnusableDatabase for another one."""

    def work(c: Connection) -> str:
        known = c.execute(select(table.c.digest)).scalar()
        if known is None:
            c.execute(insert(table), {"digest": seal.digest})
        return known or seal.digest

    if database.at_once(work) != seal.digest:
        raise UnusableDatabase(
            "the secrets in this database are sealed with another key: put the secret.key of the first server's "
            "data folder into this one, or set HEADRACE_SECRET_KEY to what it holds on all servers"
        )
