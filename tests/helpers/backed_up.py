"""A store with a past: backups that share pieces and are based on each other."""

from __future__ import annotations

import datetime as dt
import random

import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.backups.manifest import Manifest
from expresso_persist.db.tables import backup_chunks, backup_manifests, data_backups, leases
from expresso_persist.model.records import EventItem, Patch, Put, RecordKey, Setting, StationStock

Contents = list[tuple[RecordKey, str, int, str | None]]
ITEMS = 40
STATIONS = "CREATE TABLE stations (id INTEGER PRIMARY KEY, name TEXT)"  # the host's


def give_a_past(store: Store, count: int = 4) -> None:
    """Make automatic backups and change the state between them, also after the last.

    One change differs little from what it replaces, so its piece is stored as a difference;
    another differs wholly, so its piece is stored whole and is garbage once nobody lists it.
    """
    chance = random.Random(1)
    with store.database.write() as connection:
        if not sa.inspect(connection).has_table("stations"):
            connection.execute(sa.text(STATIONS))
        connection.execute(sa.text("INSERT INTO stations VALUES (1, 'Bar'), (2, 'Garden')"))
    store.inventory.commit(
        [
            *(
                Put(EventItem.of("milk", f"m{i}", data={"name": f"Milk {i}", "n": 0}, position=i))
                for i in range(ITEMS)
            ),
            Put(StationStock.of("1", "milk", "m1", data={"amount": 2.5})),
        ],
        actor="test",
    )
    for number in range(count):
        change(store, number, chance)
        store.backups.create("automatic")
    change(store, count, chance)


def change(store: Store, number: int, chance: random.Random) -> None:
    """Change a few items, replace a setting by noise, and add another one."""
    items = [RecordKey("event_inventory", ("milk", f"m{i}")) for i in range(0, ITEMS, 3)]
    store.inventory.commit(
        [
            *(Patch(key, {"n": number + 1}) for key in items),
            Put(Setting.of("noise", data=chance.randbytes(300).hex())),
            Put(Setting.of(f"n{number}", data=number)),
        ],
        actor="test",
    )


def contents(store: Store) -> Contents:
    """The state, every value with its place and its very text."""
    return [(r.key, r.text, r.position, r.raw) for r in store.inventory.snapshot().records]


def expire(store: Store) -> None:
    """Let the next backup be due, and the lease of a runner that died be over."""
    with store.database.write() as connection:
        past = store.database.now(connection) - dt.timedelta(hours=1)
        connection.execute(sa.update(leases).values(acquired_at=past, expires_at=past))


def assert_sound(store: Store) -> None:
    """Every listed backup restores, and no piece is kept for nobody.

    The trace that a failure left holds nothing and is not meant.
    """
    for backup in store.backups.list():
        if backup.backup_status == "completed" or backup.payload_sha256:
            assert store.backups.verify(backup.id).ok, backup
    assert_no_garbage(store)


def assert_no_garbage(store: Store) -> None:
    """The pieces that are stored are those that the backups need, each of them twice."""
    with store.database.read() as connection:
        needed: set[str] = set()
        mine = data_backups.c.tenant_id == store.tenant
        for text in connection.scalars(sa.select(data_backups.c.manifest).where(mine)):
            needed |= Manifest.decode(text).chunk_ids if text else set()
        chunks = sa.select(backup_chunks.c.sha256, backup_chunks.c.base_sha256)
        rows = connection.execute(chunks.where(backup_chunks.c.tenant_id == store.tenant))
        copies = [tuple(row) for row in rows]
        kept = sa.select(data_backups.c.id).where(mine, data_backups.c.manifest != "")
        listed = set(connection.scalars(kept))
        second = sa.select(backup_manifests.c.id)
        second = second.where(backup_manifests.c.tenant_id == store.tenant)
        assert set(connection.scalars(second)) == listed
    bases = dict(copies)
    assert len(copies) == 2 * len(bases)
    while based := {bases[name] for name in needed if bases[name] is not None} - needed:
        needed |= based
    assert bases.keys() == needed
