"""PostgreSQL stops, comes back, holds locks, loses an answer; requests get 503 meanwhile."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from expresso_persist import Store
from expresso_persist.errors import DatabaseUnavailable
from expresso_persist.model.records import Adjust, Put, RecordKey, StationQuantity
from postgres_server import PrivateServer
from proxy import proxied
from server import Server

pytestmark = pytest.mark.postgresql
COUNTER = RecordKey("station_quantity", ("1", "milk", "counter"))
ADJUST = {"station_id": "1", "category": "milk", "item": "counter", "delta": 1}


def put_counter(url: str) -> None:
    with Store(url, migrate=True) as store:
        first = StationQuantity.of(*COUNTER.parts, data={"quantity": 0})
        store.inventory.commit([Put(first)], actor="test")


@pytest.mark.parametrize("adapter", ["fastapi", "flask"])
def test_a_server_outlives_its_database(
    private: PrivateServer, private_url: str, adapter: str, tmp_path: Path
) -> None:
    """503 while it is down, and afterwards everything works without a restart."""
    if os.environ.get("EXPRESSO_TEST_BARE"):
        pytest.skip("EXPRESSO_TEST_BARE: no framework is installed here, on purpose")
    put_counter(private_url)
    server = Server("--adapter", adapter, "--database", private_url, cwd=tmp_path)
    try:
        server.wait_until_ready()
        done = 0
        for round_ in range(2):
            for _ in range(5):
                status, answer = server.request("/api/inventory/adjust", ADJUST)
                assert status == 200, answer
                done += 1
            private.stop_at_once()
            for method in (None, ADJUST):
                path = "/api/inventory/adjust" if method else "/api/inventory/get-all"
                status, headers, answer = server.ask(path, method)
                assert status == 503
                assert int(headers["Retry-After"]) > 0
                assert answer["success"] is False
                told = json.dumps(answer)
                assert "SELECT" not in told
                assert "psycopg" not in told
                assert "/tmp" not in told
            assert server.request("/api/migration/health", token=None)[0] == 503
            private.start()
            server.wait_until_ready()
            status, answer = server.request("/api/inventory/get-all")
            assert status == 200
            assert answer["revision"] == done + 1, round_
        status, answer = server.request("/api/inventory/adjust", ADJUST)
        assert status == 200
        with Store(private_url) as store:
            record = store.inventory.get(COUNTER.kind, *COUNTER.parts)
            assert record is not None
            assert record.data == {"quantity": done + 1}
            assert store.inventory.verify().ok
        assert "Traceback" not in server.errors
    finally:
        server.close()


@pytest.mark.parametrize("idle", [False, True])
def test_the_pool_recovers_by_itself(
    private: PrivateServer, private_url: str, idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that died while idle are replaced unseen; those just used fail once."""
    monkeypatch.setattr("expresso_persist.db.engine.IDLE_BEFORE_PING", 0 if idle else 1000)
    put_counter(private_url)
    with Store(private_url) as store:
        store.inventory.commit([Adjust(COUNTER, "quantity", 1)], actor="test")
        private.stop_at_once()
        private.start()
        if not idle:
            with pytest.raises(DatabaseUnavailable) as caught:
                store.inventory.commit([Adjust(COUNTER, "quantity", 1)], actor="test")
            assert caught.value.retry_after
        store.inventory.commit([Adjust(COUNTER, "quantity", 1)], actor="test")
        assert store.inventory.head().revision == 3


def test_an_answer_lost_after_the_commit_is_found_by_its_key(postgresql_url: str) -> None:
    put_counter(postgresql_url)
    with proxied(postgresql_url) as (url, proxy), Store(url) as store:
        store.inventory.snapshot()  # what a first connection does is over
        for turn in range(5):
            options: dict[str, Any] = {
                "actor": "test",
                "idempotency_key": f"turn {turn}",
                "request": f"turn {turn}",
            }
            proxy.cut_after(b"COMMIT\0")
            with pytest.raises(DatabaseUnavailable):
                store.inventory.commit([Adjust(COUNTER, "quantity", 1)], **options)
            assert proxy.cuts == turn + 1
            again = store.inventory.commit([Adjust(COUNTER, "quantity", 1)], **options)
            assert again.replayed
            assert again.revision == turn + 2
    with Store(postgresql_url) as store:
        record = store.inventory.get(COUNTER.kind, *COUNTER.parts)
        assert record is not None
        assert record.data == {"quantity": 5}
        assert store.inventory.verify().ok


@pytest.mark.parametrize("moment", [b"INSERT INTO changes", b"FOR UPDATE"])
def test_a_line_cut_in_the_middle_of_a_commit_leaves_nothing(
    postgresql_url: str, moment: bytes
) -> None:
    put_counter(postgresql_url)
    with proxied(postgresql_url) as (url, proxy), Store(url) as store:
        proxy.cut_after(moment)
        with pytest.raises(DatabaseUnavailable):
            store.inventory.commit([Adjust(COUNTER, "quantity", 1)], actor="test")
        assert store.inventory.head().revision == 1
        store.inventory.commit([Adjust(COUNTER, "quantity", 1)], actor="test")
        assert store.inventory.verify().ok


def test_a_lock_that_somebody_keeps_is_waited_for_and_then_told(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expresso_persist.db.engine.BUSY_TIMEOUT", 0.3)
    put_counter(postgresql_url)
    with Store(postgresql_url) as store, psycopg.connect(postgresql_url) as other:
        other.execute("SELECT * FROM tenants FOR UPDATE")
        with pytest.raises(DatabaseUnavailable, match="locked") as caught:
            store.inventory.commit([Adjust(COUNTER, "quantity", 1)], actor="test")
        assert caught.value.retry_after
        assert store.inventory.head().revision == 1  # reading goes on
        waiting = threading.Timer(0.1, other.rollback)
        waiting.start()
        store.inventory.commit([Adjust(COUNTER, "quantity", 1)], actor="test")
        waiting.join()


def test_a_deadlock_is_tried_again(postgresql_url: str) -> None:
    """Another session holds what we need and wants what we hold; one is broken off."""
    put_counter(postgresql_url)
    with Store(postgresql_url) as store, psycopg.connect(postgresql_url) as other:
        other.execute("SET deadlock_timeout = '5s'")  # so that PostgreSQL breaks off ours
        other.execute("SELECT * FROM station_inventory_quantities FOR UPDATE")
        locked = threading.Event()
        attempts = []

        def decide(state: object) -> list[Adjust]:
            attempts.append(state)
            locked.set()
            return [Adjust(COUNTER, "quantity", 1)]

        def cross() -> None:
            assert locked.wait(10)
            other.execute("SELECT * FROM tenants FOR UPDATE")
            other.rollback()

        crossing = threading.Thread(target=cross)
        crossing.start()
        done = store.inventory.commit(decide, actor="test")
        crossing.join()
        assert len(attempts) >= 2  # on a busy machine ours may come first a second time
        assert done.revision == 2
        assert store.inventory.verify().ok
