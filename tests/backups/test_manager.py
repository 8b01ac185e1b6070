"""Backups on both databases: made, verified, found damaged, rotated."""

from __future__ import annotations

import datetime as dt
import random
import time

import attrs
import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.backups import BackupManager, Rotation
from expresso_persist.db.tables import backup_chunks, backup_manifests, data_backups
from expresso_persist.errors import (
    BackupCorrupted,
    BackupNotFound,
    ExpressoPersistError,
    InvalidConfiguration,
    InvalidInput,
)
from expresso_persist.model.records import EventItem, Patch, Put, RecordKey, Setting, StationStock


def fill(store: Store, count: int = 40) -> None:
    store.inventory.commit(
        [
            *(
                Put(EventItem.of("milk", f"m{i}", data={"name": f"Milk {i}", "n": 0}, position=i))
                for i in range(count)
            ),
            Put(Setting.of("branding", data={"z": 1, "a": [0.125, "ü"]})),
            Put(StationStock.of("1", "milk", "m1", data={"amount": 2.5})),
        ],
        actor="test",
    )


def change(store: Store, value: int, item: str = "m1") -> None:
    key = RecordKey("event_inventory", ("milk", item))
    store.inventory.commit([Patch(key, {"n": value})], actor="test")


def manager(store: Store, **options: object) -> BackupManager:
    return BackupManager(store.database, store.inventory, **options)  # type: ignore[arg-type]


def chunk_ids(store: Store) -> set[str]:
    with store.database.read() as connection:
        return set(connection.scalars(sa.select(backup_chunks.c.sha256)))


def test_a_backup_is_made_and_verified(store: Store) -> None:
    """It tells what it holds, and that it was rebuilt elsewhere with the right result."""
    fill(store)
    backup = store.backups.create(notes="before the event", actor="Zoë")
    assert (backup.backup_type, backup.backup_status) == ("manual", "completed")
    assert backup.verified_at is not None
    assert backup.revision == 1
    assert backup.record_counts["event_inventory"] == 40
    assert backup.record_counts["setting"] == 1
    assert backup.stored_bytes > 0
    assert backup.file_size_bytes > 40 * 50
    assert len(backup.id) == 32
    assert backup.notes == "before the event"
    assert store.backups.list() == [backup]
    assert store.backups.get(backup.id) == backup


def test_an_empty_state_can_be_backed_up(store: Store) -> None:
    """A tenant that was never used has a backup with nothing in it."""
    backup = store.backups.create()
    assert backup.verified_at is not None
    assert backup.record_counts["event_inventory"] == 0


def test_an_unchanged_part_is_stored_once(store: Store) -> None:
    """The second backup of a state that changed in one place costs one piece."""
    fill(store, 3000)
    first = store.backups.create()
    change(store, 1)
    second = store.backups.create()
    assert second.payload_sha256 != first.payload_sha256
    assert second.stored_bytes * 5 < first.stored_bytes


def test_an_equal_state_makes_no_new_row(store: Store) -> None:
    """The newest backup is confirmed instead, whether or not there were commits."""
    fill(store)
    first = store.backups.create("automatic")
    again = store.backups.create("automatic")
    assert again.id == first.id
    assert again.confirmed_at is not None
    change(store, 1)
    change(store, 0)
    back = store.backups.create("automatic")
    assert back.id == first.id
    change(store, 2)
    assert store.backups.create("automatic").id != first.id
    assert len(store.backups.list()) == 2


def test_the_status_tells_how_the_backups_do(store: Store) -> None:
    """And never a payload."""
    fill(store)
    status = store.backups.status()
    assert status["latest_backup"] is None
    assert status["last_success_at"] is None
    assert "There is no backup yet." in status["warnings"]
    backup = store.backups.create("automatic")
    status = store.backups.status()
    assert status["backup_running"] is False
    assert status["backup_interval_minutes"] == 5
    assert status["latest_backup"]["id"] == backup.id
    assert status["latest_backup"]["created_at"].endswith("Z")
    assert status["total_backups"] == 1
    assert status["total_size_bytes"] == backup.file_size_bytes
    assert status["stored_bytes"] == backup.stored_bytes
    assert status["lag_seconds"] == 0
    assert status["next_due_at"] > status["last_success_at"]
    assert status["last_error"] is None
    assert "Milk" not in str(status)
    assert any("another place" in warning for warning in status["warnings"])


