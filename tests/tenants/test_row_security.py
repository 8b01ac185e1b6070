"""Row level security of PostgreSQL: what forgets its tenant sees nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from psycopg import sql
from sqlalchemy.engine import make_url

from expresso_persist import Store
from expresso_persist.cli import cli
from expresso_persist.db import row_security
from expresso_persist.db.tables import metadata
from expresso_persist.errors import ExpressoPersistError, InvalidConfiguration
from expresso_persist.http.access.limits import DatabaseCounters
from expresso_persist.model.records import EventItem, Put, Setting
from pgbouncer import pooled
from roles import plain_role
from surface import everything

pytestmark = pytest.mark.postgresql
TABLES = [table for table in metadata.sorted_tables if "tenant_id" in table.c]


@pytest.fixture
def plain_role_url(postgresql_url: str) -> Iterator[str]:
    """The database as a role that owns the tables and is no superuser."""
    with plain_role(postgresql_url) as url:
        role = sql.Identifier(make_url(url).username or "")
        database = sql.Identifier(make_url(url).database or "")
        with psycopg.connect(postgresql_url, autocommit=True) as connection:
            owns = sql.SQL("ALTER DATABASE {} OWNER TO {}")
            connection.execute(owns.format(database, role))
            connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(role))
        yield url


@pytest.fixture(params=["straight", "pgbouncer"])
def guarded(request: pytest.FixtureRequest, plain_role_url: str) -> Iterator[Store]:
    """A store with row level security on, straight and through PgBouncer."""
    with contextlib.ExitStack() as stack:
        url = plain_role_url
        if request.param == "pgbouncer":
            url = stack.enter_context(pooled(url))
        store = stack.enter_context(Store(url, migrate=True))
        row_security.enable(store.database)
        assert store.database.row_security
        yield store


def test_a_statement_without_its_tenant_sees_nothing_of_another(guarded: Store) -> None:
    for name in ("ours", "theirs"):
        tenant = guarded.for_tenant(name)
        tenant.inventory.commit([Put(Setting.of("a", data=name))], actor="t")
        tenant.backups.create()
        tenant.tokens.create("till", "read")
    for table in TABLES:
        everyone = sa.select(table.c.tenant_id).distinct()
        with guarded.database.of("ours").read() as connection:
            assert set(connection.scalars(everyone)) <= {"ours"}, table
        if table.name != "tenants":
            with guarded.database.read() as connection:
                assert connection.scalars(everyone).all() == [], "nobody's transaction"
    ours = guarded.database.of("ours")
    settings = metadata.tables["system_settings"]
    with ours.write() as connection:
        assert connection.execute(sa.delete(settings)).rowcount == 1
    assert guarded.for_tenant("theirs").inventory.settings() == {"a": "theirs"}
    with pytest.raises(ExpressoPersistError), ours.write() as connection:
        connection.execute(
            sa.insert(metadata.tables["leases"]),
            {
                "tenant_id": "theirs", "name": "n", "holder": "",
                "acquired_at": ours.now(connection), "expires_at": ours.now(connection),
            },
        )  # fmt: skip
    with pytest.raises(ExpressoPersistError), ours.write() as connection:
        connection.execute(sa.update(metadata.tables["commits"]).values(tenant_id="theirs"))


def test_the_tenant_of_a_transaction_ends_with_it(guarded: Store) -> None:
    """A connection of the pool, or PgBouncer's, serves somebody else next."""
    guarded.for_tenant("ours").inventory.commit([Put(Setting.of("a", data=1))], actor="t")
    for _ in range(8):
        guarded.for_tenant("ours").inventory.settings()
        with guarded.database.engine.connect() as connection:
            count = sa.select(sa.func.count()).select_from(metadata.tables["commits"])
            assert connection.scalar(count) == 0


def test_everything_works_as_without_it(guarded: Store, tmp_path: Path) -> None:
    guarded.for_tenant("theirs").inventory.commit([Put(Setting.of("a", data=1))], actor="t")
    everything(guarded.for_tenant("ours"), tmp_path / "work")
    assert guarded.for_tenant("ours").inventory.verify().ok
    assert DatabaseCounters(guarded.database).hit("ours", "n", 10, 60) == 0
    assert [tenant.name for tenant in guarded.tenants.list()] == ["ours", "theirs"]
    guarded.tenants.create("third")
    guarded.tenants.rename("ours", "mine", actor="t")
    mine = guarded.for_tenant("mine")
    assert mine.inventory.verify().ok
    assert mine.backups.verify(mine.backups.list()[0].id).ok
    gone = guarded.tenants.delete("mine", tmp_path / "mine.zst", actor="t")
    assert gone.rows["commits"] > 0
    assert [tenant.name for tenant in guarded.tenants.list()] == ["theirs", "third"]


def test_live_hears_of_every_tenant(guarded: Store) -> None:
    for name in ("a", "b"):
        tenant = guarded.for_tenant(name)
        with contextlib.closing(tenant.feed.subscribe(timeout=30)) as events:
            tenant.inventory.commit([Put(Setting.of("a", data=name))], actor="t")
            assert next(iter(events)) is not None


def test_a_process_that_ran_before_it_was_turned_on_goes_on(plain_role_url: str) -> None:
    """Its first request fails, none shows an empty database; then it has noticed."""
    with Store(plain_role_url, migrate=True) as running, Store(plain_role_url) as other:
        running.inventory.commit([Put(Setting.of("a", data=1))], actor="t")
        row_security.enable(other.database)
        with pytest.raises(ExpressoPersistError):
            running.inventory.head()
        assert running.inventory.settings() == {"a": 1}
        many = [Put(EventItem.of("milk", f"m{i}", data={"n": i})) for i in range(20)]
        running.inventory.commit(many, actor="t")
        row_security.disable(other.database)
        with Store(plain_role_url) as later:
            assert len(later.inventory.records("event_inventory")) == 20
            assert not later.database.row_security


def test_the_command(plain_role_url: str, sqlite_url: str) -> None:
    def run(*words: str, url: str = plain_role_url, code: int = 0) -> None:
        result = CliRunner().invoke(cli, [*words, "--database", url])
        assert result.exit_code == code, result.output

    run("init")
    for _ in range(2):
        run("security", "enable-rls")
    with Store(plain_role_url) as store, store.database.read() as connection:
        state = row_security.state(connection)
        assert (state.on, state.open_tables, state.bypassed) == (True, (), False)
    run("security", "disable-rls")
    run("init", url=sqlite_url)
    run("security", "enable-rls", url=sqlite_url, code=1)


def test_there_is_none_on_sqlite() -> None:
    with Store("sqlite://", migrate=True) as store, pytest.raises(InvalidConfiguration):
        row_security.enable(store.database)
