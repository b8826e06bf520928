"""Signs of life of processes on one PostgreSQL, and the key that its secrets are sealed with, by its digest."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import TEXT

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "process",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table("seal", sa.Column("digest", TEXT, primary_key=True))


def downgrade() -> None:
    op.drop_table("seal")
    op.drop_table("process")
