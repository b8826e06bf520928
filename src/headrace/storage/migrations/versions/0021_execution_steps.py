"""Steps of executions in progress, a row for each."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import NUMBER, TEXT

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_table(
        "execution_step",
        sa.Column("execution", TEXT, sa.ForeignKey("execution.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("place", NUMBER, primary_key=True),
        sa.Column("data", TEXT, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("execution_step")
