"""BackupManager as scripts use it: from a URL, closed behind them, starting nothing."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.backups import BackupManager, Mirror, Rotation
from expresso_persist.errors import DatabaseUnavailable, InvalidConfiguration, SchemaMismatch
from expresso_persist.model.records import Put, Setting


def put(url: str, value: int) -> None:
    with Store(url, migrate=True) as store:
        store.inventory.commit([Put(Setting.of("n", data=value))], actor="test")


def test_a_script_makes_checks_and_restores(database_url: str, tmp_path: Path) -> None:
    """All its verbs, with nothing but a URL."""
    put(database_url, 1)
    with BackupManager.from_url(database_url, rotation=Rotation(keep_last=2)) as backups:
        made = backups.create(notes="nightly", actor="cron")
        assert backups.get(made.id) == backups.list()[0] == made
        assert backups.verify(made.id).ok
        put(database_url, 2)
        assert backups.plan_restore(made.id).plan.counts.changed == 1
        assert backups.restore(made.id, actor="cron").committed
        backups.export(made.id, tmp_path / "nightly.expresso.zst")
        assert backups.import_(tmp_path / "nightly.expresso.zst").id == made.id
        assert backups.run_once() is not None
        assert backups.run_once() is None  # not due for five minutes
        assert backups.status()["total_backups"] == 3
    with Store(database_url) as store:
        assert store.inventory.settings() == {"n": 1}


def test_nothing_is_started_and_everything_closed(database_url: str) -> None:
    put(database_url, 1)
    before = {*threading.enumerate()}
    with BackupManager.from_url(database_url) as backups:
        backups.create()
        assert {*threading.enumerate()} == before
        engine = backups._database.engine
    assert not isinstance(engine.pool, sa.pool.QueuePool) or engine.pool.checkedin() == 0


def test_a_scheduler_that_was_started_is_stopped(database_url: str) -> None:
    put(database_url, 1)
    before = {*threading.enumerate()}
    with BackupManager.from_url(database_url) as backups:
        backups.start()
        assert {*threading.enumerate()} > before
    assert {*threading.enumerate()} == before


def test_the_store_of_somebody_else_stays_open(store: Store) -> None:
    with BackupManager(store.database, store.inventory) as backups:
        backups.create()
    assert len(store.backups.list()) == 1


def test_what_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch):
        BackupManager.from_url(f"sqlite:///{tmp_path}/new.db")
    with pytest.raises(InvalidConfiguration):
        BackupManager.from_url("mysql://somewhere/db")
    with pytest.raises(InvalidConfiguration):
        BackupManager.from_url(f"sqlite:///{tmp_path}/new.db", migrate=True, interval=0)
    with pytest.raises(DatabaseUnavailable):
        BackupManager.from_url("postgresql://127.0.0.1:1/nothing")


def test_mirrors_come_from_the_environment_unless_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPRESSO_PERSIST_MIRRORS", f"{tmp_path}/a {tmp_path}/b")
    url = f"sqlite:///{tmp_path}/new.db"
    with BackupManager.from_url(url, migrate=True) as backups:
        assert [Path(mirror.name).name for mirror in backups.mirrors] == ["a", "b"]
    with BackupManager.from_url(url, mirrors=[Mirror(f"{tmp_path}/c")]) as backups:
        assert [Path(mirror.name).name for mirror in backups.mirrors] == ["c"]
    with BackupManager.from_url(url, mirrors=[]) as backups:
        assert backups.mirrors == ()


def test_tenants_are_kept_apart(database_url: str) -> None:
    put(database_url, 1)
    with (
        BackupManager.from_url(database_url) as mine,
        BackupManager.from_url(database_url, tenant="other") as other,
    ):
        made = mine.create()
        assert other.list() == []
        archive = io.BytesIO()
        mine.export(made.id, archive)
        archive.seek(0)
        assert other.import_(archive, from_tenant="default").backup_type == "imported"
