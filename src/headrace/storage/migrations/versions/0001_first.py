"""Flows, credentials, variables, API keys, messages, and the revision that says when to read them anew."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import NUMBER, TEXT
from headrace.storage.migrations import triggers

revision = "0001"
down_revision = None

WATCHED = ("flow", "credential", "variable", "api_key")


def text(name: str, *, required: bool = False, unique: bool = False) -> "sa.Column[str]":
    return sa.Column(name, TEXT, nullable=not required, unique=unique or None)


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", TEXT, primary_key=True),
        text("keyName", required=True),
        text("permissions", required=True),
        text("hash", required=True, unique=True),
        text("createdDate", required=True),
    )
    op.create_table(
        "flow",
        sa.Column("id", TEXT, primary_key=True),
        *(text(name, required=True) for name in ("name", "flowData", "type")),
        text("workspaceId"),
        sa.Column("deployed", sa.Boolean),
        sa.Column("isPublic", sa.Boolean),
        sa.Column("apikeyid", TEXT, sa.ForeignKey("api_key.id", ondelete="RESTRICT")),
        *(text(name) for name in ("chatbotConfig", "apiConfig", "analytic", "speechToText", "textToSpeech")),
        *(text(name) for name in ("followUpPrompts", "category", "mcpServerConfig")),
        *(text(name, required=True) for name in ("createdDate", "updatedDate")),
    )
    op.create_table(
        "credential",
        sa.Column("id", TEXT, primary_key=True),
        *(text(name, required=True) for name in ("name", "credentialName")),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        *(text(name, required=True) for name in ("createdDate", "updatedDate")),
    )
    op.create_table(
        "variable",
        sa.Column("id", TEXT, primary_key=True),
        text("name", required=True, unique=True),
        text("value"),
        *(text(name, required=True) for name in ("type", "createdDate", "updatedDate")),
    )
    op.create_table(
        "message",
        sa.Column("position", NUMBER, primary_key=True, autoincrement=True),
        text("id", required=True, unique=True),
        text("role", required=True),
        sa.Column("chatflowid", TEXT, sa.ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
        *(text(name, required=True) for name in ("content", "chatId", "sessionId", "createdDate")),
        *(text(name) for name in ("executionId", "sourceDocuments", "usedTools", "fileAnnotations")),
        *(text(name) for name in ("agentReasoning", "reasonContent", "fileUploads", "artifacts", "action")),
        text("chatType", required=True),
        *(text(name) for name in ("memoryType", "leadEmail", "followUpPrompts")),
    )
    op.create_index("message_session", "message", ["chatflowid", "sessionId", "position"])
    op.create_index("message_chat", "message", ["chatflowid", "chatId", "position"])
    op.create_table("revision", sa.Column("number", NUMBER, primary_key=True))
    op.execute("INSERT INTO revision (number) VALUES (1)")
    for table in WATCHED:
        for change in ("INSERT", "UPDATE", "DELETE"):
            work = "UPDATE revision SET number = number + 1"
            triggers.add(f"{table}_{change.lower()}", table, change, work)


def downgrade() -> None:
    for table in ("revision", "message", "variable", "credential", "flow", "api_key"):
        op.drop_table(table)
