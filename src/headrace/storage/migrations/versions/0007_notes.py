"""Notes of memories on a session."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "note",
        sa.Column("chatflowid", sa.Text, sa.ForeignKey("flow.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("sessionId", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.execute(
        "CREATE TRIGGER message_notes AFTER DELETE ON message BEGIN "
        "DELETE FROM note WHERE chatflowid = old.chatflowid AND sessionId = old.sessionId; END"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER message_notes")
    op.drop_table("note")
