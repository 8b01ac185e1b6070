"""An import that changes something stored is preceded by a backup of the state before."""

from __future__ import annotations

from typing import Any

import pytest

from expresso_persist import BackupManager, LocalStorageImporter, Put, Store
from expresso_persist.backups import rotation
from expresso_persist.commits.decision import Decision
from expresso_persist.errors import (
    ConflictRefused,
    DatabaseUnavailable,
    ExpressoPersistError,
    InvalidInput,
    StorageFull,
)
from expresso_persist.model.records import Setting
from shapes import FRONT_END, SEED, held


@pytest.mark.parametrize("mode", ["merge", "replace"])
def test_the_receipt_names_the_backup_of_the_state_before(store: Store, mode: Any) -> None:
    """And restoring it takes the import back."""
    store.importer.import_(FRONT_END, actor="test")
    before = held(store)
    receipt = store.importer.import_(SEED, actor="anna", mode=mode)
    assert receipt.safety_backup_id == receipt.to_json()["safety_backup_id"]
    assert receipt.safety_backup_id is not None
    backup = store.backups.get(receipt.safety_backup_id)
    assert (backup.backup_type, backup.revision, backup.actor) == ("preimport", 1, "anna")
    assert backup.verified_at is not None
    assert mode in backup.notes
    store.backups.restore(backup.id, actor="anna")
    assert held(store) == before


def test_no_backup_where_nothing_stored_is_touched(store: Store) -> None:
    """The first import, one that only adds, one that changes nothing, a dry run, a refusal."""
    importer = store.importer
    importer.import_(FRONT_END, actor="test")
    importer.import_({"event_menu": {"a": 1}}, actor="test")
    importer.import_(FRONT_END, actor="test")
    importer.import_({"event_menu": {"a": 2}}, actor="test", on_conflict="existing")
    importer.plan(SEED)
    importer.plan(SEED, mode="replace")
    with pytest.raises(ConflictRefused):
        importer.import_(SEED, actor="test", on_conflict="fail")
    with pytest.raises(InvalidInput):
        importer.import_({"token": "t"}, actor="test", mode="replace")
    first = store.for_tenant("new").importer.import_(FRONT_END, actor="test", mode="replace")
    assert first.safety_backup_id is None
    assert store.backups.list() == store.for_tenant("new").backups.list() == []


def test_replace_is_always_preceded_by_one(store: Store) -> None:
    """Also where it only adds; not where it finds everything equal."""
    store.importer.import_(FRONT_END, actor="test")
    more = {**FRONT_END, "event_menu": {"a": 1}}
    assert store.importer.import_(more, actor="test", mode="replace").safety_backup_id
    assert not store.importer.import_(more, actor="test", mode="replace").safety_backup_id
    assert len(store.backups.list()) == 1


@pytest.mark.parametrize("error", [DatabaseUnavailable(retry_after=3), StorageFull()])
def test_without_a_backup_there_is_no_import(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: ExpressoPersistError
) -> None:
    store.importer.import_(FRONT_END, actor="test")
    before = store.inventory.snapshot()

    def fail(*_: object) -> str:
        raise error

    monkeypatch.setattr(store.backups, "before_import", fail)
    with pytest.raises(type(error), match="Nothing was imported") as failed:
        store.importer.import_(SEED, actor="test")
    assert error.message in failed.value.message
    assert failed.value.retry_after == error.retry_after
    assert store.inventory.snapshot() == before
    monkeypatch.undo()
    assert store.importer.import_(SEED, actor="test").committed


def test_a_write_between_backup_and_commit_is_not_lost(store: Store) -> None:
    """What the import changes is decided again under the lock."""
    store.importer.import_({"event_menu": {"a": 1}}, actor="test")
    made: list[str] = []

    def meanwhile(notes: str, actor: str) -> str:
        store.for_tenant(store.tenant).importer.import_({"event_other": {"b": 2}}, actor="other")
        made.append(store.backups.before_import(notes, actor))
        return made[-1]

    importer = LocalStorageImporter(store.inventory, meanwhile)
    with pytest.raises(ExpressoPersistError, match="test is importing"):
        importer.import_({"event_menu": {"a": 2}}, actor="test")  # imports go one at a time

    def written(notes: str, actor: str) -> str:
        if not made:
            store.inventory.commit(Decision(keep_empty=True), actor="other")
        made.append(store.backups.before_import(notes, actor))
        return made[-1]

    receipt = LocalStorageImporter(store.inventory, written).import_(
        {"event_menu": {"a": 2}}, actor="test"
    )
    assert (receipt.revision, receipt.safety_backup_id) == (3, made[-1])
    assert store.backups.get(made[-1]).revision == 2


def test_the_managers_settings_are_those_of_the_time(store: Store) -> None:
    """A manager that is assigned after the importer was made is asked."""
    importer = store.importer
    importer.import_(FRONT_END, actor="test")

    class Counting(BackupManager):
        made = 0

        def before_import(self, notes: str, actor: str) -> str:
            Counting.made += 1
            return super().before_import(notes, actor)

    store.backups = Counting(store.database, store.inventory)
    importer.import_(SEED, actor="test")
    assert Counting.made == 1


def test_an_importer_of_ones_own_makes_none(store: Store) -> None:
    importer = LocalStorageImporter(store.inventory)
    importer.import_(FRONT_END, actor="test")
    assert importer.import_(SEED, actor="test").safety_backup_id is None
    assert store.backups.list() == []


def test_the_oldest_make_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bounded number stays; other backups are not touched by an import."""
    monkeypatch.setattr(rotation, "PRE_IMPORT_KEPT", 2)
    store.backups = BackupManager(
        store.database, store.inventory, rotation=rotation.Rotation(keep_last=1)
    )
    others = []
    for number in range(2):
        store.importer.import_({"event_menu": {"a": number}}, actor="test")
        others.append(store.backups.create("automatic").id)
    made = [
        store.importer.import_({"event_menu": {"a": number}}, actor="test").safety_backup_id
        for number in range(2, 6)
    ]
    found = store.backups.list()
    assert {b.id for b in found if b.backup_type == "preimport"} == {*made[-2:]}
    assert {*others} <= {b.id for b in found}
    decisions = {d.backup_id: d.reason for d in store.backups.rotate()}
    assert decisions[str(made[-1])] == "one of the 2 newest made before an import"
    assert {b.id for b in store.backups.list()} == {others[-1], *made[-2:]}


@pytest.mark.parametrize("writes", [1, 2, 100])
def test_what_a_station_writes_meanwhile_is_in_the_backup(store: Store, writes: int) -> None:
    """Of a station that never stops, all but the last writes; they are in the history."""
    importer, commit = store.importer, store.inventory.commit
    importer.import_({"notes": "0", "other": "0"}, actor="test")
    make, made = importer.before_change, []
    assert make is not None

    def slow(note: str, actor: str) -> str:
        made.append(make(note, actor))
        if len(made) <= writes:
            commit([Put(Setting.of("theme", data=len(made)))], actor="barista")
        return made[-1]

    importer.before_change = slow
    receipt = importer.import_({"notes": "1", "theme": "mine"}, actor="anna")
    assert receipt.safety_backup_id == made[-1]
    backup = store.backups.get(made[-1])
    assert len(made) == min(writes + 1, 5)
    assert backup.revision == receipt.revision - (2 if writes == 100 else 1)
    assert len(store.inventory.commits(backup.revision, 10)) == receipt.revision - backup.revision
