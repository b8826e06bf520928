"""The history of each document store's upserts."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import NUMBER, TEXT

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "store_upsert_history",
        sa.Column("position", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("chatflowid", TEXT, sa.ForeignKey("document_store.id", ondelete="CASCADE"), nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("result", "flowData", "date")),
    )
    op.create_index("store_upsert_history_flow", "store_upsert_history", ["chatflowid", "position"])


def downgrade() -> None:
    op.drop_table("store_upsert_history")
