"""The job of a run that other processes may go on with, and how often one had to."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import NUMBER

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("run", sa.Column("job", sa.LargeBinary))
    op.add_column("run", sa.Column("crashes", NUMBER, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("run", "crashes")
    op.drop_column("run", "job")
