"""The embedded vector store, over SQLite: everything of FTS5, JSON in SQL and vectors in rows, replaceable as one."""
