"""What a check of a backup notes in its row, sound, damaged, or never made."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.backups import verification
from expresso_persist.backups.catalog import Backup, Catalog
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.verification import Verification, Verifier
from expresso_persist.db.tables import backup_chunks, backup_manifests, data_backups
from expresso_persist.errors import BackupCorrupted, BackupNotFound
from expresso_persist.model.records import Put, Setting

SOUND = "read back and rebuilt in a scratch database"


@pytest.fixture
def backups(store: Store) -> list[Backup]:
    """Two, of two states."""
    made = []
    for number in range(2):
        store.inventory.commit([Put(Setting.of("a", data=number))], actor="test")
        made.append(store.backups.create())
    with store.database.write() as connection:
        connection.execute(sa.update(data_backups).values(verified_at=None, verification=None))
    return made


@pytest.fixture
def verifier(store: Store) -> Verifier:
    return store.backups._verifier


def noted(store: Store, backup_id: str) -> tuple[bool, str | None, str, str | None]:
    row = {backup.id: backup for backup in store.backups.list()}[backup_id]
    return row.verified_at is not None, row.verification, row.backup_status, row.error


def test_a_sound_backup_is_noted_as_such(
    store: Store, backups: list[Backup], verifier: Verifier
) -> None:
    """Also one that was found damaged before; the other one's row stays as it is."""
    first, second = backups
    for reason in (None, "It rotted."):
        if reason:
            verifier.note(Verification(first.id, ok=False, problems=(reason,)))
            assert noted(store, first.id) == (False, reason, "failed", reason)
        before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)
        assert verifier.verify(first.id) == Verification(first.id, ok=True)
        assert noted(store, first.id) == (True, SOUND, "completed", None)
        at = store.backups.get(first.id).verified_at
        assert at is not None
        assert before < at < dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
    assert noted(store, second.id) == (False, None, "completed", None)


def test_a_damaged_piece_is_named_and_noted(
    store: Store, backups: list[Backup], verifier: Verifier
) -> None:
    """By the check, and by what it says of itself afterwards."""
    verifier.verify(backups[0].id)
    with store.database.write() as connection:
        _, manifest = verification.load(connection, verifier.catalog, backups[0].id)
        connection.execute(sa.delete(backup_chunks))
    found = verifier.verify(backups[0].id)
    assert not found.ok
    assert len(found.problems) == 1
    assert {*found.damaged_chunks} == {*manifest.chunk_ids}
    assert (found.backup_id, found.repaired) == (backups[0].id, 0)
    problem = found.problems[0]
    assert noted(store, backups[0].id) == (False, problem, "failed", problem)
    assert noted(store, backups[1].id) == (False, None, "completed", None)


def test_a_backup_that_rebuilds_to_another_state_has_no_damaged_piece(
    store: Store,
    backups: list[Backup],
    verifier: Verifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(connection: object, chunks: ChunkStore, manifest: object) -> None:
        raise BackupCorrupted("It is another state.")

    monkeypatch.setattr(verification, "rebuild", wrong)
    assert verifier.verify(backups[0].id) == Verification(
        backups[0].id, ok=False, problems=("It is another state.",)
    )


def test_a_manifest_that_cannot_be_read_is_a_problem(
    store: Store, backups: list[Backup], verifier: Verifier
) -> None:
    with store.database.write() as connection:
        for table in (data_backups, backup_manifests):
            connection.execute(sa.update(table).values(manifest="rotten"))
    found = verifier.verify(backups[0].id)
    assert (found.backup_id, found.ok, found.damaged_chunks) == (backups[0].id, False, ())
    assert len(found.problems) == 1
    assert noted(store, backups[0].id) == (False, found.problems[0], "failed", found.problems[0])
    with pytest.raises(BackupNotFound):
        verifier.verify("0" * 32)


def test_all_problems_are_noted(store: Store, backups: list[Backup], verifier: Verifier) -> None:
    verifier.note(Verification(backups[0].id, ok=False, problems=("One.", "Two.")))
    assert noted(store, backups[0].id) == (False, "One. Two.", "failed", "One. Two.")


def test_what_never_held_anything_keeps_its_first_reason(
    store: Store, backups: list[Backup], verifier: Verifier
) -> None:
    with store.database.write() as connection:
        connection.execute(
            sa.update(data_backups)
            .where(data_backups.c.id == backups[0].id)
            .values(payload_sha256="", manifest="", backup_status="failed", error="No space left.")
        )
        connection.execute(
            sa.delete(backup_manifests).where(backup_manifests.c.id == backups[0].id)
        )
    assert not verifier.verify(backups[0].id).ok
    assert noted(store, backups[0].id) == (False, None, "failed", "No space left.")


def test_a_row_is_noted_in_one_transaction(
    store: Store, backups: list[Backup], verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails leaves the row as it was."""
    update = Catalog.update

    def fails(self: Catalog, *arguments: object, **values: object) -> Iterator[None]:
        update(self, *arguments, **values)  # type: ignore[arg-type]
        raise KeyError

    with monkeypatch.context() as patched:
        patched.setattr(Catalog, "update", fails)
        with pytest.raises(KeyError):
            verifier.note(Verification(backups[0].id, ok=True))
    assert noted(store, backups[0].id) == (False, None, "completed", None)
