"""Collections of passages: chunks, their words and vectors, and vectors that were paid for."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def text(name: str, *, required: bool = True) -> "sa.Column[str]":
    return sa.Column(name, sa.Text, nullable=not required)


def number(name: str, *, required: bool = True) -> "sa.Column[int]":
    return sa.Column(name, sa.Integer, nullable=not required)


def upgrade() -> None:
    op.create_table(
        "collection",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        text("embedding", required=False),
        number("dimensions", required=False),
        *(number(name) for name in ("next", "version", "upserts")),
        text("fingerprint", required=False),
        text("createdDate"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "chunk",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("collection", sa.Integer, sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
        *(text(name) for name in ("source", "key", "hash")),
        number("upsert"),
        *(text(name) for name in ("text", "metadata")),
    )
    op.create_index("chunk_key", "chunk", ["collection", "source", "key"], unique=True)
    op.create_table(
        "chunk_vector",
        sa.Column("id", sa.Integer, sa.ForeignKey("chunk.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "embedding_cache",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
    op.execute(
        "CREATE VIRTUAL TABLE chunk_text USING fts5("
        "text, content='chunk', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2')"
    )
    op.execute(
        "CREATE TRIGGER chunk_added AFTER INSERT ON chunk BEGIN "
        "INSERT INTO chunk_text (rowid, text) VALUES (new.id, new.text); END"
    )
    op.execute(
        "CREATE TRIGGER chunk_deleted AFTER DELETE ON chunk BEGIN "
        "INSERT INTO chunk_text (chunk_text, rowid, text) VALUES ('delete', old.id, old.text); END"
    )
    op.execute(
        "CREATE TRIGGER flow_collections AFTER DELETE ON flow BEGIN "
        "DELETE FROM collection WHERE substr(name, 1, length(old.id) + 6) = 'flow/' || old.id || '/'; END"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER flow_collections")
    for table in ("chunk_text", "chunk_vector", "chunk", "collection", "embedding_cache"):
        op.drop_table(table)
