"""The history of each flow's upserts; collections that upserts filled are deleted with their flow."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import NUMBER, TEXT
from headrace.storage.migrations import triggers

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "upsert_history",
        sa.Column("position", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("chatflowid", TEXT, sa.ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("result", "flowData", "date")),
    )
    op.create_index("upsert_history_flow", "upsert_history", ["chatflowid", "position"])
    named = "substr(name, 1, length(old.id) + 10) = 'upserted/' || old.id || '/'"
    triggers.add("upserted_collections", "flow", "DELETE", f"DELETE FROM collection WHERE {named}")


def downgrade() -> None:
    triggers.drop("upserted_collections")
    op.drop_table("upsert_history")
