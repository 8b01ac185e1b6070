"""Many writers at once: every adjustment counts, every revision is there once."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from expresso_persist import Store
from expresso_persist.model.records import Adjust, Put, RecordKey, StationQuantity

OAT = RecordKey("station_quantity", ("1", "milk", "oat"))
WORKER = """
import json, sys
from expresso_persist import Store
from expresso_persist.model.records import Adjust, RecordKey
url, number, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
key = RecordKey("station_quantity", ("1", "milk", "oat"))
with Store(url) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    revisions = [
        store.inventory.commit([Adjust(key, "quantity", 0.1)], actor=f"worker {number}",
                               idempotency_key=f"{turn // 2}").revision
        for turn in range(times)
    ]
print(json.dumps(revisions))
"""


def put_oat(store: Store) -> None:
    store.inventory.commit([Put(StationQuantity.of(*OAT.parts, data={"quantity": 0}))], actor="t")


def test_threads_adjusting_one_number_lose_nothing(store: Store) -> None:
    put_oat(store)
    with ThreadPoolExecutor(8) as pool:
        commits = list(
            pool.map(
                lambda n: store.inventory.commit([Adjust(OAT, "quantity", n)], actor=str(n)),
                range(1, 41),
            )
        )
    assert sorted(commit.revision for commit in commits) == list(range(2, 42))
    assert store.inventory.records()[0].data == {"quantity": sum(range(41))}
    assert store.inventory.verify().ok


def test_processes_that_send_each_request_twice_lose_and_double_nothing(
    store: Store, database_url: str
) -> None:
    put_oat(store)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, database_url, str(number), "20"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    revisions = [json.loads(worker.communicate(timeout=60)[0]) for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    for ours in revisions:
        assert ours == sorted(ours)
        assert ours[::2] == ours[1::2]  # the second of each pair got the first's answer
    assert sorted(r for ours in revisions for r in ours[::2]) == list(range(2, 42))
    assert store.inventory.records()[0].data == {"quantity": 4}
    assert store.inventory.verify().ok


def test_readers_never_see_half_a_commit(store: Store) -> None:
    """A transfer keeps the sum; a reader in between sees the old or the new."""
    keys = [RecordKey("station_quantity", (str(n), "milk", "oat")) for n in (1, 2)]
    store.inventory.commit(
        [Put(StationQuantity.of(*key.parts, data={"quantity": 50})) for key in keys], actor="t"
    )

    def transfer(turn: int) -> None:
        store.inventory.commit(
            [Adjust(keys[0], "quantity", -1), Adjust(keys[1], "quantity", 1)], actor=str(turn)
        )

    def total(_: int) -> float:
        found = json.loads(store.inventory.inventory_json()[1])["station_inventory_quantities"]
        snapshot = store.inventory.snapshot()
        amounts = [json.loads(record.text)["quantity"] for record in snapshot.records]
        assert sum(amounts) == 100
        assert amounts[0] == 50 - (snapshot.head.revision - 1)
        return float(sum(value["quantity"] for s in found.values() for value in leaves(s)))

    with ThreadPoolExecutor(6) as pool:
        writing = pool.map(transfer, range(30))
        assert set(pool.map(total, range(30))) == {100.0}
        list(writing)
    assert store.inventory.verify().ok


def leaves(value: object) -> list[dict[str, float]]:
    if isinstance(value, dict) and "quantity" in value:
        return [value]
    members = value.values() if isinstance(value, dict) else value
    assert not isinstance(members, (str, int, float))
    return [leaf for member in members for leaf in leaves(member)]  # type: ignore[attr-defined]
