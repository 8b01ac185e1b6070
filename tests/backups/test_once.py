"""A backup or a restore under a key is one, also when its process dies in the middle."""

from __future__ import annotations

import io
from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.errors import BackupCorrupted, IdempotencyMismatch
from expresso_persist.model.records import Put, Setting


class Killed(BaseException):
    """The process ends here."""


def put(store: Store, value: Any) -> None:
    store.inventory.commit([Put(Setting.of("theme", data=value))], actor="test")


def theme(store: Store) -> Any:
    record = store.inventory.get("setting", "theme")
    return None if record is None else record.data


def test_the_same_key_gives_the_first_backup(store: Store) -> None:
    put(store, 1)
    first = store.backups.create(notes="mine", actor="anna", idempotency_key="k")
    put(store, 2)
    again = store.backups.create(notes="mine", actor="anna", idempotency_key="k")
    assert again.to_json() == first.to_json()
    store.backups.pin(first.id)
    told = store.backups.create_once("manual", "mine", "anna", idempotency_key="k")
    assert (told.backup.to_json(), told.replayed) == (first.to_json(), True)
    for other in ({"notes": "other"}, {"notes": "mine", "kind": "safety"}):
        with pytest.raises(IdempotencyMismatch):
            store.backups.create(**other, actor="anna", idempotency_key="k")
    store.backups.create(notes="mine", actor="bert", idempotency_key="k")
    store.for_tenant("other").backups.create(notes="mine", actor="anna", idempotency_key="k")
    assert len(store.backups.list()) == 2


@pytest.mark.parametrize("when", ["before it is stored", "before it is verified", "unanswered"])
def test_a_backup_whose_process_died_is_finished_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    put(store, 1)
    manager = store.backups

    def die(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patched:
        if when == "before it is stored":
            patched.setattr(type(manager._keyed), "made", die)
        elif when == "before it is verified":
            patched.setattr(type(manager._verifier), "verify", die)
        else:
            patched.setattr("expresso_persist.commits.idempotency.answered", die)
        with pytest.raises(Killed):
            manager.create(idempotency_key="k")
    assert len(manager.list()) == (0 if when == "before it is stored" else 1)
    put(store, 2)
    made = manager.create(idempotency_key="k")
    assert made.verified_at is not None
    assert [backup.id for backup in manager.list()] == [made.id]
    assert made.revision == (2 if when == "before it is stored" else 1)
    assert manager.create(idempotency_key="k").to_json() == made.to_json()


def test_a_backup_that_does_not_restore_is_not_made_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, 1)
    manager = store.backups
    with monkeypatch.context() as patched:
        patched.setattr(
            "expresso_persist.backups.verification.rebuild",
            lambda *_: (_ for _ in ()).throw(BackupCorrupted("It rotted.")),
        )
        for _ in range(2):
            with pytest.raises(BackupCorrupted):
                manager.create(idempotency_key="k")
    assert len(manager.list()) == 1


def test_a_restore_is_repeated_by_its_key_alone(store: Store) -> None:
    put(store, 1)
    backup = store.backups.create()
    put(store, 2)
    first = store.backups.restore(backup.id, actor="anna", idempotency_key="k")
    put(store, 3)
    again = store.backups.restore(backup.id, actor="anna", idempotency_key="k")
    assert (again.replayed, first.replayed) == (True, False)
    assert again.to_json() == first.to_json()
    assert again.summary == first.summary
    assert (again.backup.id, again.revision) == (backup.id, 3)
    assert [after.data for _, after in again.plan.changed] == [1]  # type: ignore[comparison-overlap]
    assert [commit.revision for commit in again.undone] == [2]
    assert theme(store) == 3
    with pytest.raises(IdempotencyMismatch):
        store.backups.restore(backup.id, kinds=["setting"], actor="anna", idempotency_key="k")
    with pytest.raises(IdempotencyMismatch):
        store.backups.create(actor="anna", idempotency_key="k")
    with pytest.raises(IdempotencyMismatch):
        store.inventory.undo(2, actor="anna", idempotency_key="k", dry_run=True)
    safety = [made for made in store.backups.list() if made.backup_type == "safety"]
    assert [made.id for made in safety] == [first.safety_backup_id]
    assert store.inventory.verify().ok


def test_a_restore_that_died_after_its_safety_backup_is_done_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the commit remembers the key, so what was not committed is done."""
    put(store, 1)
    backup = store.backups.create()
    put(store, 2)

    def die(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(type(store.backups._restorer), "_commit", die)
        with pytest.raises(Killed):
            store.backups.restore(backup.id, actor="anna", idempotency_key="k")
    assert store.backups.restore(backup.id, actor="anna", idempotency_key="k").committed
    assert theme(store) == 1
    assert store.backups.restore(backup.id, actor="anna", idempotency_key="k").replayed


def test_an_archive_is_taken_in_once(store: Store) -> None:
    archives = []
    with Store("sqlite://", migrate=True) as elsewhere:
        for number in (1, 2):
            put(elsewhere, number)
            file = io.BytesIO()
            elsewhere.backups.export(elsewhere.backups.create().id, file)
            archives.append(file.getvalue())

    def take(content: bytes, key: str | None = "k") -> str:
        made = store.backups.import_(io.BytesIO(content), actor="anna", idempotency_key=key)
        assert made.verified_at is not None
        return made.id

    first = take(archives[0])
    assert take(archives[0]) == first
    with pytest.raises(IdempotencyMismatch):
        take(archives[1])
    with pytest.raises(IdempotencyMismatch):
        take(archives[0] + b"x")
    assert len(store.backups.list()) == 1
