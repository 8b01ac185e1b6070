"""Real processes: many runners at once, killed without warning."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import random
import runpy
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest
import sqlalchemy as sa

from backed_up import assert_sound, expire
from expresso_persist import Store
from expresso_persist.backups import BackupManager, Rotation
from expresso_persist.db.tables import leases
from expresso_persist.errors import BackupNotFound
from expresso_persist.model.records import Put, Setting

WORKER = Path(__file__).with_name("worker.py")
SOAK = float(os.environ.get("EXPRESSO_SOAK_SECONDS", "0"))
PLACES = runpy.run_path(str(WORKER))["PLACES"]


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(WORKER), *arguments])


def holder_pid(store: Store) -> int | None:
    with store.database.read() as connection:
        holder = connection.scalar(
            sa.select(leases.c.holder).where(leases.c.name == "backup-runner")
        )
    return int(holder.rpartition("-")[2]) if holder else None


@attrs.define
class Watch:
    """What the database and its clock showed to somebody who kept looking."""

    store: Store
    runs: set[dt.datetime] = attrs.field(factory=set)
    now: dt.datetime | None = None
    stall: float = 0.0

    def look(self) -> None:
        with self.store.database.read() as connection:
            self.now = self.store.database.now(connection)
        for backup in self.store.backups.list():
            self.runs |= {backup.created_at} | {backup.confirmed_at or backup.created_at}

    def wait(self, seconds: float) -> None:
        """Sleep; what the machine keeps us longer, it keeps the workers as well."""
        begin = time.monotonic()
        time.sleep(seconds)
        self.stall = max(self.stall, time.monotonic() - begin - seconds)

    @property
    def until_due(self) -> float:
        """Seconds until the next backup is due."""
        if self.now is None or not self.runs:
            return 0
        return max(0.0, (max(self.runs) - self.now).total_seconds() + 1)

    @property
    def gaps(self) -> list[float]:
        """Seconds between one backup and the next."""
        times = sorted(self.runs)
        return [(b - a).total_seconds() for a, b in itertools.pairwise(times)]


@pytest.mark.slow
@pytest.mark.timeout(SOAK + 240)
@pytest.mark.parametrize("database_url", ["sqlite", "postgresql", "pgbouncer"], indirect=True)
def test_many_processes_make_one_backup_per_interval(store: Store, database_url: str) -> None:
    """Interval 1 s, all of them write, and the runner on duty is killed again and again.

    ``EXPRESSO_SOAK_SECONDS`` makes it a soak of eight processes, see tests/faults/README.md.
    """
    chance = random.Random(3)
    workers = [start("run", database_url) for _ in range(8 if SOAK else 4)]
    watch, kills, checked = Watch(store), 0, 0
    try:
        begin = time.monotonic()
        next_kill, next_check = begin + 3, begin + 20
        # Without a soak until there is enough to judge; a busy machine gets longer, not
        # another verdict.
        end = begin + (SOAK or 90)
        while time.monotonic() < end and (SOAK or len(watch.runs) < 8 or kills < 4):
            watch.look()
            if time.monotonic() > next_kill:
                if chance.random() < 0.5:  # while a backup is made, and at any moment
                    watch.wait(watch.until_due + chance.random() * 0.15)
                duty = holder_pid(store) if chance.random() < 0.7 else None
                victim = next((w for w in workers if w.pid == duty), chance.choice(workers))
                assert victim.poll() is None, "a worker ended by itself"
                victim.kill()
                victim.wait()
                workers[workers.index(victim)] = start("run", database_url)
                kills += 1
                # Only who dies before it could take over makes it more than two intervals.
                next_kill = time.monotonic() + chance.uniform(2.3, 4)
            if time.monotonic() > next_check:
                checked += check_listed(store)
                next_check = time.monotonic() + 20
            watch.wait(0.1)
        assert all(worker.poll() is None for worker in workers), "a worker ended by itself"
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    gaps = watch.gaps
    print(
        f"{time.monotonic() - begin:.0f} s, {len(workers)} processes, {kills} kills, "
        f"{len(watch.runs)} backups, {checked + len(store.backups.list())} checked, gaps "
        f"{min(gaps):.2f} to {max(gaps):.2f} s, {sum(gap > 2 for gap in gaps)} over 2 s, "
        f"longest stall of this process {watch.stall:.2f} s, "
        f"{store.inventory.head().revision} commits"
    )
    assert SOAK or kills >= 4
    assert len(watch.runs) >= 8, "nobody took over from those that were killed"
    assert min(gaps) >= 1, "two backups in one interval"
    if SOAK:
        assert max(gaps) <= 2 + watch.stall, "more than two intervals without a backup"
    assert_sound(store)
    assert store.inventory.verify().ok


def check_listed(store: Store) -> int:
    """Verify what is listed while backups go on; those that rotate away do not count."""
    checked = 0
    for backup in store.backups.list():
        with contextlib.suppress(BackupNotFound):
            assert store.backups.verify(backup.id).ok, backup
            checked += 1
    return checked


@pytest.mark.parametrize("place", PLACES)
def test_a_process_killed_anywhere_leaves_the_old_or_the_new_state(
    store: Store, database_url: str, place: str
) -> None:
    """No half backup, no lost piece, no half restore; the next run needs no repair."""
    backups = BackupManager(store.database, store.inventory, rotation=Rotation(keep_last=4))
    for number in range(5):
        store.inventory.commit(
            [Put(Setting.of(f"s{number}", data=number)), Put(Setting.of("n", data=number))],
            actor="test",
        )
        backups.create("automatic")
    store.inventory.commit([Put(Setting.of("n", data="new"))], actor="test")
    before = dict(store.inventory.settings())
    listed = {backup.id for backup in backups.list()}
    expire(store)

    assert start("crash", database_url, place).wait(60) == 9, "it did not get to the place"

    assert store.inventory.verify().ok
    if place == "after the restore":
        assert store.inventory.settings() == {"s0": 0, "n": 0}
    else:
        assert store.inventory.settings() == before
    assert listed <= {backup.id for backup in backups.list()}
    assert_sound(store)
    store.inventory.commit([Put(Setting.of("n", data="newer"))], actor="test")
    expire(store)
    assert backups.run_once() is not None
    backups.rotate()
    automatic = [b for b in backups.list() if b.backup_type == "automatic"]
    assert len(automatic) == 4
    assert automatic[0].verified_at is not None
    assert automatic[0].revision == store.inventory.head().revision
    assert_sound(store)
    assert store.inventory.settings()["n"] == "newer"
