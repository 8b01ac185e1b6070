"""PostgreSQL hangs instead of failing: what waits for it ends, and the rest goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
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
from expresso_persist.model.records import Put, Setting
from expresso_persist.testing import OAT, TOKENS, UPDATE
from postgres_server import PrivateServer
from proxy import proxied

pytestmark = pytest.mark.postgresql
GET_ALL = "/api/inventory/get-all"
HEALTH = "/api/migration/health"
KNOWN = {"Authorization": "Bearer admin-token"}


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
    assert time.monotonic() - began < 5
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


def test_a_server_that_lets_nobody_in_is_not_waited_for() -> None:
    """The kernel of a stopped server still accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"postgresql://someone@127.0.0.1:{mute.getsockname()[1]}/expresso"
        with timeouts.request():
            refused(lambda: Store(url))


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
            answer = send("GET", GET_ALL, KNOWN, b"")
            assert (answer.status, answer.json["code"]) == (503, "database_unavailable")
            assert "retry-after" in answer.headers
        time.sleep(timeouts.Congestion._PAUSE)
        assert send("GET", HEALTH, {}, b"").status == 200
        assert send("GET", GET_ALL, KNOWN, b"").status == 200


def post(send: Callable[..., Any], path: str, body: object, **headers: str) -> Any:
    headers = {**KNOWN, "Content-Type": "application/json", **headers}
    return send("POST", path, headers, json.dumps(body).encode())


def slow_insert(url: str, table: str, options: str = "") -> None:
    """Inserting into a table takes a third of a second from now on."""
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "CREATE OR REPLACE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END$$"
        )
        kind = "CONSTRAINT TRIGGER" if options else "TRIGGER"
        other.execute(
            f"CREATE {kind} doze AFTER INSERT ON {table} {options} "  # type: ignore[arg-type]
            "FOR EACH ROW EXECUTE FUNCTION doze()"
        )


@pytest.mark.parametrize(
    ("mount", "url"),
    [("fastapi", "postgresql_url"), ("flask", "pgbouncer_url")],
    indirect=["mount"],
)
def test_what_takes_its_time_is_not_cut(
    url: str,
    mount: Callable[..., Any],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither imports, backups, restores and their undo, nor who listens meanwhile."""
    url = request.getfixturevalue(url)
    event = {"localStorage": {"event_menu": '{"latte":1}'}}
    with Store(url, migrate=True) as store, store.feed.subscribe(timeout=5) as events:
        send = mount(store, authorize=BearerTokens(TOKENS), limits=NO_RATES)
        slow_insert(request.getfixturevalue("postgresql_url"), "commits")
        slow_insert(request.getfixturevalue("postgresql_url"), "data_backups")
        for name, value in (("LOOK_UP", 3.0), ("STATEMENT", 0.1), ("TRANSACTION", 0.2)):
            monkeypatch.setattr(timeouts, name, value)
        answer = post(send, UPDATE, OAT)
        assert (answer.status, answer.json["code"]) == (503, "database_unavailable")
        assert post(send, "/api/migration/export-localStorage", event).status == 200
        assert next(events).commit is not None
        assert post(send, "/api/inventory/undo", {"revision": 1}).status == 200
        made = post(send, "/api/migration/create-backup", {})
        assert made.status == 200
        path = f"/api/migration/backups/{made.json['data']['id']}/restore"
        assert post(send, path, {}).status == 200
        store.inventory.commit([Put(Setting.of("hall", data="B"))], actor="a script")
        assert store.inventory.verify().ok


@pytest.mark.parametrize(
    ("mount", "lost"), [("fastapi", "the answer"), ("flask", "the work")], indirect=["mount"]
)
def test_a_write_that_hangs_at_its_commit_is_done_once(
    postgresql_url: str, mount: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Whether the server did it or not: the client, told 503, repeats it under its key."""
    adjust = {"station_id": "1", "category": "milk", "item": "Oat milk", "delta": -1}
    Store(postgresql_url, migrate=True).close()
    with proxied(postgresql_url) as (url, proxy), Store(url) as store:
        send = mount(store, authorize=BearerTokens(TOKENS), limits=NO_RATES)
        assert post(send, UPDATE, OAT).status == 200
        with monkeypatch.context() as hurried:
            if lost == "the answer":
                proxy.swallow_after(b"COMMIT\0")
            else:
                hurried.setattr(timeouts, "TRANSACTION", 0.1)
                slow_insert(postgresql_url, "commits", "DEFERRABLE INITIALLY DEFERRED")
            answer = post(send, "/api/inventory/adjust", adjust, **{"Idempotency-Key": "k1"})
            assert (answer.status, answer.json["code"]) == (503, "database_unavailable")
            assert "retry-after" in answer.headers
        assert store.inventory.head().revision == (2 if lost == "the answer" else 1)
        monkeypatch.setattr(timeouts, "TRANSACTION", 5.0)
        for _ in range(2):
            answer = post(send, "/api/inventory/adjust", adjust, **{"Idempotency-Key": "k1"})
            assert answer.status == 200
        assert answer.headers["idempotency-replayed"] == "true"
        [record] = store.inventory.records("station_quantity")
        assert record.data == 99
        assert store.inventory.verify().ok
