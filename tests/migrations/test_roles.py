"""Database roles of PostgreSQL that may not do everything: told what is missing, or enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from backed_up import STATIONS
from expresso_persist import Store, adoption
from expresso_persist.db.database import Database
from expresso_persist.errors import DatabaseAccessDenied
from legacy_database import LegacyDatabase
from roles import grant, plain_role
from surface import everything

pytestmark = pytest.mark.postgresql


@pytest.fixture
def plain_url(postgresql_url: str) -> Iterator[str]:
    """The database as a role that owns nothing."""
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with plain_role(postgresql_url) as url:
        yield url


@pytest.mark.parametrize("dry_run", [True, False])
def test_who_may_make_no_tables_is_told_so(plain_url: str, dry_run: bool) -> None:
    database = Database(plain_url)
    try:
        with pytest.raises(DatabaseAccessDenied, match=r"'public'; nothing .* grant it CREATE"):
            adoption.upgrade(database, dry_run=dry_run)
    finally:
        database.close()


@pytest.mark.parametrize("dry_run", [True, False])
def test_old_tables_of_another_role_are_named(
    postgresql_url: str, plain_url: str, dry_run: bool
) -> None:
    """The dry run foretells it, and nothing was changed."""
    old = LegacyDatabase(postgresql_url)
    old.fill(30, 2)
    before = old.dump()
    grant(postgresql_url, plain_url, "CREATE ON SCHEMA public")
    grant(postgresql_url, plain_url, "ALL ON ALL TABLES IN SCHEMA public")
    database = Database(plain_url)
    try:
        with pytest.raises(DatabaseAccessDenied, match=r"event_inventory, .*Run `expresso-persist"):
            adoption.upgrade(database, dry_run=dry_run)
    finally:
        database.close()
    assert old.dump() == before


def test_a_server_needs_to_read_and_write_rows_and_no_more(
    postgresql_url: str, plain_url: str, tmp_path: Path
) -> None:
    """The owner runs ``init``; the server's role changes rows only."""
    with Store(postgresql_url, migrate=True) as store, store.database.write() as connection:
        connection.execute(sa.text(STATIONS))
    with pytest.raises(DatabaseAccessDenied, match="grant it SELECT, INSERT, UPDATE and DELETE"):
        Store(plain_url)
    rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
    grant(postgresql_url, plain_url, rights)
    with Store(plain_url, migrate=True) as store:
        everything(store, tmp_path / "work")
        assert store.inventory.verify().ok
