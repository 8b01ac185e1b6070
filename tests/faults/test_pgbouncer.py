"""Through PgBouncer in transaction mode, where no two transactions share a session."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.db.leases import Lease
from expresso_persist.model.records import Adjust, Put, RecordKey, StationQuantity

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.parametrize("database_url", ["pgbouncer"], indirect=True),
]
COUNTER = RecordKey("station_quantity", ("1", "milk", "counter"))


@pytest.fixture
def counter(store: Store) -> Store:
    first = StationQuantity.of(*COUNTER.parts, data={"quantity": 0})
    store.inventory.commit([Put(first)], actor="test")
    return store


@pytest.fixture
def stores(counter: Store, database_url: str) -> Iterator[list[Store]]:
    """More clients than PgBouncer has sessions."""
    opened = [Store(database_url) for _ in range(8)]
    yield opened
    for store in opened:
        store.close()


def test_transactions_really_change_sessions(stores: list[Store]) -> None:
    """What this module is about: otherwise it would prove nothing."""

    with contextlib.ExitStack() as stack:
        for store in stores[:3]:
            stack.enter_context(store.database.read()).execute(sa.text("SELECT 1"))
    url = stores[0].database.engine.url
    with sa.create_engine(url, poolclass=sa.pool.NullPool).connect() as line:  # one and the same
        sessions = set()
        for _ in range(10):
            sessions.add(line.scalar(sa.text("SELECT pg_backend_pid()")))
            line.rollback()
    assert len(sessions) > 1


def test_no_commit_is_lost_or_repeated(stores: list[Store]) -> None:
    def work(store: Store) -> None:
        for _ in range(20):
            store.inventory.commit([Adjust(COUNTER, "quantity", 1)], actor="test")

    with concurrent.futures.ThreadPoolExecutor(len(stores)) as pool:
        [*pool.map(work, stores)]
    counted = stores[0].inventory.get(COUNTER.kind, *COUNTER.parts)
    assert counted is not None
    assert counted.data == {"quantity": 160}
    assert stores[0].inventory.verify().ok


def test_imports_backups_and_restores_work(counter: Store) -> None:
    """Long transactions, COPY, savepoints and isolation levels keep their session."""
    items = [{"id": f"m{n}", "name": f"Milk {n}", "enabled": True} for n in range(3000)]
    counter.importer.import_({"event_inventory": {"milk": items}}, actor="test")
    made = counter.backups.create()
    assert made.verified_at is not None
    counter.importer.import_({"event_inventory": {"milk": []}}, actor="test", mode="replace")
    done = counter.backups.restore(made.id, actor="test")
    assert done.plan.counts.added >= 3000
    assert counter.inventory.stats()["event_inventory_items"] == 3000
    assert counter.inventory.verify().ok


def test_a_lease_has_one_holder(stores: list[Store]) -> None:
    leases = [Lease(store.database, "default", 60.0, name="test") for store in stores]
    with concurrent.futures.ThreadPoolExecutor(len(stores)) as pool:
        held = [*pool.map(lambda lease: lease.acquire(), leases)]
    assert held.count(True) == 1
    leases[held.index(True)].release()
    assert leases[held.index(False)].acquire()
