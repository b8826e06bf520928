"""Secrets of webhooks."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import TEXT

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "webhook_secret",
        sa.Column("flow", TEXT, sa.ForeignKey("flow.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("webhook_secret")
