"""Alembic's entry: runs on the connection that `headrace.storage.migrate` hands over."""

from alembic import context

from headrace.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
