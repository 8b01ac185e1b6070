"""What real users get wrong, each with the sentence that tells how to mend it.

A check is a function of a :class:`DoctorContext` that gives one :class:`Finding`. Nothing is
written, and nothing here takes longer the more is stored.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
import sqlalchemy as sa

from expresso_persist.backups.mirror_status import copies_ahead
from expresso_persist.backups.status import no_backup
from expresso_persist.commits import audit
from expresso_persist.db import migrations, row_security
from expresso_persist.db.tables import commits, metadata
from expresso_persist.errors import (
    DatabaseAccessDenied,
    DatabaseUnavailable,
    ExpressoPersistError,
    SchemaMismatch,
    TablesDropped,
)
from expresso_persist.store import Store

__all__ = [
    "CHECKS",
    "Finding",
    "DoctorContext",
    "State",
    "examine",
    "failed_to_open",
    "share_of",
    "worst",
]

State: TypeAlias = Literal["ok", "warning", "problem"]

SKEW = 5.0
"""Seconds by which the clocks of host and database may differ."""
COMMITS = 50
"""How many of the newest commits are verified."""
ROOM = 100 * 1024**2
"""Bytes that have to be free at least, beside twice the database."""
STALE = dt.timedelta(hours=1)
"""After how long the newest backup is old, if its interval is shorter than that."""
TOKEN_LENGTH = 16
ROUTES = "routes"
"""Among the database's extensions: functions that say which routes of a host hide ours."""
_ORDER: tuple[State, ...] = ("ok", "warning", "problem")
_TOKENS = ("EXPRESSO_PERSIST_TOKEN", "EXPRESSO_PERSIST_WRITE_TOKEN", "EXPRESSO_PERSIST_READ_TOKEN")
_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
# File systems on which SQLite's locks cannot be relied upon.
_SHARES = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "9p", "fuse.sshfs", "davfs")


@attrs.frozen
class Finding:
    """What a check found.

    Attributes:
        check: Its name.
        state: ``ok``, ``warning`` (it works, but…) or ``problem``.
        text: What it is, and what to do about it.
    """

    check: str
    state: State
    text: str


@attrs.define(slots=False)
class DoctorContext:
    """What is examined.

    Attributes:
        store: The database as one tenant.
        environ: The environment of the process.
        open_to: The actor as whom somebody without credentials was let in, if anybody was.
    """

    store: Store
    environ: Mapping[str, str] = attrs.field(factory=lambda: os.environ)
    open_to: str | None = None

    @cached_property
    def backups(self) -> dict[str, Any]:
        """The status of the backups."""
        return self.store.backups.status()

    @cached_property
    def is_fresh(self) -> bool:
        """Whether a backup could hardly be there yet: the data is younger than two intervals."""
        with self.store.inventory.database.read() as connection:
            now = self.store.database.now(connection)
            first = connection.scalar(
                sa.select(commits.c.created_at)
                .where(commits.c.tenant_id == self.store.tenant)
                .order_by(commits.c.revision)
                .limit(1)
            )
        return first is None or now - first < dt.timedelta(seconds=2 * self.store.backups.interval)

    @cached_property
    def file(self) -> Path | None:
        """The file of a SQLite database; None for one in memory and for PostgreSQL."""
        url = self.store.database.engine.url
        if self.store.database.dialect != "sqlite" or url.database in (None, "", ":memory:"):
            return None
        if str(url.database).startswith("file:"):
            return None
        return Path(str(url.database)).resolve()


def schema(context: DoctorContext) -> Finding:
    """Are the tables those of this version?"""
    try:
        migrations.check(context.store.database)
    except TablesDropped as error:
        copies = copies_ahead(context.store.backups.mirrors, context.store.tenant)
        return Finding("schema", "problem", " ".join([error.message, *copies]))
    except SchemaMismatch as error:
        return Finding("schema", "problem", error.message)
    return Finding("schema", "ok", "The tables are those of this version.")