def test_another_tenant_sees_nothing(store: Store) -> None:
    """Its backups are its own; an id of another tenant does not exist."""
    fill(store)
    backup = store.backups.create()
    other = store.for_tenant("other")
    assert other.backups.list() == []
    with pytest.raises(BackupNotFound):
        other.backups.get(backup.id)
    with pytest.raises(BackupNotFound):
        other.backups.restore(backup.id, actor="test")
    other.backups.create()
    other.backups.rotation = Rotation(keep_last=1)
    other.backups.rotate()
    assert store.backups.verify(backup.id).ok


def test_what_cannot_work_is_refused(store: Store) -> None:
    """With a sentence that says what can."""
    with pytest.raises(InvalidInput, match="automatic, manual, safety"):
        store.backups.create("weekly")
    with pytest.raises(InvalidInput):
        store.backups.create(notes="x" * 1001)
    with pytest.raises(InvalidConfiguration):
        manager(store, interval=0)
    with pytest.raises(BackupNotFound):
        store.backups.verify("nothing")


# -- damage -------------------------------------------------------------------------------


def flip(store: Store, column: sa.Column[object], chance: random.Random) -> None:
    """Change one random byte of one random stored value, as a failing disk does."""
    table = column.table
    with store.database.write() as connection:
        rows = connection.execute(sa.select(*table.primary_key, column)).all()
        *key, value = chance.choice([row for row in rows if row[-1]])
        text = isinstance(value, str)
        data = bytearray(value.encode() if text else value)
        place = chance.randrange(len(data))
        data[place] = chance.choice([b for b in range(32, 127) if b != data[place]])
        connection.execute(
            sa.update(table)
            .where(*(c == v for c, v in zip(table.primary_key, key, strict=True)))
            .values({column: data.decode("utf-8", "replace") if text else bytes(data)})
        )


def damage_all_copies(store: Store, *where: sa.ColumnElement[bool]) -> None:
    """Both rows of each piece, which one failing row of a disk cannot do."""
    with store.database.write() as connection:
        connection.execute(sa.update(backup_chunks).where(*where).values(data=b"\x01rubbish"))


@pytest.mark.parametrize("table", [backup_chunks, data_backups, backup_manifests])
def test_a_flipped_byte_is_found_and_mended(store: Store, table: sa.Table) -> None:
    """Whichever copy it is in: the other one is used, and the damaged one written again."""
    fill(store)
    backup = store.backups.create()
    column = table.c.data if table is backup_chunks else table.c.manifest
    with store.database.read() as connection:
        kept = connection.execute(sa.select(table)).all()
    chance = random.Random(1)
    for _ in range(6):
        flip(store, column, chance)
        assert store.backups.plan_restore(backup.id).backup.id == backup.id
        result = store.backups.verify(backup.id)
        assert (result.ok, result.repaired) == (True, 1)
        with store.database.read() as connection:
            assert sorted(connection.execute(sa.select(column)).all()) == sorted(
                (row._mapping[column],) for row in kept
            )


def test_a_rotten_piece_is_mended_by_the_next_backup(store: Store) -> None:
    """Both copies are gone: the new backup shares it, and writes it again for both backups."""
    fill(store, 3000)
    old = store.backups.create()
    change(store, 1)
    damage_all_copies(store)
    new = store.backups.create()
    assert new.backup_status == "completed"
    missing = store.backups.verify(old.id)
    # Only the piece that changed since cannot be known any more.
    assert len(missing.damaged_chunks) == 1
    assert store.backups.status()["damaged_backups"] == [old.id]
    assert not store.backups.health()["ok"]
    change(store, 0)
    assert store.backups.create().verified_at is not None
    assert store.backups.verify(old.id).ok
    assert store.backups.status()["damaged_backups"] == []


