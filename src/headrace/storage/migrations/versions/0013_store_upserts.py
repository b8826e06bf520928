"""The history of each document store's upserts."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "store_upsert_history",
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("chatflowid", sa.Text, sa.ForeignKey("document_store.id", ondelete="CASCADE"), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("result", "flowData", "date")),
    )
    op.create_index("store_upsert_history_flow", "store_upsert_history", ["chatflowid", "position"])


def downgrade() -> None:
    op.drop_table("store_upsert_history")