def rights(context: DoctorContext) -> Finding:
    """May the database role read and write the rows of every table?"""
    database = context.store.database
    if database.dialect != "postgresql":
        return Finding("rights", "ok", "SQLite knows no roles.")
    # Without a column's own grants: a right on some columns is none on the rows.
    whole = (
        sa.and_(
            *(sa.func.has_table_privilege(sa.func.quote_ident(name), right) for right in _RIGHTS)
        ).label(name)
        for name in metadata.tables
    )
    with database.read() as connection:
        granted = connection.execute(sa.select(*whole)).mappings().one()
    lacking = sorted(name for name, every in granted.items() if not every)
    if lacking:
        return Finding(
            "rights",
            "problem",
            f"This database role may not read and write the rows of {', '.join(lacking)}. As "
            f"their owner: GRANT {', '.join(_RIGHTS)} ON … TO the role.",
        )
    return Finding("rights", "ok", "The database role may read and write the rows of every table.")


def scheduler(context: DoctorContext) -> Finding:
    """Are automatic backups made?"""
    if not context.backups["backup_running"]:
        return Finding(
            "scheduler",
            "problem",
            "No automatic backups are made. Mount with `register_routes(…, backups=True)`, call "
            "`store.backups.start()` in a script, or run `expresso-persist backup run` from cron.",
        )
    return Finding("scheduler", "ok", "Automatic backups are made.")


def schedulers(context: DoctorContext) -> Finding:
    """Do several processes agree on what they make?"""
    waiting = context.store.backups.standby()
    intervals = {context.store.backups.interval, *waiting} if waiting else set()
    if len(intervals) > 1:
        listed = ", ".join(f"{interval:g} s" for interval in sorted(intervals))
        return Finding(
            "schedulers",
            "warning",
            f"Several schedulers run, with different intervals ({listed}); which one counts is a "
            "matter of luck. Give all processes the same settings, or start it in one of them.",
        )
    return Finding(
        "schedulers",
        "ok",
        f"{len(waiting)} schedulers stand by to take over." if waiting else "None stands by.",
    )


def backup(context: DoctorContext) -> Finding:
    """Is the newest backup good, and new?"""
    status = context.backups
    latest = status["latest_backup"]
    interval = dt.timedelta(minutes=status["backup_interval_minutes"])
    if latest is None:
        return Finding(
            "backup",
            "warning" if context.is_fresh else "problem",
            f"{no_backup(status)} Make one: `expresso-persist backup create`.",
        )
    if status["last_error"]:
        return Finding("backup", "problem", f"The last attempt failed: {status['last_error']}")
    if latest["verified_at"] is None:
        return Finding(
            "backup",
            "problem",
            "The newest backup was never verified; run `expresso-persist backup verify latest`.",
        )
    with context.store.inventory.database.read() as connection:
        now = context.store.database.now(connection)
    age = now - dt.datetime.fromisoformat(status["last_success_at"])
    if age > max(STALE, 2 * interval):
        return Finding(
            "backup",
            "problem",
            f"The newest backup is {age.total_seconds() / 3600:.1f} hours old. See why the "
            "scheduler makes none, or run `expresso-persist backup run`.",
        )
    return Finding("backup", "ok", "The newest backup is verified and new.")


def backup_storage(context: DoctorContext) -> Finding:
    """Is everything that backups are stored in what was written?"""
    status = context.backups
    if status["damaged_backups"]:
        return Finding(
            "backup_storage",
            "problem",
            f"These backups cannot be restored: {', '.join(status['damaged_backups'])}. See "
            "whether the disk fails, make a backup (`expresso-persist backup create`), and use "
            "the copies at a mirror: `expresso-persist backup list --from`.",
        )
    if not status["total_backups"]:
        return Finding(
            "backup_storage",
            "ok" if context.is_fresh else "warning",
            "There is no backup whose storage could be checked.",
        )
    check = status["storage_check"]
    if check is not None and any("damage was found" in warning for warning in status["warnings"]):
        return Finding(
            "backup_storage",
            "warning",
            f"Damage was found at {check['found_at']} and mended: {' '.join(check['findings'])} "
            "See whether the disk fails.",
        )
    return Finding("backup_storage", "ok", "The stored backups are what was written.")


