"""When API keys were used last."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "key_use",
        sa.Column("key", sa.Text, sa.ForeignKey("api_key.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("date", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("key_use")
