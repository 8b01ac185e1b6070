"""Whatever single row of what backups are stored in is damaged or gone: none is lost.

Every row is tried in turn, after three kinds of event day, on both databases. With
``EXPRESSO_TEST_LONG`` the days have 50 backups of some 64 KB, and every column of every row is
damaged; else there are 8 small ones, and each row is removed and damaged in one column.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable

import pytest

from backed_up import Contents, contents, expire
from damage import Disk
from expresso_persist import Store
from expresso_persist.db.tables import backup_chunks, backup_manifests, data_backups
from expresso_persist.errors import BackupCorrupted, BackupNotFound
from expresso_persist.model.records import (
    Delete,
    EventItem,
    Patch,
    Put,
    RecordKey,
    Setting,
    StationStock,
)

LONG = bool(os.environ.get("EXPRESSO_TEST_LONG"))
BACKUPS = 50 if LONG else 8
ITEMS = 400 if LONG else 30
UNSEEN = {  # changes of these cannot be seen in what the library wrote
    "backup_status", "confirmed_at", "verified_at", "verification", "stored_bytes", "pinned",
    "error",
}  # fmt: skip


def item(number: int, **data: object) -> Put:
    value = {"name": f"Milk {number}", "note": f"{number:x}" * 20, **data}
    return Put(EventItem.of("milk", f"m{number}", data=value, position=number))


def count(store: Store, number: int) -> None:
    """One count of one item."""
    key = RecordKey("event_inventory", ("milk", f"m{number * 7 % ITEMS}"))
    store.inventory.commit([Patch(key, {"n": number})], actor="test")


def counts(store: Store, number: int) -> None:
    """A quiet day."""
    count(store, number)


def large_import(store: Store, number: int) -> None:
    """Much that is new comes in the middle of the day."""
    if number == BACKUPS // 2:
        chance = random.Random(3)
        more = [item(i, noise=chance.randbytes(30).hex()) for i in range(1000, 1000 + 2 * ITEMS)]
        store.inventory.commit(more, actor="test")
    count(store, number)


def upheaval(store: Store, number: int) -> None:
    """Renamed, inserted, removed, and taken back from a backup."""
    name = RecordKey("event_inventory", ("milk", f"m{number}"))
    if number % 4 == 3:
        store.backups.restore(store.backups.list()[-1].id, actor="test")
        store.inventory.commit([Put(Setting.of("restored", data=number))], actor="test")
    else:
        moved = EventItem.of("milk", f"z{number}", data={"name": "moved"}, position=number)
        insertion = Put(StationStock.of(str(number), "milk", "m1", data={"amount": number / 8}))
        store.inventory.commit([Delete(name), Put(moved), insertion], actor="test")


@pytest.fixture(params=[counts, large_import, upheaval])
def day(request: pytest.FixtureRequest, store: Store) -> tuple[Disk, dict[str, Contents]]:
    """A day of backups; the rows they are stored in, and the state of each."""
    go_on: Callable[[Store, int], None] = request.param
    store.inventory.commit([item(number, n=0) for number in range(ITEMS)], actor="test")
    states = {}
    for number in range(BACKUPS):
        go_on(store, number)
        expire(store)
        made = store.backups.run_once()
        assert made is not None
        states[made.id] = contents(store)
    return Disk(store, random.Random(5)), states


def restores(store: Store, backup_id: str, state: Contents) -> bool:
    """Restore it, and compare what is there then."""
    try:
        store.backups.restore(backup_id, actor="test")
    except (BackupCorrupted, BackupNotFound):
        return False
    assert contents(store) == state
    return True


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_single_row_takes_a_backup_with_it(
    store: Store, day: tuple[Disk, dict[str, Contents]]
) -> None:
    disk, states = day
    for table, row in disk.every():
        columns = [
            column for column in table.c if column.name != "tenant_id" or table is not data_backups
        ]
        if not LONG:
            columns = [disk.chance.choice(columns)]
        for column in (None, *columns):
            told = disk.remove(table, row) if column is None else disk.damage(table, row, column)
            seen = (
                table in (data_backups, backup_chunks, backup_manifests)
                and (column is None or table is not data_backups or column.name not in UNSEEN)
                and not (table is data_backups and row["id"] not in states)
            )
            try:
                examine(store, states, seen=seen)
            except BaseException as error:
                error.add_note(told)
                raise
            disk.put_back()


def examine(store: Store, states: dict[str, Contents], *, seen: bool) -> None:
    """Right after the damage, after the next run, and after the one that follows."""
    store.inventory.commit([Put(Setting.of("before", data=len(contents(store))))], actor="test")
    newest = [made for made in store.backups.list() if made.backup_type == "automatic"][:2]
    assert any(made.id in states and restores(store, made.id, states[made.id]) for made in newest)
    listed = [made for made in store.backups.list() if made.backup_type == "automatic"]
    sound = 0
    for made in listed:
        if made.id in states:
            with contextlib.suppress(BackupCorrupted):
                sound += store.backups.plan_restore(made.id).backup.id == made.id
    assert sound >= len(listed) - 1

    expire(store)
    before = store.backups.status()["storage_check"]
    made = store.backups.run_once()
    assert made is not None
    assert made.verified_at is not None
    status = store.backups.status()
    assert status["damaged_backups"] == []
    if seen:
        assert status["storage_check"]["found_at"] is not None, "damage was not reported"
        assert status["storage_check"] != before
    there = {made.id for made in store.backups.list()}
    assert there >= states.keys()
    assert made.id in there

    assert store.backups._scrubber.run().found == (), "it was mended once and for all"
    assert store.backups.plan_restore(next(iter(states))).backup.revision
