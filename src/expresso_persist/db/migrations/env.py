"""Run by Alembic: hands it the connection and transaction that the library opened."""

from __future__ import annotations

from alembic import context

from expresso_persist.db.migrations import VERSION_TABLE
from expresso_persist.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
