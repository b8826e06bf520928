"""Loaders whose chunks are in the vector store; and collections that wait for their deletion, which takes a while."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.migrations import triggers

revision = "0011"
down_revision = "0010"

_OWNED = {
    "flow_collections": ("flow", ["flow/"]),
    "upserted_collections": ("flow", ["upserted/"]),
    "store_collections": ("document_store", ["upserted/", "flow/"]),
}


def change_triggers(work: str) -> None:
    for name, (table, prefixes) in _OWNED.items():
        begins = (f"substr(name, 1, length(old.id) + {len(p) + 1}) = '{p}' || old.id || '/'" for p in prefixes)
        triggers.drop(name)
        triggers.add(name, table, "DELETE", f"{work} WHERE {' OR '.join(begins)}")


def upgrade() -> None:
    op.add_column("document_loader", sa.Column("stored", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE document_loader SET stored = true "
        "WHERE \"storeId\" IN (SELECT id FROM document_store WHERE status = 'UPSERTED')"
    )
    change_triggers("UPDATE collection SET name = 'deleted/' || id")


def downgrade() -> None:
    change_triggers("DELETE FROM collection")
    op.drop_column("document_loader", "stored")
