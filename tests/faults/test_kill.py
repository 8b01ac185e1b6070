"""kill -9 at any moment: the old state or the new one, and what was confirmed is there."""

from __future__ import annotations

import random
import time

import pytest

from expresso_persist import Store
from expresso_persist.errors import SchemaMismatch
from expresso_persist.model.records import RecordKey

COUNTER = RecordKey("station_quantity", ("1", "milk", "counter"))
CHANCE = random.Random(7)


def read_line(worker) -> str:
    line = worker.stdout.readline()
    assert line, f"the worker ended with {worker.wait()}"
    return line.strip()


def kill(worker) -> list[int]:
    """Kill it; the revisions that it had reported and nobody has read."""
    worker.kill()
    # Not communicate(), which passes over the lines that readline() has buffered.
    lines = worker.stdout.read().split("\n")[:-1]
    worker.wait()
    return [int(line) for line in lines]


def test_confirmed_commits_survive(store: Store, database_url: str, start, rounds: int) -> None:
    confirmed = 0
    for _ in range(rounds):
        worker = start("commit", database_url)
        assert read_line(worker) == "ready"
        for _ in range(CHANCE.randint(1, 20)):
            confirmed = int(read_line(worker))
        time.sleep(CHANCE.random() * 0.01)  # the point of the kill, not a synchronisation
        confirmed = max([confirmed, *kill(worker)])
        head = store.inventory.head().revision
        assert head in (confirmed, confirmed + 1)
        record = store.inventory.get(COUNTER.kind, *COUNTER.parts)
        assert record is not None
        assert record.data == {"quantity": head - 1}
        assert store.inventory.verify().ok


def test_an_import_is_there_whole_or_not_at_all(
    store: Store, database_url: str, start, rounds: int
) -> None:
    confirmed = 0
    for _ in range(rounds):
        worker = start("import", database_url)
        assert read_line(worker) == "ready"
        confirmed = int(read_line(worker))
        time.sleep(CHANCE.random() * 0.06)
        confirmed = max([confirmed, *kill(worker)])
        snapshot = store.inventory.snapshot()
        assert snapshot.head.revision in (confirmed, confirmed + 1)
        items = [record for record in snapshot.records if record.kind == "event_inventory"]
        assert len(items) == 400
        assert {record.data["version"] for record in items} == {snapshot.head.revision}
        assert store.inventory.document("event_menu").value == {"version": snapshot.head.revision}
        assert store.inventory.verify().ok


def test_a_killed_migration_needs_no_repair(database_url: str, start, rounds: int) -> None:
    for _ in range(rounds):
        worker = start("migrate", database_url)
        assert read_line(worker) == "ready"
        time.sleep(CHANCE.random() * 0.1)
        worker.kill()
        worker.communicate()
        try:
            Store(database_url).close()
        except SchemaMismatch:
            continue  # not migrated, or not yet
        break
    with Store(database_url, migrate=True) as store:
        assert store.inventory.verify().ok


@pytest.mark.parametrize("children", [3])
def test_forked_processes_do_not_share_connections(database_url: str, start, children: int) -> None:
    """As with gunicorn's --preload: the engine was used before the fork."""
    worker = start("fork", database_url, str(children), "15")
    assert worker.communicate(timeout=60)[0].split() == ["0"] * children
    with Store(database_url) as store:
        record = store.inventory.get(COUNTER.kind, *COUNTER.parts)
        assert record is not None
        assert record.data == {"quantity": 15 * (children + 1)}
        assert store.inventory.verify().ok
