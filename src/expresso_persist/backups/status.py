"""What ``backup-status`` and ``health`` answer: is anybody making backups, and any good ones?"""

from __future__ import annotations

import datetime as dt
from typing import Any

import attrs
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, Catalog, iso
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.due import DueMark
from expresso_persist.backups.rotation import Rotation
from expresso_persist.leases import Lease

__all__ = ["health", "status"]


_BEHIND = (
    "A mirror has copies of a newer state than this database holds; `expresso-persist doctor` "
    "says which, and how to restore them."
)


def status(
    connection: Connection,
    *,
    catalog: Catalog,
    chunks: ChunkStore,
    due: DueMark,
    lease: Lease,
    rotation: Rotation,
    mirrors: list[dict[str, Any]],
    running_here: bool,
    last_error: str | None,
) -> dict[str, Any]:
    """Describe the backups of a tenant; never with a payload."""
    now = due.database.now(connection)
    last = due.last(connection)
    latest = catalog.newest(connection)
    total, size = catalog.totals(connection)
    running = running_here or lease.view(connection).live
    lag = _lag(now, last, due)
    success = _success(last, latest)
    # One in the future was made before the clock went back; the runner takes it as due now.
    due_at = now if last is None or last > now else max(now, last + due.interval)
    minutes = due.interval.total_seconds() / 60
    error = last_error or _failure(connection, catalog, last)
    return {
        "backup_running": running,
        "backup_interval_minutes": int(minutes) if minutes.is_integer() else minutes,
        "latest_backup": None if latest is None else latest.to_json(),
        "total_backups": total,
        "total_size_bytes": size,
        "stored_bytes": chunks.stored_bytes(connection),
        "last_success_at": iso(success),
        "next_due_at": iso(due_at),
        "lag_seconds": lag,
        "last_error": error,
        "rotation": {**attrs.asdict(rotation), "text": str(rotation)},
        "mirrors": mirrors,
        "warnings": [
            *_mirror_warnings(mirrors, due.interval),
            *_warnings(running, latest, lag, due.interval, error),
        ],
    }


def health(
    connection: Connection,
    *,
    catalog: Catalog,
    due: DueMark,
    last_error: str | None,
    behind: bool,
) -> dict[str, Any]:
    """The least that a monitor asks: a few rows by index, whatever is stored.

    ``ok``: the newest backup is verified, its state was seen at most two intervals ago, no
    attempt failed since, and no mirror has a newer state than the database.
    """
    now = due.database.now(connection)
    last = due.last(connection)
    latest = catalog.newest(connection)
    success = _success(last, latest)
    ok = (
        latest is not None
        and latest.verified_at is not None
        and success is not None
        and now - success <= 2 * due.interval
        and not (last_error or _failure(connection, catalog, last) or behind)
    )
    warning = {"warning": _BEHIND} if behind else {}
    lag = _lag(now, last, due)
    return {"ok": ok, "last_success_at": iso(success), "lag_seconds": lag, **warning}


def _lag(now: dt.datetime, last: dt.datetime | None, due: DueMark) -> float:
    """Seconds that the automatic backup is late; 0 where none was ever made."""
    return 0.0 if last is None else max(0.0, (now - last - due.interval).total_seconds())


def _success(last: dt.datetime | None, latest: Backup | None) -> dt.datetime | None:
    times = [time for time in (last, None if latest is None else latest.seen_at) if time]
    return max(times, default=None)


def _failure(connection: Connection, catalog: Catalog, last: dt.datetime | None) -> str | None:
    """Why the newest attempt failed, if it did."""
    failure = catalog.newest_failure(connection)
    if failure is None or (last is not None and last > failure.seen_at):
        return None  # the state was found unchanged since, which makes no new row
    return failure.error


def _mirror_warnings(mirrors: list[dict[str, Any]], interval: dt.timedelta) -> list[str]:
    if not mirrors:
        return ["Backups live only in the database they protect; set a mirror in another place."]
    found = []
    for mirror in mirrors:
        if mirror["failures"]:
            found.append(f"{mirror['last_error']} ({mirror['failures']} times in a row)")
        elif mirror["last_error"]:
            found.append(mirror["last_error"])
        if mirror["lag_seconds"] > interval.total_seconds():
            lag = round(mirror["lag_seconds"])
            found.append(f"The mirror {mirror['mirror']} has lacked a backup for {lag} seconds.")
    return found


def _warnings(
    running: bool, latest: Backup | None, lag: float, interval: dt.timedelta, error: str | None
) -> list[str]:
    found = []
    if not running:
        found.append(
            "Nobody makes automatic backups at the moment; mount with `backups=True`, or run "
            "`expresso-persist backup run` from cron."
        )
    if latest is None:
        found.append("There is no backup yet.")
    elif latest.verified_at is None:
        found.append("The newest backup is not verified.")
    if lag > interval.total_seconds():
        found.append(f"The automatic backup is {round(lag)} seconds late.")
    if error:
        found.append(f"The last attempt failed: {error}")
    for name, count in (latest.record_counts if latest is not None else {}).items():
        if count == "unreadable":
            found.append(f"The table {name.partition(':')[2]} could not be read for the backup.")
    return found
