"""Tools that people write in the builder."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import TEXT

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "tool",
        sa.Column("id", TEXT, primary_key=True),
        *(sa.Column(name, TEXT, nullable=False) for name in ("name", "description", "color")),
        *(sa.Column(name, TEXT) for name in ("iconSrc", "schema", "func")),
        *(sa.Column(name, TEXT, nullable=False) for name in ("createdDate", "updatedDate")),
    )


def downgrade() -> None:
    op.drop_table("tool")
