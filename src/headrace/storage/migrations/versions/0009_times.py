"""The time at which each event of a run was written."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("run_events", sa.Column("times", sa.LargeBinary))


def downgrade() -> None:
    op.drop_column("run_events", "times")
