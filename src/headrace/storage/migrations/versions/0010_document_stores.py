"""Document stores with their loaders and chunks, and the records of what was upserted into stores elsewhere."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import NUMBER, TEXT
from headrace.storage.migrations import triggers

revision = "0010"
down_revision = "0009"


def texts(*names: str) -> "list[sa.Column[str]]":
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def numbers(*names: str) -> "list[sa.Column[int]]":
    return [sa.Column(name, NUMBER, nullable=False) for name in names]


def position() -> "sa.Column[int]":
    return sa.Column("position", NUMBER, primary_key=True, autoincrement=True)


def upgrade() -> None:
    op.create_table(
        "document_store",
        sa.Column("id", TEXT, primary_key=True),
        *texts("name"),
        sa.Column("description", TEXT),
        *texts("status"),
        *(sa.Column(name, TEXT) for name in ("vectorStoreConfig", "embeddingConfig", "recordManagerConfig")),
        *numbers("version"),
        *(sa.Column(name, TEXT) for name in ("owner", "progress")),
        *texts("createdDate", "updatedDate"),
    )
    op.create_table(
        "document_loader",
        position(),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("storeId", TEXT, sa.ForeignKey("document_store.id", ondelete="CASCADE"), nullable=False),
        *texts("loaderId", "loaderName", "loaderConfig", "splitterId", "splitterName", "splitterConfig"),
        sa.Column("credential", TEXT),
        *texts("files", "folder", "fingerprint", "status"),
        *numbers("totalChunks", "totalChars"),
        *texts("failures"),
        *numbers("attempt", "generation", "processed"),
        sa.Column("owner", TEXT),
    )
    op.create_index("document_loader_store", "document_loader", ["storeId", "position"])
    op.create_table(
        "document_chunk",
        position(),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("docId", TEXT, sa.ForeignKey("document_loader.id", ondelete="CASCADE"), nullable=False),
        *numbers("generation", "chunkNo"),
        *texts("pageContent", "metadata"),
    )
    op.create_index("document_chunk_loader", "document_chunk", ["docId", "generation", "chunkNo"])
    op.create_table(
        "upsert_record",
        position(),
        *texts("tableName", "namespace", "key", "source", "docId"),
        sa.Column("seen", sa.Float, nullable=False),
    )
    op.create_index("upsert_record_key", "upsert_record", ["tableName", "namespace", "key"], unique=True)
    op.create_index("upsert_record_source", "upsert_record", ["tableName", "namespace", "source", "seen"])
    for table in ("flow", "document_store"):
        work = "DELETE FROM upsert_record WHERE substr(namespace, 1, length(old.id) + 1) = old.id || '/'"
        triggers.add(f"{table}_records", table, "DELETE", work)
    triggers.add(
        "store_collections",
        "document_store",
        "DELETE",
        "DELETE FROM collection WHERE substr(name, 1, length(old.id) + 10) = 'upserted/' || old.id || '/' "
        "OR substr(name, 1, length(old.id) + 6) = 'flow/' || old.id || '/'",
    )


def downgrade() -> None:
    for name in ("flow_records", "document_store_records", "store_collections"):
        triggers.drop(name)
    for table in ("upsert_record", "document_chunk", "document_loader", "document_store"):
        op.drop_table(table)