def mirror(context: DoctorContext) -> Finding:
    """Does anything outlive this database?"""
    mirrors = context.backups["mirrors"]
    if not mirrors:
        return Finding(
            "mirror",
            "warning",
            "Backups live only in the database they protect. Name a folder on another disk or a "
            "bucket in EXPRESSO_PERSIST_MIRRORS.",
        )
    for found in mirrors:
        if found["failures"]:
            return Finding(
                "mirror", "problem", f"{found['last_error']} ({found['failures']} times in a row)"
            )
        if found["last_error"]:
            return Finding("mirror", "problem", found["last_error"])
        if found["lag_seconds"] > max(STALE.total_seconds(), 0):
            return Finding(
                "mirror",
                "problem",
                f"The mirror {found['mirror']} has lacked a backup for "
                f"{found['lag_seconds'] / 3600:.1f} hours; run `expresso-persist backup sync`.",
            )
    return Finding("mirror", "ok", "Every mirror has the backups it should have.")


def clock(context: DoctorContext) -> Finding:
    """Do the clocks of the host and the database agree?"""
    with context.store.inventory.database.read() as connection:
        before = dt.datetime.now(dt.UTC)
        there = context.store.database.now(connection)
        after = dt.datetime.now(dt.UTC)
    # Only what the way there and back cannot explain.
    skew = max((before - there).total_seconds(), (there - after).total_seconds(), 0.0)
    if skew > SKEW:
        return Finding(
            "clock",
            "problem" if skew > 12 * SKEW else "warning",
            f"The clocks of this host and of the database differ by {skew:.0f} seconds. Let both "
            "follow a time server (chrony, systemd-timesyncd): the times in the audit trail are "
            "the host's, those of backups the database's.",
        )
    return Finding("clock", "ok", "The clocks of host and database agree.")


def pooler(context: DoctorContext) -> Finding:
    """Is there something like PgBouncer in between?"""
    database = context.store.database
    if database.dialect == "postgresql" and database.engine.dialect.driver == "psycopg":
        with database.dedicated() as connection:
            raw: Any = connection.connection.dbapi_connection
            (pid,) = raw.execute("SELECT pg_backend_pid()").fetchone()
            if pid != raw.info.backend_pid:
                return Finding(
                    "pooler",
                    "warning",
                    "A pooler such as PgBouncer is between here and PostgreSQL. Everything "
                    "works, but live changes are looked for by the clock; a database URL past "
                    "the pooler makes them arrive at once.",
                )
    return Finding("pooler", "ok", "Nothing is between here and the database.")


def disk(context: DoctorContext) -> Finding:
    """Can the folder of a SQLite database be written to, and is there room?"""
    file = context.file
    if file is None:
        return Finding("disk", "ok", "The database looks after its own disk.")
    for path in (file.parent, file):
        if not os.access(path, os.W_OK):
            return Finding(
                "disk",
                "problem",
                f"{path} cannot be written to by this user; SQLite needs the right to write to "
                "the file and to its folder.",
            )
    needed = ROOM + 2 * file.stat().st_size
    free = shutil.disk_usage(file.parent).free
    if free < needed:
        return Finding(
            "disk",
            "problem" if free < ROOM else "warning",
            f"Only {free // 1024**2} MiB are free in {file.parent}; make room for at least "
            f"{needed // 1024**2} MiB, or move the database.",
        )
    if os.name == "posix" and file.stat().st_mode & 0o007:
        return Finding(
            "disk",
            "warning",
            f"Every user of this machine may read {file}, with all that is stored in it. Take "
            f"that right away: chmod o-rwx {file}*",
        )
    return Finding("disk", "ok", "There is room, and the right to write.")


def share(context: DoctorContext) -> Finding:
    """Is a SQLite database on a network share?"""
    mounts = Path("/proc/mounts")
    if context.file is not None and mounts.exists():
        kind = share_of(context.file, mounts.read_text(encoding="utf-8", errors="replace"))
        if kind is not None:
            return Finding(
                "share",
                "problem",
                f"The SQLite file is on a network share ({kind}), where locks cannot be relied "
                "upon and data gets damaged. Move it to a disk of this machine, or use "
                "PostgreSQL.",
            )
    return Finding("share", "ok", "The database is on no network share.")


def share_of(file: Path, mounts: str) -> str | None:
    """The kind of network share that a file is on; None if it is on none.

    Args:
        file: An absolute path.
        mounts: The lines of ``/proc/mounts``.
    """
    longest, kind = -1, ""
    for line in mounts.splitlines():
        _, point, found = line.split(" ")[:3]
        point = point.replace("\\040", " ")
        # The last of two on the same point is on top.
        if file.is_relative_to(point) and len(point) >= longest:
            longest, kind = len(point), found
    return kind if kind in _SHARES else None


