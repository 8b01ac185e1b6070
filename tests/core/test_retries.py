"""A transaction that the database breaks off is repeated, whichever it is."""

from __future__ import annotations

import ast
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.engine import Connection, make_url

import expresso_persist
from backed_up import assert_sound, contents, expire, give_a_past
from expresso_persist import Store
from expresso_persist.backups.manager import BackupManager
from expresso_persist.backups.mirrors import Mirror
from expresso_persist.db.database import Database
from expresso_persist.db.driver_errors import TransactionRetry
from expresso_persist.db.leases import Lease
from expresso_persist.db.tables import commits
from expresso_persist.errors import DatabaseUnavailable
from expresso_persist.http.access.rates import DatabaseCounters
from expresso_persist.model.records import Adjust, Put, RecordKey, Setting, StockLevel
from expresso_persist.tenants.tenancy import Tenants
from expresso_persist.tenants.tokens import AccessTokens

MILK = RecordKey("event_stock", ("milk", "oat"))
SOURCES = Path(expresso_persist.__file__).parent


@pytest.fixture
def serializable(postgresql_url: str) -> Iterator[Store]:
    """A store in a database where every transaction is serializable unless it says otherwise."""
    url = make_url(postgresql_url)
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'").format(
                sql.Identifier(url.database or "")
            )
        )
    with Store(postgresql_url, migrate=True) as store:
        yield store


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Every transaction is broken off once, after all of it was done; the list counts them."""
    original, broken = Database.transact, list[bool]()

    def transact(self: Database, work: Callable[[Connection], object]) -> object:
        tries: list[object] = []

        def twice(connection: Connection) -> object:
            tries.append(work(connection))
            if len(tries) == 1:
                broken.append(True)
                raise TransactionRetry
            return tries[1]

        return original(self, twice)

    monkeypatch.setattr(Database, "transact", transact)
    yield broken
    monkeypatch.undo()
    assert broken


def test_all_writes_go_through_the_one_that_repeats_them() -> None:
    """`write` is one try; only `transact` calls it."""
    found = [
        f"{path.relative_to(SOURCES)}:{item.context_expr.lineno}"
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.With)
        for item in node.items
        if isinstance(call := item.context_expr, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "write"
        and path.name != "database.py"
    ]
    assert found == []


@pytest.mark.postgresql
def test_a_write_says_its_isolation(serializable: Store) -> None:
    """And gives the connection back as the host had it."""
    with serializable.database.engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW transaction_isolation")) == "serializable"
    assert (
        serializable.database.transact(
            lambda connection: connection.scalar(sa.text("SHOW transaction_isolation"))
        )
        == "read committed"
    )
    with serializable.database.engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW transaction_isolation")) == "serializable"


@pytest.mark.postgresql
def test_a_database_that_is_serializable_by_default_refuses_nothing(serializable: Store) -> None:
    """80 commits, 160 counted requests, leases and backups of many threads at once."""
    store = serializable
    store.inventory.commit([Put(StockLevel.of(*MILK.parts, data={"quantity": 0}))], actor="t")
    counters = DatabaseCounters(store.database)
    lease = [Lease(store.database, "default", 60, name=f"work {n % 4}") for n in range(24)]
    work: list[Callable[[], object]] = [
        *(
            lambda: store.inventory.commit([Adjust(MILK, "quantity", 1)], actor="t")
            for _ in range(80)
        ),
        *(lambda: counters.hit("default", "reads", 1000, 3600) for _ in range(160)),
        *(lambda: store.backups.create("manual") for _ in range(6)),
        *(lease[n].acquire for n in range(24)),
    ]
    with ThreadPoolExecutor(16) as pool:
        for result in [pool.submit(action) for action in work]:
            result.result()
    assert store.inventory.records("event_stock")[0].data == {"quantity": 80}
    assert counters.hit("default", "reads", 161, 3600) == 0
    assert counters.hit("default", "reads", 161, 3600) > 0
    assert len(store.backups.list()) == 6
    assert_sound(store)


@pytest.mark.postgresql
def test_two_that_wait_for_each_other_both_succeed(postgresql_url: str) -> None:
    """A real deadlock: the one that PostgreSQL breaks off is repeated."""
    with Store(postgresql_url, migrate=True) as store:
        store.inventory.commit([Put(Setting.of(n, data=0)) for n in ("a", "b")], actor="t")
        table = sa.table("system_settings", sa.column("setting_key"), sa.column("description"))
        both, tries = threading.Barrier(2), list[str]()

        def work(names: str) -> Callable[[Connection], None]:
            def change(connection: Connection) -> None:
                tries.append(names)
                for name in names:
                    connection.execute(
                        sa.update(table)
                        .where(table.c.setting_key == name)
                        .values(description=names)
                    )
                    if len(tries) <= 2 and name == names[0]:
                        both.wait(10)

            return change

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(store.database.transact, [work("ab"), work("ba")]))
        assert len(tries) >= 3


def test_repeating_has_an_end(store: Store) -> None:
    """Then it is answered like a database that does not answer."""
    tries = []

    def work(_: Connection) -> None:
        tries.append(True)
        raise TransactionRetry(retry_after=1)

    with pytest.raises(DatabaseUnavailable) as caught:
        store.database.transact(work)
    assert 3 <= len(tries) <= 10
    assert (caught.value.status, caught.value.retry_after) == (503, 1)


def test_a_commit_that_is_repeated_is_whole(interrupted: list[bool], store: Store) -> None:
    """Also when its operations come from an iterator, which gives them once."""
    wanted = (Put(Setting.of(f"n{n}", data=n)) for n in range(5))
    commit = store.inventory.commit(wanted, actor="t", idempotency_key="k")
    assert len(commit.changes) == 5
    assert store.inventory.head().revision == commit.revision == 1
    store.inventory.commit([Put(Setting.of("n1", data="x"))], actor="t")
    assert store.inventory.verify().ok
    with store.database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(commits)) == 2


def test_whatever_is_repeated_is_done_once(
    interrupted: list[bool], store: Store, tmp_path: Path
) -> None:
    """Migrations, backups, archives, mirrors, leases, tokens, counters and tenants."""
    give_a_past(store)
    made = store.backups.create(notes="by hand")
    assert store.backups.pin(made.id).pinned
    store.backups.rotate()
    with BackupManager(store.database, store.inventory, mirrors=[Mirror(str(tmp_path))]) as kept:
        assert [synced.error for synced in kept.sync_mirrors()] == [None]
    archive = io.BytesIO()
    store.backups.export(made.id, archive)
    other = store.for_tenant("other")
    copy = io.BytesIO(archive.getvalue())
    assert other.backups.import_(copy, from_tenant="default").id == made.id
    assert_sound(other)
    assert_sound(store)
    state = contents(store)
    store.inventory.commit([Put(Setting.of("late", data=1))], actor="t")
    store.backups.restore(made.id, actor="t")
    assert contents(store) == state

    lease, late = (Lease(store.database, "default", 60, name="w") for _ in range(2))
    assert lease.acquire()
    assert not late.acquire()
    lease.release()
    assert late.acquire()

    tokens = AccessTokens(store.database, "default")
    secret, token = tokens.create("till", "read")
    assert tokens.recognise(secret) == token
    tokens.revoke("till")
    assert tokens.list() == []

    counters = DatabaseCounters(store.database)
    assert [counters.hit("default", "n", 2, 3600) == 0 for _ in range(3)] == [True, True, False]

    expire(store)
    tenants = Tenants(store.database)
    tenants.create("garden")
    tenants.rename("garden", "yard", actor="t")
    gone = tenants.delete("yard", tmp_path / "yard.expresso", actor="t")
    assert gone.rows["tenants"] == 1
    assert [tenant.name for tenant in tenants.list()] == ["default", "other"]
