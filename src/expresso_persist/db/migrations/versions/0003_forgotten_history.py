"""Remember up to which revision old changes were forgotten on purpose."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "tenants",
        sa.Column("forgotten_through", sa.BigInteger(), nullable=False, server_default="0"),
    )
