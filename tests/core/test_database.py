"""Transactions and what differs between the databases."""

from __future__ import annotations

import datetime as dt

from expresso_persist import Store
from expresso_persist.db.tables import leases


def test_insert_if_absent_tells_what_it_did(store: Store) -> None:
    """True the first time, False when the key is there."""
    now = dt.datetime.now(dt.UTC)
    row = {"tenant_id": "t", "name": "n", "holder": "h", "acquired_at": now, "expires_at": now}
    with store.database.write() as connection:
        assert store.database.insert_if_absent(connection, leases, row) is True
        assert store.database.insert_if_absent(connection, leases, row) is False


def test_the_databases_clock_is_aware_and_now(store: Store) -> None:
    """UTC, within a minute of this machine's clock, on both databases."""
    with store.database.read() as connection:
        found = store.database.now(connection)
    assert abs(found - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
