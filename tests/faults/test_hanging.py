"""PostgreSQL hangs instead of failing: what waits for it ends, and the rest goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from expresso_persist import Store
from expresso_persist.db import timeouts
from expresso_persist.errors import DatabaseUnavailable
from expresso_persist.http import NO_RATES, BearerTokens
from expresso_persist.testing import TOKENS
from postgres_server import PrivateServer

pytestmark = pytest.mark.postgresql
GET_ALL = "/api/inventory/get-all"
HEALTH = "/api/migration/health"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "LOOK_UP", 0.4)
    monkeypatch.setattr(timeouts, "TRANSACTION", 0.8)
    monkeypatch.setattr(timeouts, "_LAST_TRY", 0.2)


@contextlib.contextmanager
def locked(url: str, *tables: str) -> Iterator[None]:
    """Another session holds tables, as ALTER TABLE and VACUUM FULL do; all without a name."""
    with psycopg.connect(url) as other:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        for table in tables or [row[0] for row in other.execute(query).fetchall()]:
            other.execute(
                sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(table))
            )
        yield
        other.rollback()


def refused(action: Callable[[], Any]) -> DatabaseUnavailable:
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as caught:
        action()
    assert time.monotonic() - began < 3
    assert caught.value.retry_after
    return caught.value


def test_a_look_up_of_a_locked_table_ends(postgresql_url: str) -> None:
    with Store(postgresql_url, migrate=True) as store:
        store.inventory.head()
        with locked(postgresql_url, "tenants"), timeouts.request():
            refused(store.inventory.head)
        assert store.inventory.head().revision == 0


def test_a_read_of_a_locked_table_ends_and_leaves_its_connection(postgresql_url: str) -> None:
    with Store(postgresql_url, migrate=True) as store:
        with locked(postgresql_url), timeouts.request():
            for _ in range(3):
                refused(store.backups.list)
        assert store.backups.list() == []
        assert store.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("moment", ["busy", "idle"])
def test_a_backend_that_is_stopped_is_left(
    private: PrivateServer, private_url: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel acknowledges what it never reads, so TCP notices nothing."""
    if moment == "idle":
        monkeypatch.setattr("expresso_persist.db.engine.IDLE_BEFORE_PING", 0.0)
    with Store(private_url, migrate=True) as store:
        store.inventory.head()
        store.backups.list()
        with psycopg.connect(private_url, autocommit=True) as other:
            query = (
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            pids = [row[0] for row in other.execute(query).fetchall()]
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            with timeouts.request():
                if moment == "idle":
                    store.inventory.head()  # on another connection
                else:
                    refused(store.inventory.head)
                    refused(store.backups.list)
                    assert store.backups.list() == []
            assert store.inventory.head().revision == 0
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def test_a_statement_of_a_request_ends_and_long_work_goes_on(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlalchemy as sa

    monkeypatch.setattr(timeouts, "STATEMENT", 0.2)
    sleep = sa.text("SELECT pg_sleep(0.5)")

    def read() -> None:
        with store.database.read() as connection:
            connection.execute(sleep)

    with Store(postgresql_url, migrate=True) as store:
        with timeouts.request():
            refused(read)
            refused(lambda: store.database.transact(lambda connection: connection.execute(sleep)))
        with timeouts.request(takes_time=True):
            read()
        read()


def test_requests_are_refused_at_once_while_others_wait_in_vain(postgresql_url: str) -> None:
    with Store(postgresql_url, migrate=True) as store, timeouts.request():
        with locked(postgresql_url):
            for _ in range(3):  # as in a server with one thread
                refused(store.backups.list)
            began = time.monotonic()
            assert refused(store.backups.list).retry_after
            assert time.monotonic() - began < 0.2
        time.sleep(timeouts.Congestion._PAUSE)
        assert store.backups.list() == []


def test_health_the_page_and_the_description_answer_meanwhile(
    postgresql_url: str, mount: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Authorization": "Bearer admin-token"}
    with Store(postgresql_url, migrate=True) as store:
        send = mount(store, authorize=BearerTokens(TOKENS), limits=NO_RATES)
        assert send("GET", HEALTH, {}, b"").status == 200
        with locked(postgresql_url), monkeypatch.context() as hurried:
            hurried.setattr("expresso_persist.http.endpoints.ops._Probe.PATIENCE", 0.1)
            began = time.monotonic()
            answer = send("GET", HEALTH, {}, b"")
            assert (answer.status, answer.headers["retry-after"]) == (503, "2")
            assert send("GET", "/api/migration/openapi.json", {}, b"").status == 200
            assert time.monotonic() - began < 2  # and not as long as the lock is held
            answer = send("GET", GET_ALL, headers, b"")
            assert (answer.status, answer.json["code"]) == (503, "database_unavailable")
            assert "retry-after" in answer.headers
        time.sleep(timeouts.Congestion._PAUSE)
        assert send("GET", HEALTH, {}, b"").status == 200
        assert send("GET", GET_ALL, headers, b"").status == 200
