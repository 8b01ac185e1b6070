"""Remember how the mirrors of the backups are doing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from expresso_persist.db.tables import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backup_mirrors",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("mirror", sa.Text(), nullable=False),
        sa.Column("newest_id", sa.Text(), nullable=True),
        sa.Column("newest_at", UtcDateTime(), nullable=True),
        sa.Column("copies", sa.Integer(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("checked_at", UtcDateTime(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "mirror", name=op.f("pk_backup_mirrors")),
    )
