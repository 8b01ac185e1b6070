"""The check of everything that backups are stored in: what it finds is reported, and mended."""

from __future__ import annotations

import json
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backed_up import assert_sound, change, contents, expire, give_a_past
from expresso_persist import BackupManager, Store
from expresso_persist.backups import verification
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.manifest import Manifest
from expresso_persist.db.tables import (
    backup_checks,
    backup_chunks,
    backup_manifests,
    data_backups,
    leases,
)
from expresso_persist.errors import BackupCorrupted
from expresso_persist.model.records import Put, Setting
from expresso_persist.ops import doctor
from expresso_persist.ops.metrics import render


def run(store: Store) -> None:
    """What the scheduler does at the end of an interval."""
    expire(store)
    assert store.backups.run_once() is not None


def finding(store: Store) -> doctor.Finding:
    return doctor.backup_storage(doctor.DoctorContext(store))


def test_damage_is_told_everywhere_and_mended(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    give_a_past(store)
    run(store)
    assert store.backups.status()["storage_check"]["found_at"] is None
    assert finding(store).state == "ok"
    with store.database.write() as connection:
        first = backup_chunks.c.copy == 0
        connection.execute(sa.update(backup_chunks).where(first).values(data=b"rotten"))
    with caplog.at_level(logging.WARNING, "expresso_persist.backups"):
        run(store)
    assert any("pieces were damaged" in record.message for record in caplog.records)
    status = store.backups.status()
    assert status["damaged_backups"] == []
    (found,) = status["storage_check"]["findings"]
    assert "were written again" in found
    assert any("See whether the disk fails" in warning for warning in status["warnings"])
    assert finding(store).state == "warning"
    assert store.backups.health()["ok"], "nothing is lost"
    assert b"backup_storage_damage_timestamp_seconds" in render(store)[0]
    assert_sound(store)
    run(store)
    assert (
        store.backups.status()["storage_check"]["checked_at"] > status["storage_check"]["found_at"]
    )


def test_what_cannot_be_mended_is_named(store: Store) -> None:
    give_a_past(store, 2)
    lost = store.backups.list()[0].id
    with store.database.write() as connection:
        newest = Manifest.decode(
            connection.scalar(sa.select(data_backups.c.manifest).where(data_backups.c.id == lost))
        )
        older = Manifest.decode(
            connection.scalar(sa.select(data_backups.c.manifest).where(data_backups.c.id != lost))
        )
        alone = newest.chunk_ids - older.chunk_ids
        connection.execute(sa.delete(backup_chunks).where(backup_chunks.c.sha256.in_(alone)))
    run(store)
    status = store.backups.status()
    assert status["damaged_backups"] == [lost]
    assert any(lost in warning for warning in status["warnings"])
    assert store.backups.get(lost).backup_status == "failed"
    assert store.backups.health() | {"ok": False, "damaged_backups": 1} == store.backups.health()
    assert finding(store).state == "problem"
    assert lost in finding(store).text
    assert b'expresso_persist_backups_damaged{tenant="default"} 1.0' in render(store)[0]
    run(store)
    change(store, 7, random.Random(7))
    run(store)
    assert store.backups.status()["damaged_backups"] == [lost], "it is shown until it rotates"


def test_rows_of_the_first_version_get_what_they_lack(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """One copy without a checksum, and one manifest in its older form: nothing is damaged."""
    give_a_past(store)
    old = {backup.id: backup for backup in store.backups.list()}
    with store.database.write() as connection:
        connection.execute(sa.delete(backup_chunks).where(backup_chunks.c.copy == 1))
        connection.execute(sa.update(backup_chunks).values(stored_sha256=None))
        connection.execute(sa.delete(backup_manifests))
        for backup_id in old:
            mine = data_backups.c.id == backup_id
            text = connection.scalar(sa.select(data_backups.c.manifest).where(mine))
            first = first_form(Manifest.decode(text))
            connection.execute(sa.update(data_backups).where(mine).values(manifest=first))
    for backup_id, backup in old.items():
        assert store.backups.plan_restore(backup_id).backup == backup
    caplog.clear()
    run(store)
    assert not [record for record in caplog.records if "damage" in record.message]
    assert store.backups.status()["storage_check"]["found_at"] is None
    assert_sound(store)


def test_a_damaged_row_of_the_first_version_is_found(store: Store) -> None:
    """Without a checksum of what is stored, it is read whole before it is trusted."""
    give_a_past(store)
    with store.database.write() as connection:
        connection.execute(sa.delete(backup_chunks).where(backup_chunks.c.copy == 1))
        connection.execute(sa.update(backup_chunks).values(stored_sha256=None, data=b"\1rotten"))
    run(store)
    assert store.backups.status()["damaged_backups"]


def first_form(manifest: Manifest) -> str:
    """A manifest as version 0.1.0 wrote it."""
    import hashlib

    import msgspec

    inner = msgspec.json.encode(manifest)
    return f'{{"sha256":"{hashlib.sha256(inner).hexdigest()}","manifest":{inner.decode()}}}'


def test_a_damaged_lease_stops_nothing(store: Store) -> None:
    """Taken for a thousand years, or by something that is no text: it counts as free."""
    give_a_past(store, 1)
    run(store)
    with store.database.write() as connection:
        now = store.database.now(connection)
        later = now.replace(year=3000)
        connection.execute(
            sa.update(leases).values(holder="x#y@z-1", acquired_at=now, expires_at=later)
        )
        connection.execute(sa.delete(backup_checks))
    due = leases.c.name == "backup-due"
    with store.database.write() as connection:
        connection.execute(sa.update(leases).where(due).values(acquired_at=now.replace(year=2020)))
    assert store.backups.run_once() is not None
    store.backups.restore(store.backups.list()[-1].id, actor="test")


def test_the_scratch_database_is_compared(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup whose bytes are right, and which is rebuilt to another state, is not verified."""

    real = verification.record_row

    def wrong(record, *rest):  # type: ignore[no-untyped-def]
        row = real(record, *rest)
        return {**row, "position": row["position"] + 1}

    monkeypatch.setattr(verification, "record_row", wrong)
    store.inventory.commit([Put(Setting.of("a", data=1))], actor="test")
    with pytest.raises(BackupCorrupted, match="another state of setting"):
        store.backups.create()
    monkeypatch.undo()
    (made,) = store.backups.list()
    assert store.backups.verify(made.id).ok


def test_a_row_that_does_not_come_back_is_noticed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scratch database lacks a record, or has one more."""

    store.inventory.commit([Put(Setting.of(name, data=1)) for name in "ab"], actor="test")
    made = store.backups.create()
    real = verification.decode_records

    def fewer(section, pieces):  # type: ignore[no-untyped-def]
        for batch in real(section, pieces):
            yield batch[:-1]

    monkeypatch.setattr(verification, "decode_records", fewer)
    assert "another state" in store.backups.verify(made.id).problems[0]


# -- what is said of the newest backup ------------------------------------------------------


def test_a_safety_backup_is_no_newest_one(store: Store, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """After a disaster: an archive, and the safety backup of the empty state."""
    store.inventory.commit([Put(Setting.of("a", data=1))], actor="test")
    archive = tmp_path / "event.expresso.zst"
    store.backups.export(store.backups.create().id, archive)
    with Store(f"sqlite:///{tmp_path}/new.db", migrate=True) as new:
        assert "There is no backup yet." in new.backups.status()["warnings"]
        new.backups.restore(new.backups.import_(archive).id, actor="test")
        status = new.backups.status()
        assert status["total_backups"] == 2
        assert status["latest_backup"] is None
        assert not new.backups.health()["ok"]
        (told,) = [warning for warning in status["warnings"] if "no backup" in warning]
        assert "came from archives or was made before an import or a restore" in told
        assert doctor.backup(doctor.DoctorContext(new)).text.startswith(told)
        made = new.backups.run_once()
        assert made is not None
        assert new.backups.status()["latest_backup"]["id"] == made.id
        assert new.backups.health()["ok"]
        assert json.dumps(contents(new)[0][1]) == '"1"'


@pytest.mark.parametrize("damaged", [False, True], ids=["sound", "while mending"])
def test_a_backup_made_during_the_check_is_not_judged_by_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """What the check read is older than that backup, and says nothing about it."""
    store.importer.import_({"event_inventory": {"milk": {"Oat": {"enabled": True}}}}, actor="t")
    first = store.backups.create()
    if damaged:
        with store.database.write() as connection:
            connection.execute(
                sa.update(backup_chunks).where(backup_chunks.c.copy == 0).values(data=b"rotten")
            )
    made: list[str] = []
    inspect = ChunkStore.inspect

    def meanwhile(self: ChunkStore, connection: Connection) -> Any:
        found = inspect(self, connection)
        if not made:
            made.append("")
            other = BackupManager(store.database, store.inventory)
            with ThreadPoolExecutor(1) as pool:
                made[0] = pool.submit(other.create, "manual", "meanwhile").result().id
        return found

    monkeypatch.setattr(ChunkStore, "inspect", meanwhile)
    checked = store.backups.verify(first.id)
    assert checked.ok
    states = {backup.id: backup.backup_status for backup in store.backups.list()}
    assert states == {first.id: "completed", made[0]: "completed"}
    assert store.backups.status()["damaged_backups"] == []
