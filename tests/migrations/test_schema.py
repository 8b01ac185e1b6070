"""The migrations make exactly the declared tables, whole or not at all."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from expresso_persist import Store, migrations
from expresso_persist.database import Database
from expresso_persist.errors import SchemaMismatch
from expresso_persist.migrations import VERSION_TABLE
from expresso_persist.tables import metadata


def table_names(database: Database) -> set[str]:
    """What is in the database."""
    with database.read() as connection:
        return set(sa.inspect(connection).get_table_names())


def test_the_migrations_equal_the_declared_tables(store: Store) -> None:
    """Alembic finds no difference between the database and the metadata."""
    with store.database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []


def test_a_failed_migration_leaves_nothing(database_url: str) -> None:
    """The last table is in the way: the ones made before it are gone again."""
    database = Database(database_url)
    try:
        with database.write() as connection:
            connection.execute(sa.text("CREATE TABLE tenants (unrelated TEXT)"))
        with pytest.raises(SchemaMismatch, match="another program"):
            migrations.upgrade(database)
        assert table_names(database) == {"tenants"}
    finally:
        database.close()


def test_a_newer_database_is_refused(database_url: str) -> None:
    """The sentence says to upgrade the library; a missing schema says to run init."""
    with pytest.raises(SchemaMismatch, match="expresso-persist init"):
        Store(database_url)
    with Store(database_url, migrate=True) as store, store.database.write() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = 'from-the-future'"))
    for migrate in (False, True):
        with pytest.raises(SchemaMismatch, match="newer version"):
            Store(database_url, migrate=migrate)


def test_a_hosts_own_alembic_is_not_disturbed(database_url: str) -> None:
    """Its version table and its tables stay as they are."""
    database = Database(database_url)
    try:
        with database.write() as connection:
            connection.execute(sa.text("CREATE TABLE alembic_version (version_num TEXT)"))
            connection.execute(sa.text("INSERT INTO alembic_version VALUES ('host')"))
        migrations.upgrade(database)
        with database.read() as connection:
            assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "host"
    finally:
        database.close()


def test_workers_that_start_at_once_migrate_once(database_url: str) -> None:
    """Four processes, one schema, no error."""
    code = (
        "import sys; from expresso_persist import Store; Store(sys.argv[1], migrate=True).close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, database_url], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    with Store(database_url) as store:
        assert store.inventory.stats()["revision"] == 0
