"""The number of a loader's failed documents, of which only the first are kept by name."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("document_loader", sa.Column("failed", sa.Integer, nullable=False, server_default="0"))
    op.execute("UPDATE document_loader SET failed = json_array_length(failures)")


def downgrade() -> None:
    op.drop_column("document_loader", "failed")
