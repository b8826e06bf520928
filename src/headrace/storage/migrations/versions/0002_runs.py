"""Runs, their events, and the orders that processes give each other."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import NUMBER, TEXT

revision = "0002"
down_revision = "0001"


def text(name: str, *, required: bool = False) -> "sa.Column[str]":
    return sa.Column(name, TEXT, nullable=not required)


def upgrade() -> None:
    op.add_column("message", sa.Column("aborted", sa.Boolean))
    op.create_table(
        "run",
        sa.Column("id", TEXT, primary_key=True),
        *(text(name, required=True) for name in ("chatflowid", "chatId", "sessionId", "chatMessageId", "state")),
        text("createdDate", required=True),
        text("endedDate"),
        sa.Column("lastSeq", NUMBER, nullable=False),
        *(text(name) for name in ("usage", "error", "code")),
        text("owner", required=True),
        sa.Column("watched", sa.Boolean, nullable=False),
        sa.Column("size", NUMBER, nullable=False),
        *(text(name) for name in ("idempotencyKey", "requestHash")),
    )
    op.create_index("run_chat", "run", ["chatflowid", "chatId"])
    op.create_index("run_session", "run", ["chatflowid", "sessionId", "state"])
    op.create_index("run_state", "run", ["state", "endedDate"])
    op.create_index("run_ended", "run", ["endedDate", "size"])
    op.create_index("run_idempotency", "run", ["chatflowid", "idempotencyKey"], unique=True)
    op.create_table(
        "run_events",
        sa.Column("run", TEXT, primary_key=True),
        sa.Column("first", NUMBER, primary_key=True),
        sa.Column("count", NUMBER, nullable=False),
        sa.Column("compact", sa.Boolean, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "run_order",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        *(text(name, required=True) for name in ("owner", "run", "kind")),
    )
    op.create_index("run_order_owner", "run_order", ["owner"])


def downgrade() -> None:
    for table in ("run_order", "run_events", "run"):
        op.drop_table(table)
    op.drop_column("message", "aborted")
