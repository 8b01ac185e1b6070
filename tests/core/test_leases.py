"""Who may go on when the process that took a lease has ended, is elsewhere, or only waits."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.db.leases import Lease
from expresso_persist.db.tables import leases

TAKE = """
import sys
from expresso_persist import Store
from expresso_persist.db.leases import Lease
store = Store(sys.argv[1])
assert Lease(store.database, store.tenant, 3600, name="work", label="Ben works").acquire()
print("taken", flush=True)
sys.stdin.read()
"""


def lease(store: Store) -> Lease:
    return Lease(store.database, store.tenant, 3600, name="work")


def holder(store: Store) -> str:
    with store.database.read() as connection:
        return str(connection.scalar(sa.select(leases.c.holder).where(leases.c.name == "work")))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems wait until it expires")
def test_a_killed_process_keeps_nobody_on_its_machine_waiting(
    store: Store, database_url: str
) -> None:
    command = [sys.executable, "-c", TAKE, database_url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "taken\n"
        other = lease(store)
        assert not other.acquire()
        with store.database.read() as connection:
            view = other.view(connection)
        assert (view.live, view.label) == (True, "Ben works")
        worker.kill()
        worker.wait()
        with store.database.read() as connection:
            assert not other.view(connection).live
        assert other.acquire()


def test_the_number_of_a_process_elsewhere_says_nothing_here(store: Store) -> None:
    """A free number here may be a busy process on another machine, or after a restart."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert lease(store).acquire()
    here = holder(store).rpartition("-")[0]
    for name, free in (
        ("Zoë#0-" + str(ended.pid), False),  # what an earlier version wrote
        ("Zoë#0@elsewhere-" + str(ended.pid), False),
        ("Zoë@home#0@-" + str(ended.pid), False),
        (f"{here}-{os.getpid()}", False),
        (f"{here}-{ended.pid}", sys.platform == "linux"),
    ):
        with store.database.write() as connection:
            connection.execute(sa.update(leases).where(leases.c.name == "work").values(holder=name))
        assert lease(store).acquire() is free, name
