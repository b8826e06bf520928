"""The progress of an execution, and its flow as it was at the start: a stopped one goes on from them."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import TEXT

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("execution", sa.Column("progress", TEXT))
    op.add_column("execution", sa.Column("flowData", TEXT))


def downgrade() -> None:
    op.drop_column("execution", "flowData")
    op.drop_column("execution", "progress")
