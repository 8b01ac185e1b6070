"""The migrations make exactly the declared tables, whole or not at all."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy.engine import make_url

from backed_up import STATIONS
from expresso_persist import Store
from expresso_persist.db import migrations
from expresso_persist.db.database import Database
from expresso_persist.db.migrations import VERSION_TABLE
from expresso_persist.db.tables import metadata
from expresso_persist.errors import SchemaMismatch
from roles import plain_role
from surface import everything


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


def test_the_files_names_tell_the_revisions() -> None:
    """So that no Alembic is needed to see whether a database is up to date."""
    script = ScriptDirectory.from_config(migrations._config())
    told = [revision.revision for revision in script.walk_revisions()]
    assert told[::-1] == migrations._REVISIONS


def test_a_failed_migration_leaves_nothing(database_url: str) -> None:
    """The last table is in the way: the ones made before it are gone again."""
    database = Database(database_url)
    try:
        with database.write() as connection:
            connection.execute(sa.text("CREATE TABLE tenants (unrelated TEXT)"))
        with pytest.raises(SchemaMismatch, match="names the others"):
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


@pytest.mark.postgresql
@pytest.mark.parametrize("said_by", ["the URL", "the role"])
def test_a_schema_of_its_own(postgresql_url: str, tmp_path: Path, said_by: str) -> None:
    """Where a host has tables of our names: theirs stay, ours are beside them."""
    plain = contextlib.nullcontext(postgresql_url)
    with plain_role(postgresql_url) if said_by == "the role" else plain as url:
        with psycopg.connect(postgresql_url, autocommit=True) as connection:
            connection.execute("CREATE TABLE public.tenants (name TEXT)")
            connection.execute("CREATE TABLE public.event_inventory (id INT, price MONEY)")
            with pytest.raises(SchemaMismatch, match=r"event_inventory, tenants\. .* schema"):
                Store(postgresql_url, migrate=True)
            role = sql.Identifier(make_url(url).username or "")
            ours = sql.SQL("CREATE SCHEMA expresso AUTHORIZATION {}").format(role)
            connection.execute(ours)
            if said_by == "the role":
                path = sql.SQL("ALTER ROLE {} SET search_path = expresso").format(role)
                connection.execute(path)
            else:
                options = {"options": "-csearch_path=expresso"}
                named = make_url(url).update_query_dict(options)
                url = named.render_as_string(hide_password=False)
        with Store(url, migrate=True) as store:
            with store.database.write() as connection_:
                connection_.execute(sa.text(STATIONS))
            everything(store, tmp_path / "work")
            assert store.inventory.verify().ok
        with Store(url):
            pass
        with psycopg.connect(postgresql_url) as connection:
            found = connection.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
            ).fetchall()
        assert {*found} == {("tenants",), ("event_inventory",)}
