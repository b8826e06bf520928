"""The number of a loader's failed documents, of which only the first are kept by name."""

import sqlalchemy as sa
from alembic import op

from headrace.storage.dialect import NUMBER
from headrace.storage.migrations import triggers

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("document_loader", sa.Column("failed", NUMBER, nullable=False, server_default="0"))
    value = "CAST(failures AS json)" if triggers.on_postgresql() else "failures"
    op.execute(f"UPDATE document_loader SET failed = json_array_length({value})")


def downgrade() -> None:
    op.drop_column("document_loader", "failed")
