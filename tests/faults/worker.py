"""Work that is killed: says ``revision value`` only after the database has confirmed it."""

from __future__ import annotations

import os
import sys

from expresso_persist import Store
from expresso_persist.model.records import Adjust, Put, RecordKey, StationQuantity

COUNTER = RecordKey("station_quantity", ("1", "milk", "counter"))
ITEMS = 400


def dump(version: int) -> dict[str, object]:
    """A whole inventory in which every item carries the version."""
    items = [{"id": f"m{n}", "name": f"Milk {n}", "version": version} for n in range(ITEMS)]
    return {"event_inventory": {"milk": items}, "event_menu": {"version": version}}


def say(*words: object) -> None:
    """Tell the test, at once."""
    print(*words, flush=True)


def commit(url: str) -> None:
    """Add one to a counter, for ever."""
    with Store(url) as store:
        if store.inventory.get(COUNTER.kind, *COUNTER.parts) is None:
            first = StationQuantity.of(*COUNTER.parts, data={"quantity": 0})
            store.inventory.commit([Put(first)], actor="worker")
        say("ready")
        while True:
            done = store.inventory.commit([Adjust(COUNTER, "quantity", 1)], actor="worker")
            say(done.revision)


def imports(url: str) -> None:
    """Import one version after the other, for ever."""
    with Store(url) as store:
        say("ready")
        while True:
            version = store.inventory.head().revision + 1
            done = store.importer.import_(dump(version), actor="worker", mode="replace")
            say(done.revision)


def migrate(url: str) -> None:
    """Create the tables."""
    say("ready")
    Store(url, migrate=True).close()
    say("done")


def adjust(url: str, times: str) -> None:
    """Add one to the counter some times, once the test says go."""
    with Store(url) as store:
        say("ready")
        sys.stdin.readline()
        for _ in range(int(times)):
            store.inventory.commit([Adjust(COUNTER, "quantity", 1)], actor="worker")


def fork(url: str, children: str, times: str) -> None:
    """Use the database, fork, and let parent and children use it at once."""
    store = Store(url, migrate=True)
    first = StationQuantity.of(*COUNTER.parts, data={"quantity": 0})
    store.inventory.commit([Put(first)], actor="parent")
    pids = []
    for number in range(int(children)):
        pid = os.fork()
        if pid == 0:
            for _ in range(int(times)):
                store.inventory.commit([Adjust(COUNTER, "quantity", 1)], actor=f"child {number}")
                store.inventory.inventory_json()
            os._exit(0)
        pids.append(pid)
    for _ in range(int(times)):
        store.inventory.commit([Adjust(COUNTER, "quantity", 1)], actor="parent")
        store.inventory.inventory_json()
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    store.close()
    say(*codes)


if __name__ == "__main__":
    {
        "commit": commit,
        "import": imports,
        "migrate": migrate,
        "adjust": adjust,
        "fork": fork,
    }[sys.argv[1]](*sys.argv[2:])
