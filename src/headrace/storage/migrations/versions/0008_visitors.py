"""Feedback on answers, and leads: contact details that visitors leave."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import NUMBER, TEXT

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("position", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("messageId", TEXT, sa.ForeignKey("message.id", ondelete="CASCADE"), nullable=False, unique=True),
        sa.Column("rating", TEXT, nullable=False),
        sa.Column("content", TEXT),
        sa.Column("createdDate", TEXT, nullable=False),
    )
    op.create_table(
        "lead",
        sa.Column("position", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("chatflowid", TEXT, sa.ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
        sa.Column("chatId", TEXT, nullable=False),
        *(sa.Column(name, TEXT) for name in ("name", "email", "phone")),
        sa.Column("createdDate", TEXT, nullable=False),
    )
    op.create_index("lead_flow", "lead", ["chatflowid", "position"])


def downgrade() -> None:
    op.drop_table("lead")
    op.drop_table("feedback")
