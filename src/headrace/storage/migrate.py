"""Brings a database to the newest schema. Alembic is loaded only when there is something to do."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from headrace.storage.dialect import connected, migrating

NEWEST = "0021"
"""Revision that the code expects; a test compares it with the scripts in `migrations/versions`."""


def migrate(engine: Engine) -> None:
    """Runs the migrations that the database lacks."""
    if _current(engine) == NEWEST:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with connected(engine, writes=True) as connection, connection.begin():
        migrating(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _current(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
