"""What can be asked about backups: which there are, and whether good ones are made in time."""

from __future__ import annotations

import builtins
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from sqlalchemy.engine import Connection

from expresso_persist.backups.catalog import Backup, Catalog, iso
from expresso_persist.backups.chunks import ChunkStore
from expresso_persist.backups.mirroring import Mirroring
from expresso_persist.backups.mirrors import Mirror
from expresso_persist.backups.restore_plan import RestorePlan, Scope, make_plan
from expresso_persist.backups.rotation import Rotation
from expresso_persist.backups.scheduler import DueMark, Runner
from expresso_persist.backups.scrub import last_check
from expresso_persist.backups.verification import load, open_records
from expresso_persist.commits.state import State
from expresso_persist.db.database import Database
from expresso_persist.model.plan import Plan, diff
from expresso_persist.model.records import Record

__all__ = ["BackupReader", "no_backup"]

_NAMED = 5
_REMEMBERED = dt.timedelta(days=7)  # for how long damage that was mended is shown

_AT_A_MIRROR = (
    "A mirror has data that this database does not have; `expresso-persist status` says which, "
    "and how to bring it back."
)


class BackupReader:
    """What can be asked about the backups of one tenant; nothing here changes them.

    Attributes:
        rotation: Which automatic backups stay.
    """

    rotation: Rotation
    _mirroring: Mirroring
    _runner: Runner

    def __init__(self, database: Database, tenant: str) -> None:
        """Read the backups of ``tenant`` in ``database``."""
        self._database = database = database.of(tenant)
        self._tenant = tenant
        self._catalog = Catalog(tenant)
        self._chunks = ChunkStore(database, tenant)

    def list(self) -> list[Backup]:
        """Every backup, newest first."""
        with self._database.read() as connection:
            return self._catalog.all(connection)

    def get(self, backup_id: str) -> Backup:
        """One backup.

        Raises:
            BackupNotFound: There is no such backup.
        """
        with self._database.read() as connection:
            return self._catalog.get(connection, backup_id)

    def status(self) -> dict[str, Any]:
        """How the backups are doing, as a JSON object without any payload.

        Mirrors that no process has looked at in time are looked at, for a few seconds at most.
        """
        seen = self._mirroring.look()
        with self._database.read() as connection:
            return self._status(connection, self._mirroring.status(connection, seen))

    def _status(
        self, connection: Connection, mirrors: builtins.list[dict[str, Any]]
    ) -> dict[str, Any]:
        catalog, runner, due = self._catalog, self._runner, self._runner.due
        now = due.database.now(connection)
        last = due.last(connection)
        # One made before a restore is of a state that somebody wanted to leave.
        latest = catalog.newest(connection, safety=False)
        total, size = catalog.totals(connection)
        running = runner.alive or runner.lease.view(connection).live
        lag = _lag(now, last, due)
        success = _success(last, latest)
        # One in the future was made before the clock went back; the runner takes it as due now.
        due_at = now if last is None or last > now else max(now, last + due.interval)
        minutes = due.interval.total_seconds() / 60
        error = runner.last_error or _failure(connection, catalog)
        damaged = [backup.id for backup in catalog.damaged(connection)]
        check = last_check(connection, catalog.tenant)
        found: dict[str, Any] = {
            "backup_running": running,
            "backup_interval_minutes": int(minutes) if minutes.is_integer() else minutes,
            "latest_backup": None if latest is None else latest.to_json(),
            "total_backups": total,
            "total_size_bytes": size,
            "stored_bytes": self._chunks.stored_bytes(connection),
            "last_success_at": iso(success),
            "next_due_at": iso(due_at),
            "lag_seconds": lag,
            "last_error": error,
            "damaged_backups": damaged,
            "storage_check": check,
            "rotation": {**attrs.asdict(self.rotation), "text": str(self.rotation)},
            "mirrors": mirrors,
            "warnings": [
                *_mirror_warnings(mirrors, due.interval),
                *_warnings(running, latest, lag, due.interval, error),
                *_damage_warnings(damaged, check, now),
            ],
        }
        if latest is None:
            found["warnings"].append(no_backup(found))
        return found

    def health(self) -> dict[str, Any]:
        """Whether backups are made and good: the least that a monitor asks.

        ``ok``: the newest backup is verified, its state was seen at most two intervals ago, no
        attempt failed since, no stored backup is damaged, and no mirror has a newer state than
        the database. It reads a few rows by index, whatever is stored.
        """
        seen = self._mirroring.look()
        with self._database.read() as connection:
            return self._health(connection, self._mirroring.behind(connection, seen))

    def _health(self, connection: Connection, behind: Sequence[str]) -> dict[str, Any]:
        catalog, runner, due = self._catalog, self._runner, self._runner.due
        now = due.database.now(connection)
        last = due.last(connection)
        latest = catalog.newest(connection, safety=False)
        damaged = catalog.damaged(connection)
        success = _success(last, latest)
        ok = (
            latest is not None
            and latest.verified_at is not None
            and success is not None
            and now - success <= 2 * due.interval
            and not (runner.last_error or _failure(connection, catalog))
            and not damaged
            and not behind
        )
        # Strangers may ask, so it does not say where the mirror is.
        warning = {"warning": _AT_A_MIRROR} if behind else {}
        return {
            "ok": ok,
            "last_success_at": iso(success),
            "lag_seconds": _lag(now, last, due),
            "damaged_backups": len(damaged),
            **warning,
        }

    def diff(self, a: str | None, b: str | None = None, kinds: Iterable[str] | None = None) -> Plan:
        """What became of the records between two backups; None is the state as it is now.

        Args:
            a: The backup to begin with.
            b: The backup to end with.
            kinds: Compare these kinds of record only.

        Returns:
            The plan that turns ``a`` into ``b``; both are read in one transaction, every
            byte of a backup checked.

        Raises:
            BackupNotFound: There is no such backup.
            BackupCorrupted: One of them is damaged.
            InvalidInput: One of the kinds does not exist.
        """
        scope = Scope.of(kinds)
        with self._database.read() as connection:
            return diff(self._records(connection, a, scope), self._records(connection, b, scope))

    def _records(
        self, connection: Connection, backup_id: str | None, scope: Scope
    ) -> builtins.list[Record]:
        if backup_id is None:
            return scope.current(State(connection, self._tenant))
        _, manifest = load(connection, self._catalog, backup_id)
        return scope.filter(open_records(connection, self._chunks, manifest, scope.reads))

    def plan_restore(
        self,
        backup_id: str,
        kinds: Iterable[str] | None = None,
        *,
        stations: Iterable[str] | None = None,
        keys: Iterable[str] | None = None,
    ) -> RestorePlan:
        """What a restore would do now; nothing is written.

        Raises:
            BackupNotFound: There is no such backup.
            BackupCorrupted: It is damaged and cannot be used.
            InvalidInput: One of the kinds, stations or keys does not exist.
        """
        scope = Scope.of(kinds, stations, keys)
        with self._database.read() as connection:
            return make_plan(connection, self._catalog, self._chunks, backup_id, scope)[0]

    @property
    def mirrors(self) -> tuple[Mirror, ...]:
        """Where the verified backups are copied to."""
        return self._mirroring.mirrors

    def newer_at_mirrors(self) -> builtins.list[str]:
        """What mirrors have of a newer state than the database: a sentence for each of them."""
        seen = self._mirroring.look()
        with self._database.read() as connection:
            return self._mirroring.behind(connection, seen)


