"""Alembic's entry: runs on the connection that `headrace.store.migrate` hands over."""

from alembic import context

from headrace.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
