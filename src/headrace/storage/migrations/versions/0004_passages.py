"""Collections of passages: chunks, their words and vectors, and vectors that were paid for."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import NUMBER, TEXT
from headrace.storage.migrations import triggers

revision = "0004"
down_revision = "0003"

SQLITE = (
    "CREATE VIRTUAL TABLE chunk_text USING fts5("
    "text, content='chunk', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2')",
    "CREATE TRIGGER chunk_added AFTER INSERT ON chunk BEGIN "
    "INSERT INTO chunk_text (rowid, text) VALUES (new.id, new.text); END",
    "CREATE TRIGGER chunk_deleted AFTER DELETE ON chunk BEGIN "
    "INSERT INTO chunk_text (chunk_text, rowid, text) VALUES ('delete', old.id, old.text); END",
)
POSTGRESQL = (
    "CREATE TEXT SEARCH DICTIONARY headrace_stem (TEMPLATE = snowball, LANGUAGE = porter)",
    "CREATE TEXT SEARCH CONFIGURATION headrace_words (COPY = simple)",
    "ALTER TEXT SEARCH CONFIGURATION headrace_words ALTER MAPPING FOR asciiword, word, numword WITH headrace_stem",
    "CREATE TABLE chunk_text (id bigint REFERENCES chunk (id) ON DELETE CASCADE, words tsvector NOT NULL, "
    "length integer NOT NULL, PRIMARY KEY (id) INCLUDE (length))",
    "CREATE INDEX chunk_text_words ON chunk_text USING gin (words)",
)


def text(name: str, *, required: bool = True) -> "sa.Column[str]":
    return sa.Column(name, TEXT, nullable=not required)


def number(name: str, *, required: bool = True) -> "sa.Column[int]":
    return sa.Column(name, NUMBER, nullable=not required)


def upgrade() -> None:
    op.create_table(
        "collection",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("name", TEXT, nullable=False, unique=True),
        text("embedding", required=False),
        number("dimensions", required=False),
        *(number(name) for name in ("next", "version", "upserts")),
        text("fingerprint", required=False),
        text("createdDate"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "chunk",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("collection", NUMBER, sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
        *(text(name) for name in ("source", "key", "hash")),
        number("upsert"),
        *(text(name) for name in ("text", "metadata")),
    )
    op.create_index("chunk_key", "chunk", ["collection", "source", "key"], unique=True)
    op.create_table(
        "chunk_vector",
        sa.Column("id", NUMBER, sa.ForeignKey("chunk.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "embedding_cache",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("key", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
    for statement in POSTGRESQL if triggers.on_postgresql() else SQLITE:
        op.execute(statement)
    named = "substr(name, 1, length(old.id) + 6) = 'flow/' || old.id || '/'"
    triggers.add("flow_collections", "flow", "DELETE", f"DELETE FROM collection WHERE {named}")


def downgrade() -> None:
    triggers.drop("flow_collections")
    for table in ("chunk_text", "chunk_vector", "chunk", "collection", "embedding_cache"):
        op.drop_table(table)