def test_a_missing_piece_is_found(store: Store) -> None:
    """A backup that lost both copies of a piece is not restored."""
    fill(store)
    backup = store.backups.create()
    change(store, 1)
    with store.database.write() as connection:
        connection.execute(sa.delete(backup_chunks))
    with pytest.raises(BackupCorrupted, match="missing"):
        store.backups.plan_restore(backup.id)
    result = store.backups.verify(backup.id)
    assert not result.ok
    assert store.backups.get(backup.id).backup_status == "failed"


def test_a_row_that_does_not_fit_its_manifest_is_written_again(store: Store) -> None:
    """The manifest is right, which has a checksum and a second copy."""
    fill(store)
    backup = store.backups.create(notes="kept", actor="Zoë")
    with store.database.write() as connection:
        wrong = {"revision": 99, "payload_sha256": "0" * 64, "notes": "x", "stored_bytes": -1}
        connection.execute(sa.update(data_backups).values(**wrong))
    assert store.backups.plan_restore(backup.id).backup.revision == backup.revision
    assert store.backups.verify(backup.id).repaired == 1
    again = store.backups.get(backup.id)
    assert (again.revision, again.payload_sha256) == (backup.revision, backup.payload_sha256)
    assert again.notes == "kept"


def test_a_damaged_newest_backup_is_not_confirmed(store: Store) -> None:
    """An equal state gets a new row when the newest one was found damaged."""
    fill(store)
    first = store.backups.create("automatic")
    change(store, 1)
    damage_all_copies(store)
    assert not store.backups.verify(first.id).ok
    change(store, 0)
    second = store.backups.create("automatic")
    assert second.id != first.id
    assert second.verified_at is not None
    assert store.backups.verify(first.id).ok  # the state was the same


