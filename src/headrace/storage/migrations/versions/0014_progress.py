"""The progress of an execution, and its flow as it was at the start: a stopped one goes on from them."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("execution", sa.Column("progress", sa.Text))
    op.add_column("execution", sa.Column("flowData", sa.Text))


def downgrade() -> None:
    op.drop_column("execution", "flowData")
    op.drop_column("execution", "progress")