def tenants_wall(context: DoctorContext) -> Finding:
    """If row level security is on: is it on everywhere, and for this role?"""
    database = context.store.database
    if database.dialect != "postgresql":
        return Finding("row_security", "ok", "SQLite has no row level security.")
    with database.read() as connection:
        state = row_security.state(connection)
    if not state.on:
        return Finding("row_security", "ok", "Row level security is off; statements do it alone.")
    if state.bypassed:
        return Finding(
            "row_security",
            "problem",
            "Row level security is on, but this role is a superuser or has BYPASSRLS and walks "
            "through it. Connect as a role without both that owns the tables.",
        )
    if state.open_tables:
        return Finding(
            "row_security",
            "problem",
            f"Row level security is not on for {', '.join(state.open_tables)}; run "
            "`expresso-persist security enable-rls` again.",
        )
    return Finding("row_security", "ok", "Row level security guards every table.")


def trail(context: DoctorContext) -> Finding:
    """Do the newest commits verify?"""
    inventory = context.store.inventory
    with inventory.database.read() as connection:
        problem = audit.verify_newest(connection, inventory.tenant, COMMITS)
    if problem is not None:
        return Finding(
            "audit",
            "problem",
            f"{problem} Somebody wrote past the library, or the disk is damaged; run "
            "`expresso-persist verify` and keep a copy of the database.",
        )
    return Finding("audit", "ok", f"The newest {COMMITS} commits verify.")


def access(context: DoctorContext) -> Finding:
    """Is anybody let in, or a token easy to guess?"""
    if context.open_to is not None:
        return Finding(
            "access",
            "problem",
            "Somebody without any credentials was let in. Let `authorize` return None for "
            "anybody who is not signed in.",
        )
    for name in _TOKENS:
        token = context.environ.get(name, "")
        if token and (len(token) < TOKEN_LENGTH or len(set(token)) < TOKEN_LENGTH // 2):
            return Finding(
                "access",
                "warning",
                f"{name} is short enough to be guessed. Use one of `expresso-persist token "
                "create`, or `python -c 'import secrets; print(secrets.token_urlsafe(32))'`.",
            )
    return Finding("access", "ok", "No way in that should not be there was found.")


def routes(context: DoctorContext) -> Finding:
    """Does the host answer our paths itself?"""
    looks: Any = context.store.database.extensions.get(ROUTES, [])
    found = [sentence for look in looks if (sentence := look()) is not None]
    if found:
        return Finding("routes", "problem", " ".join(found))
    return Finding("routes", "ok", "No route of a host that mounted this store hides one of ours.")


CHECKS: Mapping[str, Callable[[DoctorContext], Finding]] = {
    "schema": schema,
    "rights": rights,
    "scheduler": scheduler,
    "schedulers": schedulers,
    "backup": backup,
    "backup_storage": backup_storage,
    "mirror": mirror,
    "clock": clock,
    "pooler": pooler,
    "disk": disk,
    "share": share,
    "row_security": tenants_wall,
    "audit": trail,
    "access": access,
    "routes": routes,
}


def examine(context: DoctorContext) -> list[Finding]:
    """Every finding, in the order of :data:`CHECKS`; a check that fails is a finding too."""
    found = []
    for name, check in CHECKS.items():
        try:
            found.append(check(context))
        except ExpressoPersistError as error:
            found.append(Finding(name, "problem", f"This could not be looked at: {error.message}"))
    return found


def failed_to_open(
    error: SchemaMismatch | DatabaseAccessDenied | DatabaseUnavailable,
) -> list[Finding]:
    """The one finding where there is no store to look at."""
    if isinstance(error, SchemaMismatch):
        name = "schema"
    else:
        name = "rights" if isinstance(error, DatabaseAccessDenied) else "database"
    return [Finding(name, "problem", error.message)]


def worst(findings: list[Finding]) -> State:
    """The worst state among them."""
    found = {finding.state for finding in findings}
    worst_yet: State = "ok"
    for state in _ORDER:
        if state in found:
            worst_yet = state
    return worst_yet
