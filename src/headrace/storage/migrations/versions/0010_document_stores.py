"""Document stores with their loaders and chunks, and the records of what was upserted into stores elsewhere."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def texts(*names: str) -> "list[sa.Column[str]]":
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def numbers(*names: str) -> "list[sa.Column[int]]":
    return [sa.Column(name, sa.Integer, nullable=False) for name in names]


def position() -> "sa.Column[int]":
    return sa.Column("position", sa.Integer, primary_key=True, autoincrement=True)


def upgrade() -> None:
    op.create_table(
        "document_store",
        sa.Column("id", sa.Text, primary_key=True),
        *texts("name"),
        sa.Column("description", sa.Text),
        *texts("status"),
        *(sa.Column(name, sa.Text) for name in ("vectorStoreConfig", "embeddingConfig", "recordManagerConfig")),
        *numbers("version"),
        *(sa.Column(name, sa.Text) for name in ("owner", "progress")),
        *texts("createdDate", "updatedDate"),
    )
    op.create_table(
        "document_loader",
        position(),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("storeId", sa.Text, sa.ForeignKey("document_store.id", ondelete="CASCADE"), nullable=False),
        *texts("loaderId", "loaderName", "loaderConfig", "splitterId", "splitterName", "splitterConfig"),
        sa.Column("credential", sa.Text),
        *texts("files", "folder", "fingerprint", "status"),
        *numbers("totalChunks", "totalChars"),
        *texts("failures"),
        *numbers("attempt", "generation", "processed"),
        sa.Column("owner", sa.Text),
    )
    op.create_index("document_loader_store", "document_loader", ["storeId", "position"])
    op.create_table(
        "document_chunk",
        position(),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("docId", sa.Text, sa.ForeignKey("document_loader.id", ondelete="CASCADE"), nullable=False),
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
        op.execute(
            f"CREATE TRIGGER {table}_records AFTER DELETE ON {table} BEGIN "
            "DELETE FROM upsert_record WHERE substr(namespace, 1, length(old.id) + 1) = old.id || '/'; END"
        )
    op.execute(
        "CREATE TRIGGER store_collections AFTER DELETE ON document_store BEGIN DELETE FROM collection "
        "WHERE substr(name, 1, length(old.id) + 10) = 'upserted/' || old.id || '/' "
        "OR substr(name, 1, length(old.id) + 6) = 'flow/' || old.id || '/'; END"
    )


def downgrade() -> None:
    for name in ("flow_records", "document_store_records", "store_collections"):
        op.execute(f"DROP TRIGGER {name}")
    for table in ("upsert_record", "document_chunk", "document_loader", "document_store"):
        op.drop_table(table)
