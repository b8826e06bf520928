"""Executions of agent flows."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import NUMBER, TEXT

revision = "0005"
down_revision = "0004"


def text(name: str, *, required: bool = False) -> "sa.Column[str]":
    return sa.Column(name, TEXT, nullable=not required)


def upgrade() -> None:
    op.create_table(
        "execution",
        sa.Column("position", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", TEXT, nullable=False, unique=True),
        text("run", required=True),
        sa.Column("agentflowId", TEXT, sa.ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
        *(text(name, required=True) for name in ("sessionId", "state", "executionData")),
        text("action"),
        sa.Column("isPublic", sa.Boolean),
        *(text(name, required=True) for name in ("createdDate", "updatedDate")),
        *(text(name) for name in ("stoppedDate", "workspaceId")),
    )
    op.create_index("execution_session", "execution", ["agentflowId", "sessionId", "position"])
    op.create_index("execution_run", "execution", ["run"])


def downgrade() -> None:
    op.drop_table("execution")
