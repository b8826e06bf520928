"""When API keys were used last."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import TEXT

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "key_use",
        sa.Column("key", TEXT, sa.ForeignKey("api_key.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("date", TEXT, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("key_use")
