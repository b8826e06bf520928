"""Feedback on answers, and leads: contact details that visitors leave."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("messageId", sa.Text, sa.ForeignKey("message.id", ondelete="CASCADE"), nullable=False, unique=True),
        sa.Column("rating", sa.Text, nullable=False),
        sa.Column("content", sa.Text),
        sa.Column("createdDate", sa.Text, nullable=False),
    )
    op.create_table(
        "lead",
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("chatflowid", sa.Text, sa.ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
        sa.Column("chatId", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("name", "email", "phone")),
        sa.Column("createdDate", sa.Text, nullable=False),
    )
    op.create_index("lead_flow", "lead", ["chatflowid", "position"])


def downgrade() -> None:
    op.drop_table("lead")
    op.drop_table("feedback")
