"""Schedules of flows, and their firings."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "schedule",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("chatflowid", sa.Text, sa.ForeignKey("flow.id", ondelete="CASCADE"), nullable=False, unique=True),
        sa.Column("cronExpression", sa.Text, nullable=False),
        sa.Column("timezone", sa.Text, nullable=False),
        sa.Column("endDate", sa.Text),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("lastRunAt", sa.Text),
        sa.Column("nextRunAt", sa.Text),
        sa.Column("createdDate", sa.Text, nullable=False),
        sa.Column("updatedDate", sa.Text, nullable=False),
    )
    op.create_table(
        "firing",
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("scheduleRecordId", sa.Text, nullable=False),
        sa.Column("chatflowid", sa.Text, sa.ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
        sa.Column("run", sa.Text),
        sa.Column("executionId", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("elapsedTimeMs", sa.Integer),
        sa.Column("scheduledAt", sa.Text, nullable=False),
        sa.Column("createdDate", sa.Text, nullable=False),
    )
    op.create_index("firing_flow", "firing", ["chatflowid", "position"])
    op.create_index("firing_status", "firing", ["status"])


def downgrade() -> None:
    op.drop_table("firing")
    op.drop_table("schedule")
