"""The history of each flow's upserts; collections that upserts filled are deleted with their flow."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "upsert_history",
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("chatflowid", sa.Text, sa.ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("result", "flowData", "date")),
    )
    op.create_index("upsert_history_flow", "upsert_history", ["chatflowid", "position"])
    op.execute(
        "CREATE TRIGGER upserted_collections AFTER DELETE ON flow BEGIN "
        "DELETE FROM collection WHERE substr(name, 1, length(old.id) + 10) = 'upserted/' || old.id || '/'; END"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER upserted_collections")
    op.drop_table("upsert_history")
