"""The tables of the embedded vector store, with SQLite's full text and the triggers that keep it whole.

On PostgreSQL the migrations alone make `chunk_text`, with a row for each chunk.
"""

from __future__ import annotations

from sqlalchemy import DDL, Column, ForeignKey, Index, LargeBinary, Table, event

from headrace.storage.dialect import NUMBER, TEXT
from headrace.storage.tables import metadata

collection = Table(
    "collection",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("name", TEXT, nullable=False, unique=True),
    Column("embedding", TEXT),
    Column("dimensions", NUMBER),
    Column("next", NUMBER, nullable=False),
    Column("version", NUMBER, nullable=False),
    Column("upserts", NUMBER, nullable=False),
    Column("fingerprint", TEXT),
    Column("createdDate", TEXT, nullable=False),
    sqlite_autoincrement=True,
)
"""`embedding` names what made the vectors (null: words only), `next` numbers the next chunk, `version` counts changes
of the chunks, `upserts` those begun; `fingerprint` is what was completely upserted last."""

chunk = Table(
    "chunk",
    metadata,
    Column("id", NUMBER, primary_key=True),
    Column("collection", NUMBER, ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    Column("source", TEXT, nullable=False),
    Column("key", TEXT, nullable=False),
    Column("hash", TEXT, nullable=False),
    Column("upsert", NUMBER, nullable=False),
    Column("text", TEXT, nullable=False),
    Column("metadata", TEXT, nullable=False),
    Index("chunk_key", "collection", "source", "key", unique=True),
)
"""A passage. Its id is the collection's times 2 ** 32 and a number that is never used again, so a range of ids is a
collection, also in the full text; `upsert` is the last one that saw it."""

chunk_vector = Table(
    "chunk_vector",
    metadata,
    Column("id", NUMBER, ForeignKey("chunk.id", ondelete="CASCADE"), primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)
"""float32, little-endian, as the model gave it."""

embedding_cache = Table(
    "embedding_cache",
    metadata,
    Column("id", NUMBER, primary_key=True),
    Column("key", LargeBinary, nullable=False, unique=True),
    Column("vector", LargeBinary, nullable=False),
)
"""Vectors by the hash of model and text. An id is the number of bytes ever stored, so the newest bytes are a range."""

FULL_TEXT = (
    "CREATE VIRTUAL TABLE chunk_text USING fts5("
    "text, content='chunk', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2')",
    "CREATE TRIGGER chunk_added AFTER INSERT ON chunk BEGIN "
    "INSERT INTO chunk_text (rowid, text) VALUES (new.id, new.text); END",
    "CREATE TRIGGER chunk_deleted AFTER DELETE ON chunk BEGIN "
    "INSERT INTO chunk_text (chunk_text, rowid, text) VALUES ('delete', old.id, old.text); END",
    "CREATE TRIGGER flow_collections AFTER DELETE ON flow BEGIN UPDATE collection SET name = 'deleted/' || id "
    "WHERE substr(name, 1, length(old.id) + 6) = 'flow/' || old.id || '/'; END",
    "CREATE TRIGGER upserted_collections AFTER DELETE ON flow BEGIN UPDATE collection SET name = 'deleted/' || id "
    "WHERE substr(name, 1, length(old.id) + 10) = 'upserted/' || old.id || '/'; END",
)
"""The words of all chunks, whose texts are never changed in place; and the collections of a flow lose their names with
it: deleting their chunks takes a while, and other writes would wait for it."""
for _statement in FULL_TEXT:
    event.listen(chunk, "after_create", DDL(_statement).execute_if(dialect="sqlite"))
