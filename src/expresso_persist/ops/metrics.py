"""Figures for Prometheus, read from the database when they are asked for.

The one module that imports ``prometheus_client``, which the extra ``metrics`` installs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from expresso_persist.errors import ExpressoPersistError
from expresso_persist.store import Store

__all__ = ["BackupCollector", "register_metrics", "render"]

_GAUGES = {
    "up": "1 when the database answered, else 0 and nothing more.",
    "revision": "Number of the tenant's last commit.",
    "backup_lag_seconds": "How late the automatic backup is; 0 when it is in time.",
    "backup_last_success_timestamp_seconds": (
        "When the state was last known to be in a backup; absent when it never was."
    ),
    "backups": "Completed backups.",
    "backup_stored_bytes": "What the backups take in the database.",
    "backup_last_verified": "1 when the newest backup was read back and rebuilt with success.",
    "backup_scheduler_running": "1 when somebody, in any process, makes automatic backups.",
    "backups_damaged": "Stored backups that cannot be restored.",
    "backup_storage_checked_timestamp_seconds": (
        "When what backups are stored in was last checked; absent when it never was."
    ),
    "backup_storage_damage_timestamp_seconds": (
        "When damage was last found there, also if it was mended; absent when it never was."
    ),
    "backup_failing": "1 when the last attempt failed.",
}
_MIRROR_GAUGES = {
    "mirror_lag_seconds": "For how long the mirror has lacked a verified backup; 0: it has all.",
    "mirror_failures": "How often in a row copying to the mirror has failed.",
    "mirror_copies": "Backups at the mirror when it was last complete.",
    "mirror_stored_bytes": "What they take there.",
    "mirror_last_success_timestamp_seconds": (
        "When the mirror was last known to be complete; absent when it never was."
    ),
}


class BackupCollector(Collector):
    """Asks the database at each scrape, so that every process tells the same."""

    def __init__(self, stores: Iterable[Store]) -> None:
        """Tell of these stores, each under its tenant's name."""
        self._stores = tuple(stores)

    def describe(self) -> Iterator[Metric]:
        """The names alone: registering asks no database."""
        return iter(_families().values())

    def collect(self) -> Iterator[Metric]:
        """The figures of every store."""
        families = _families()
        for store in self._stores:
            for labels, name, value in _figures(store):
                families[name].add_metric([store.tenant, *labels], value)
        return iter(families.values())


def register_metrics(
    store: Store | Iterable[Store], registry: CollectorRegistry | None = None
) -> BackupCollector:
    """Add the figures to what the host already shows to Prometheus.

    Args:
        store: The store, or the stores of several tenants.
        registry: Where to; the default one of ``prometheus_client`` when left out.

    Returns:
        What was registered, for ``registry.unregister``.
    """
    collector = BackupCollector([store] if isinstance(store, Store) else store)
    (REGISTRY if registry is None else registry).register(collector)
    return collector


def render(store: Store) -> tuple[bytes, str]:
    """The figures of one store as text, and the media type of that text."""
    registry = CollectorRegistry()
    register_metrics(store, registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _families() -> dict[str, GaugeMetricFamily]:
    return {
        name: GaugeMetricFamily(f"expresso_persist_{name}", text, labels=labels)
        for labels, gauges in ((["tenant"], _GAUGES), (["tenant", "mirror"], _MIRROR_GAUGES))
        for name, text in gauges.items()
    }


def _figures(store: Store) -> Iterator[tuple[tuple[str, ...], str, float]]:
    """Labels after the tenant's, name and value of each figure."""
    try:
        status = store.backups.status()
        revision = store.inventory.head().revision
    except ExpressoPersistError:
        # A scrape shows the host's own figures as well; it must not fail with ours.
        yield (), "up", 0
        return
    latest, check = status["latest_backup"], status["storage_check"] or {}
    figures: dict[str, float | None] = {
        "up": 1,
        "revision": revision,
        "backup_lag_seconds": status["lag_seconds"],
        "backups": status["total_backups"],
        "backup_stored_bytes": status["stored_bytes"],
        "backup_last_verified": latest is not None and latest["verified_at"] is not None,
        "backup_scheduler_running": status["backup_running"],
        "backup_failing": status["last_error"] is not None,
        "backup_last_success_timestamp_seconds": _timestamp(status["last_success_at"]),
        "backups_damaged": len(status["damaged_backups"]),
        "backup_storage_checked_timestamp_seconds": _timestamp(check.get("checked_at")),
        "backup_storage_damage_timestamp_seconds": _timestamp(check.get("found_at")),
    }
    yield from (((), name, value) for name, value in figures.items() if value is not None)
    for mirror in status["mirrors"]:
        figures = {
            "mirror_lag_seconds": mirror["lag_seconds"],
            "mirror_failures": mirror["failures"],
            "mirror_copies": mirror["copies"],
            "mirror_stored_bytes": mirror["stored_bytes"],
            "mirror_last_success_timestamp_seconds": _timestamp(mirror["last_success_at"]),
        }
        label = (mirror["mirror"],)
        yield from ((label, name, value) for name, value in figures.items() if value is not None)


def _timestamp(time: str | None) -> float | None:
    return None if time is None else dt.datetime.fromisoformat(time).timestamp()
