"""Schedules of flows, and their firings."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import NUMBER, TEXT

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "schedule",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("chatflowid", TEXT, sa.ForeignKey("flow.id", ondelete="CASCADE"), nullable=False, unique=True),
        sa.Column("cronExpression", TEXT, nullable=False),
        sa.Column("timezone", TEXT, nullable=False),
        sa.Column("endDate", TEXT),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("lastRunAt", TEXT),
        sa.Column("nextRunAt", TEXT),
        sa.Column("createdDate", TEXT, nullable=False),
        sa.Column("updatedDate", TEXT, nullable=False),
    )
    op.create_table(
        "firing",
        sa.Column("position", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("scheduleRecordId", TEXT, nullable=False),
        sa.Column("chatflowid", TEXT, sa.ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
        sa.Column("run", TEXT),
        sa.Column("executionId", TEXT),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("error", TEXT),
        sa.Column("elapsedTimeMs", NUMBER),
        sa.Column("scheduledAt", TEXT, nullable=False),
        sa.Column("createdDate", TEXT, nullable=False),
    )
    op.create_index("firing_flow", "firing", ["chatflowid", "position"])
    op.create_index("firing_status", "firing", ["status"])


def downgrade() -> None:
    op.drop_table("firing")
    op.drop_table("schedule")
