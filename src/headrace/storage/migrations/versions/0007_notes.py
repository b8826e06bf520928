"""Notes of memories on a session."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import TEXT
from headrace.storage.migrations import triggers

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "note",
        sa.Column("chatflowid", TEXT, sa.ForeignKey("flow.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("sessionId", TEXT, primary_key=True),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("text", TEXT, nullable=False),
    )
    work = 'DELETE FROM note WHERE chatflowid = old.chatflowid AND "sessionId" = old."sessionId"'
    triggers.add("message_notes", "message", "DELETE", work)


def downgrade() -> None:
    triggers.drop("message_notes")
    op.drop_table("note")
