"""Leave a mark outside the tables, by which a store that was dropped is noticed."""

from __future__ import annotations

from alembic import op

from expresso_persist.db.migrations import MARKER

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make a view: what drops tables that it does not know leaves views alone."""
    op.execute(
        f"CREATE VIEW {MARKER} AS SELECT "
        "'expresso-persist keeps its tables in this database; this view outlives them' AS note"
    )