def test_a_failed_read_leaves_no_backup(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never an empty backup that calls itself completed; the failure is seen everywhere."""
    fill(store)

    def broken(*_: object) -> None:
        raise ExpressoPersistError("The disk is on fire.")

    monkeypatch.setattr(store.inventory, "snapshot", broken)
    with pytest.raises(ExpressoPersistError):
        store.backups.create()
    assert store.backups.list() == []
    for _ in range(3):
        with pytest.raises(ExpressoPersistError):
            store.backups.run_once()
    (failed,) = store.backups.list()
    assert (failed.backup_status, failed.error) == ("failed", "The disk is on fire.")
    elsewhere = manager(store).status()
    assert elsewhere["last_error"] == "The disk is on fire."
    assert elsewhere["total_backups"] == 0
    with pytest.raises(BackupCorrupted):
        store.backups.restore(failed.id, actor="test")
    monkeypatch.undo()
    assert store.backups.run_once() is not None
    assert store.backups.status()["last_error"] is None


def test_a_failure_is_over_once_the_state_was_confirmed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unchanged state makes no new row, yet the backups work again."""
    fill(store)
    backups = manager(store, interval=1)
    assert backups.run_once() is not None
    time.sleep(1.05)
    with monkeypatch.context() as patch:
        patch.setattr(
            type(backups._writer),
            "read",
            lambda *_, **__: (_ for _ in ()).throw(ExpressoPersistError("Broken.")),
        )
        with pytest.raises(ExpressoPersistError):
            backups.run_once()
    assert manager(store).status()["last_error"] == "Broken."
    confirmed = backups.run_once()
    assert confirmed is not None
    assert confirmed.confirmed_at is not None
    assert manager(store).status()["last_error"] is None


# -- rotation -----------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 64])
def test_rotation_drops_rows_and_the_pieces_nobody_needs(
    store: Store, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dry run tells exactly what is done; what stays still verifies.

    Pieces stored whole go with their backups; those that others are based on stay.
    """
    monkeypatch.setattr("expresso_persist.backups.chunks.MAX_DEPTH", depth)
    fill(store, 400)
    backups = manager(store, rotation=Rotation(keep_last=3))
    manual = backups.create()
    for number in range(1, 7):
        change(store, number)
        backups.create("automatic")
    pinned = backups.pin(backups.list()[-2].id)
    before = chunk_ids(store)
    dry = backups.rotate(dry_run=True)
    assert chunk_ids(store) == before
    assert backups.rotate() == dry
    left = {backup.id for backup in backups.list()}
    assert left == {decision.backup_id for decision in dry if decision.keep}
    assert len(left) == 5
    assert {manual.id, pinned.id} <= left
    assert chunk_ids(store) < before if depth == 1 else chunk_ids(store) == before
    assert all(backups.verify(backup_id).ok for backup_id in left)


def test_fifty_automatic_backups_stay(store: Store) -> None:
    """The default rule, with rows of a whole day."""
    fill(store)
    backups = store.backups
    first = backups.create("automatic")
    with store.database.write() as connection:
        row = dict(connection.execute(sa.select(data_backups)).mappings().one())
        for number in range(60):
            created = first.created_at - dt.timedelta(minutes=5 * (number + 1))
            connection.execute(
                sa.insert(data_backups).values(
                    **{**row, "id": f"old{number:02}", "created_at": created}
                )
            )
    backups.rotate()
    left = backups.list()
    assert len(left) == 50
    assert left[0].id == first.id
    assert left[-1].id == "old48"
    assert backups.status()["total_backups"] == 50


def test_nothing_is_collected_while_a_manifest_cannot_be_read(store: Store) -> None:
    """What a manifest damaged in both copies refers to is unknown, so every piece stays."""
    fill(store)
    backups = manager(store, rotation=Rotation(keep_last=1))
    for number in range(4):
        change(store, number + 1)
        backups.create("automatic")
    oldest = backups.list()[-1]
    backups.pin(oldest.id)
    with store.database.write() as connection:
        for table in (data_backups, backup_manifests):
            damaged = sa.update(table).where(table.c.id == oldest.id)
            connection.execute(damaged.values(manifest='{"sha256": "0", "manifest": {}}'))
    before = chunk_ids(store)
    backups.rotate()
    assert len(backups.list()) == 2
    assert chunk_ids(store) == before


def test_backups_are_values(store: Store) -> None:
    """Their JSON has no more than the metadata."""
    value = store.backups.create().to_json()
    assert set(value) == {field.name for field in attrs.fields(type(store.backups.list()[0]))}


def test_a_backup_costs_what_changed_and_reads_through_every_depth(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve backups of one change each, four deep at most; all restore to their state."""
    monkeypatch.setattr("expresso_persist.backups.chunks.MAX_DEPTH", 4)
    fill(store, 400)
    backups = manager(store)
    first = backups.create()
    states = {first.id: store.inventory.records()}
    sizes = []
    for number in range(12):
        change(store, number)
        made = backups.create()
        states[made.id] = store.inventory.records()
        sizes.append(made.stored_bytes)
    assert sorted(sizes)[8] * 8 < first.stored_bytes  # nine of twelve are differences
    assert sum(size * 4 > first.stored_bytes for size in sizes) in (2, 3)
    for backup_id, state in states.items():
        assert backups.verify(backup_id).ok
        backups.restore(backup_id, actor="test")
        assert store.inventory.records() == state


def test_a_damaged_base_is_found_in_every_backup_that_needs_it(store: Store) -> None:
    """And the next backup stores its pieces whole instead of building on what is broken."""
    fill(store, 400)
    backups = manager(store)
    older = [backups.create()]
    for number in range(3):
        change(store, number)
        older.append(backups.create())
    change(store, 8, "m2")
    damage_all_copies(store, backup_chunks.c.base_sha256.is_(None))
    assert not any(backups.verify(backup.id).ok for backup in older)
    change(store, 9)
    made = backups.create()
    assert backups.verify(made.id).ok
    with pytest.raises(BackupCorrupted):
        backups.restore(older[-1].id, actor="test")
