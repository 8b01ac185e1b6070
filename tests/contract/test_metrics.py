"""What monitors are told of the backups: health, and figures for Prometheus."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from expresso_persist import Store
from expresso_persist.backups import BackupManager, Mirror
from expresso_persist.db.tables import data_backups, leases
from expresso_persist.model.records import Put, Setting
from expresso_persist.ops.metrics import register_metrics, render

NAMES = {
    "expresso_persist_up",
    "expresso_persist_revision",
    "expresso_persist_backups",
    "expresso_persist_backups_damaged",
    "expresso_persist_backup_lag_seconds",
    "expresso_persist_backup_stored_bytes",
    "expresso_persist_backup_last_verified",
    "expresso_persist_backup_scheduler_running",
    "expresso_persist_backup_failing",
}
MIRROR_NAMES = {
    "expresso_persist_mirror_lag_seconds",
    "expresso_persist_mirror_failures",
    "expresso_persist_mirror_copies",
    "expresso_persist_mirror_stored_bytes",
}
LAST_CHECK = "expresso_persist_backup_storage_checked_timestamp_seconds"
LAST_SUCCESS = "expresso_persist_backup_last_success_timestamp_seconds"


def figures(text: str, tenant: str = "default") -> dict[str, float]:
    """The samples of a tenant, parsed as Prometheus parses them."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels == {"tenant": tenant}
    }


def shown(store: Store) -> dict[str, float]:
    return figures(render(store)[0].decode(), store.tenant)


def commit(store: Store, value: int) -> None:
    store.inventory.commit([Put(Setting.of("n", data=value))], actor="test")


def age_by(store: Store, hours: float) -> None:
    """As if nothing had happened for so long."""
    past = dt.timedelta(hours=hours)
    with store.database.write() as connection:
        now = store.database.now(connection)
        connection.execute(sa.update(leases).values(acquired_at=now - past, expires_at=now - past))
        connection.execute(sa.update(data_backups).values(created_at=now - past))


def test_figures_follow_the_backups(store: Store) -> None:
    """None yet, one made in time, late, failed, and good again."""
    empty = shown(store)
    assert set(empty) == NAMES
    assert {name: value for name, value in empty.items() if value} == {"expresso_persist_up": 1}

    commit(store, 1)
    made = store.backups.run_once()
    assert made is not None
    good = shown(store)
    assert set(good) == {*NAMES, LAST_SUCCESS, LAST_CHECK}
    assert good["expresso_persist_revision"] == 1
    assert good["expresso_persist_backups"] == 1
    assert good["expresso_persist_backup_stored_bytes"] > 0
    assert good["expresso_persist_backup_last_verified"] == 1
    assert good[LAST_SUCCESS] == pytest.approx(made.created_at.timestamp(), abs=0.002)

    age_by(store, hours=2)
    late = shown(store)["expresso_persist_backup_lag_seconds"]
    assert late == pytest.approx(2 * 3600 - 300, abs=300)

    store.backups._leave_trace("The disk is full.")
    failing = shown(store)
    assert failing["expresso_persist_backup_failing"] == 1
    commit(store, 2)
    store.backups.run_once()
    assert shown(store)["expresso_persist_backup_failing"] == 0


def test_a_running_scheduler_is_seen_from_every_process(store: Store) -> None:
    """The leader of any process, on this database."""
    other = Store(store.database.engine.url.render_as_string(hide_password=False))
    with other:
        other.backups._runner.lease.acquire()
        assert shown(store)["expresso_persist_backup_scheduler_running"] == 1
        other.backups._runner.lease.release()
    assert shown(store)["expresso_persist_backup_scheduler_running"] == 0


def test_tenants_share_a_registry(store: Store) -> None:
    """One label tells them apart; taken out again, nothing is left."""
    other = store.for_tenant("other")
    commit(other, 1)
    registry = CollectorRegistry()
    collector = register_metrics([store, other], registry)
    values = {
        tenant: registry.get_sample_value("expresso_persist_revision", {"tenant": tenant})
        for tenant in ("default", "other")
    }
    assert values == {"default": 0, "other": 1}
    with pytest.raises(ValueError, match="Duplicated"):
        register_metrics(store, registry)
    registry.unregister(collector)
    assert list(registry.collect()) == []


def test_a_database_that_is_down_does_not_break_the_scrape(tmp_path: Path) -> None:
    """The host's own figures are in the same answer."""
    file = tmp_path / "event.db"
    with Store(f"sqlite:///{file}", migrate=True) as store:
        registry = CollectorRegistry()
        register_metrics(store, registry)
        file.rename(tmp_path / "elsewhere.db")
        samples = [sample for family in registry.collect() for sample in family.samples]
        assert [(sample.name, sample.value) for sample in samples] == [("expresso_persist_up", 0)]


def test_health_is_about_the_database_and_tells_of_late_backups(client: Any, store: Store) -> None:
    """200 with ok: false, so that a balancer does not take the server out for it."""

    def told() -> Any:
        answer = client("GET", "/api/migration/health", token=None)
        assert answer.status == 200
        assert set(answer.json["data"]["backups"]) == {
            "ok",
            "last_success_at",
            "lag_seconds",
            "damaged_backups",
        }
        return answer.json["data"]["backups"]

    commit(store, 1)
    store.backups.run_once()
    assert told()["ok"] is True
    store.backups._leave_trace("The disk of anna is full.")
    assert told()["ok"] is False
    with store.database.write() as connection:
        connection.execute(sa.delete(data_backups).where(data_backups.c.backup_status == "failed"))
    assert told()["ok"] is True
    age_by(store, hours=1)
    late = told()
    assert late["ok"] is False
    assert late["lag_seconds"] > 0
    store.backups.create()
    assert told()["ok"] is True
    with store.database.write() as connection:
        connection.execute(sa.update(data_backups).values(verified_at=None))
    assert told()["ok"] is False


def test_without_the_extra_the_answer_names_it(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """404 in the envelope; who may not read is not told even that."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "expresso_persist.ops.metrics")
    answer = client("GET", "/api/migration/metrics")
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert 'pip install "expresso-persist[metrics]"' in answer.json["error"]
    assert client("GET", "/api/migration/metrics", token=None).status == 401


def test_mirrors_are_told_apart(store: Store, tmp_path: Path) -> None:
    """Each under its name; one that never was complete has no time of success."""
    (tmp_path / "here").mkdir()
    store.backups = BackupManager(
        store.database,
        store.inventory,
        mirrors=[Mirror(str(tmp_path / "here")), Mirror(str(tmp_path / "gone"))],
    )
    store.backups.create()
    store.backups.sync_mirrors()
    found = {
        (Path(sample.labels["mirror"]).name, sample.name): sample.value
        for family in text_string_to_metric_families(render(store)[0].decode())
        for sample in family.samples
        if "mirror" in sample.labels
    }
    success = "expresso_persist_mirror_last_success_timestamp_seconds"
    assert {name for mirror, name in found if mirror == "here"} == {*MIRROR_NAMES, success}
    assert {name for mirror, name in found if mirror == "gone"} == MIRROR_NAMES
    assert found["here", "expresso_persist_mirror_copies"] == 1
    assert found["here", "expresso_persist_mirror_lag_seconds"] == 0
    assert found["gone", "expresso_persist_mirror_failures"] == 1
    assert found["gone", "expresso_persist_mirror_lag_seconds"] > 0
