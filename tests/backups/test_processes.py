"""Real processes: many runners at once, killed without warning."""

from __future__ import annotations

import datetime as dt
import itertools
import random
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from backed_up import assert_sound, expire
from expresso_persist import Store
from expresso_persist.backups import BackupManager, Rotation
from expresso_persist.records import Put, Setting
from expresso_persist.tables import leases

WORKER = Path(__file__).with_name("worker.py")
PLACES = runpy.run_path(str(WORKER))["PLACES"]


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(WORKER), *arguments])


def holder_pid(store: Store) -> int | None:
    with store.database.read() as connection:
        holder = connection.scalar(
            sa.select(leases.c.holder).where(leases.c.name == "backup-runner")
        )
    return int(holder.rpartition("-")[2]) if holder else None


@pytest.mark.slow
def test_many_processes_make_one_backup_per_interval(store: Store, database_url: str) -> None:
    """Interval 1 s, writers all the time, the runner on duty killed again and again."""
    chance = random.Random(3)
    workers = [start("run", database_url) for _ in range(4)]
    seen: dict[str, dt.datetime] = {}
    kills = 0
    try:
        begin = time.monotonic()
        next_kill = begin + 3
        # Until there is enough to judge; a busy machine gets longer, not another verdict.
        while (len(seen) < 8 or kills < 4) and time.monotonic() < begin + 90:
            seen.update((b.id, b.created_at) for b in store.backups.list())
            if time.monotonic() > next_kill:
                duty = holder_pid(store)
                victim = next((w for w in workers if w.pid == duty), chance.choice(workers))
                victim.kill()
                victim.wait()
                workers[workers.index(victim)] = start("run", database_url)
                kills += 1
                next_kill = time.monotonic() + 2.3
            time.sleep(0.1)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    times = sorted(seen.values())
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
    print(f"{kills} kills, {len(times)} backups, gaps {min(gaps):.2f} to {max(gaps):.2f} s")
    assert kills >= 4
    assert len(times) >= 8, "nobody took over from those that were killed"
    assert min(gaps) >= 1, "two backups in one interval"
    assert_sound(store)


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
