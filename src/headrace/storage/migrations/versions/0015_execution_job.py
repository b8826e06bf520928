"""The request that an execution's newest run answers, sealed: what a run that was lost goes on with."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("execution", sa.Column("job", sa.LargeBinary))


def downgrade() -> None:
    op.drop_column("execution", "job")
