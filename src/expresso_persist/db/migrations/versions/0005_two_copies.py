"""Store what backups are made of twice, with checksums of the stored bytes.

The second copies are written by the first check of the backups, which reads every chunk
before it trusts it; until then the one copy is enough to restore.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from expresso_persist.db.tables import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_CHUNKS = "backup_chunks"


def upgrade() -> None:
    # A row of one copy, without a checksum. PostgreSQL alters the table, because with row
    # level security no statement would see the rows of all tenants.
    if op.get_bind().dialect.name == "postgresql":
        op.add_column(
            _CHUNKS, sa.Column("copy", sa.SmallInteger(), nullable=False, server_default="0")
        )
        op.alter_column(_CHUNKS, "copy", server_default=None)
        op.add_column(_CHUNKS, sa.Column("stored_sha256", sa.LargeBinary(), nullable=True))
        for name in ("size", "stored_size", "created_at"):
            op.drop_column(_CHUNKS, name)
        op.drop_constraint("pk_backup_chunks", _CHUNKS)
        op.create_primary_key("pk_backup_chunks", _CHUNKS, ["tenant_id", "sha256", "copy"])
    else:
        op.rename_table(_CHUNKS, "backup_chunks_0004")
        op.create_table(
            _CHUNKS,
            sa.Column("tenant_id", sa.Text(), nullable=False),
            sa.Column("sha256", sa.Text(), nullable=False),
            sa.Column("copy", sa.SmallInteger(), autoincrement=False, nullable=False),
            sa.Column("base_sha256", sa.Text(), nullable=True),
            sa.Column("stored_sha256", sa.LargeBinary(), nullable=True),
            sa.Column("data", sa.LargeBinary(), nullable=False),
            sa.PrimaryKeyConstraint("tenant_id", "sha256", "copy", name="pk_backup_chunks"),
        )
        op.execute(
            "INSERT INTO backup_chunks (tenant_id, sha256, copy, base_sha256, data) "
            "SELECT tenant_id, sha256, 0, base_sha256, data FROM backup_chunks_0004"
        )
        op.drop_table("backup_chunks_0004")
    op.create_table(
        "backup_manifests",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_backup_manifests")),
    )
    op.create_table(
        "backup_checks",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("checked_at", UtcDateTime(), nullable=False),
        sa.Column("found_at", UtcDateTime(), nullable=True),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_backup_checks")),
    )
