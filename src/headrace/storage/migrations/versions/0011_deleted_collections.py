"""Loaders whose chunks are in the vector store; and collections that wait for their deletion, which takes a while."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_OWNED = {
    "flow_collections": ("flow", ["flow/"]),
    "upserted_collections": ("flow", ["upserted/"]),
    "store_collections": ("document_store", ["upserted/", "flow/"]),
}


def triggers(work: str) -> None:
    for name, (table, prefixes) in _OWNED.items():
        begins = (f"substr(name, 1, length(old.id) + {len(p) + 1}) = '{p}' || old.id || '/'" for p in prefixes)
        op.execute(f"DROP TRIGGER {name}")
        op.execute(f"CREATE TRIGGER {name} AFTER DELETE ON {table} BEGIN {work} WHERE {' OR '.join(begins)}; END")


def upgrade() -> None:
    op.add_column("document_loader", sa.Column("stored", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE document_loader SET stored = 1 "
        "WHERE \"storeId\" IN (SELECT id FROM document_store WHERE status = 'UPSERTED')"
    )
    triggers("UPDATE collection SET name = 'deleted/' || id")


def downgrade() -> None:
    triggers("DELETE FROM collection")
    op.drop_column("document_loader", "stored")