def _lag(now: dt.datetime, last: dt.datetime | None, due: DueMark) -> float:
    """Seconds that the automatic backup is late; 0 where none was ever made."""
    return 0.0 if last is None else max(0.0, (now - last - due.interval).total_seconds())


def _success(last: dt.datetime | None, latest: Backup | None) -> dt.datetime | None:
    times = [time for time in (last, None if latest is None else latest.seen_at) if time]
    return max(times, default=None)


def _failure(connection: Connection, catalog: Catalog) -> str | None:
    """Why the newest attempt failed, if it did: the trace goes when a backup is made."""
    failure = catalog.failure(connection)
    return None if failure is None else failure.error


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
            "No automatic backups are made at the moment; mount with `backups=True`, or run "
            "`expresso-persist backup run` from cron."
        )
    if latest is not None and latest.verified_at is None:
        found.append("The newest backup is not verified.")
    if lag > interval.total_seconds():
        found.append(f"The automatic backup is {round(lag)} seconds late.")
    if error:
        found.append(f"The last attempt failed: {error}")
    for name, count in (latest.record_counts if latest is not None else {}).items():
        if count == "unreadable":
            found.append(f"The table {name.partition(':')[2]} could not be read for the backup.")
    return found


def no_backup(status: dict[str, Any]) -> str:
    """Why a status has no latest backup although there may be backups: a sentence."""
    if status["total_backups"]:
        return (
            "There is no backup of the present data yet; what there is came from archives or was "
            "made before an import or a restore."
        )
    if status["damaged_backups"]:
        return "There is no backup that can be restored."
    return "There is no backup yet."


def _damage_warnings(
    damaged: list[str], check: dict[str, Any] | None, now: dt.datetime
) -> list[str]:
    found = []
    if damaged:
        named = ", ".join(damaged[:_NAMED]) + " and more" * (len(damaged) > _NAMED)
        found.append(
            f"{len(damaged)} of the stored backups cannot be restored: {named}. A copy at a "
            "mirror can (`expresso-persist backup list --from`)."
        )
    if check is not None and check["found_at"] is not None:
        since = now - dt.datetime.fromisoformat(check["found_at"])
        if since <= _REMEMBERED:
            found.append(
                f"At {check['found_at']} damage was found in what backups are stored in: "
                f"{' '.join(check['findings'])} See whether the disk fails."
            )
    return found
