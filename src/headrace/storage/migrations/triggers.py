"""Triggers in the words of the database that is migrated."""

from __future__ import annotations

from alembic import op


def on_postgresql() -> bool:
    """True when the database is PostgreSQL, else it is SQLite."""
    return op.get_context().dialect.name == "postgresql"


def add(name: str, table: str, change: str, work: str) -> None:
    """Does `work` after each change (INSERT, UPDATE or DELETE) of a row, which was `old` before."""
    if on_postgresql():
        body = f"BEGIN {work}; RETURN NULL; END"
        op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
        op.execute(f"CREATE TRIGGER {name} AFTER {change} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")
    else:
        op.execute(f"CREATE TRIGGER {name} AFTER {change} ON {table} BEGIN {work}; END")


def drop(name: str) -> None:
    """Removes such a trigger."""
    op.execute(f"DROP FUNCTION {name}() CASCADE" if on_postgresql() else f"DROP TRIGGER {name}")
