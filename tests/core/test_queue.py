"""Writers of one SQLite file stand in a queue: first come, first served."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy.engine import Connection

from expresso_persist import Store
from expresso_persist.db.fair_lock import FairLock
from expresso_persist.errors import DatabaseUnavailable
from expresso_persist.model.records import Put, Setting

GREEN = """
import sys
{patch}
import time
from expresso_persist import Store
from expresso_persist.model.records import Put, Setting
store = Store(sys.argv[1], migrate=True)
queue, ticks, order = store.database._shared.queue, [], []
def hold(connection):
    while len(queue._queue) < 6:
        sleep(0.01)
    sleep(0.3)
def write(number):
    store.inventory.commit([Put(Setting.of("k", data=number))], actor="t")
    order.append(number)
def tick():
    while len(order) < 5:
        ticks.append(1)
        sleep(0.01)
def later(number):
    while len(queue._queue) < number:
        sleep(0.01)
    write(number)
holder = spawn(store.database.transact, hold)
sleep(0)
waiting = [spawn(later, number) for number in range(5)]
ticker = spawn(tick)
while len(queue._queue) < 5:
    sleep(0.01)
doomed = spawn(write, 99)
while len(queue._queue) < 6:
    sleep(0.01)
kill(doomed)
for one in [holder, *waiting, ticker]:
    wait(one)
assert order == list(range(5)), order
assert len(ticks) > 10, "nothing else ran meanwhile"
assert not queue._held
print("well")
"""
PATCHES = {
    "gevent": (
        "from gevent import monkey; monkey.patch_all()\n"
        "from gevent import sleep, spawn\n"
        "def wait(g): g.join()\n"
        "def kill(g): g.kill()"
    ),
    "eventlet": (
        "import eventlet; eventlet.monkey_patch()\n"
        "from eventlet import sleep, spawn, kill\n"
        "def wait(g): g.wait()"
    ),
}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def queued(lock: FairLock, action: Callable[[], object]) -> threading.Thread:
    """A thread that does something, once it stands in the queue."""
    before = len(lock._queue)
    thread = threading.Thread(target=action)
    thread.start()
    until(lambda: len(lock._queue) == before + 1)
    return thread


def test_first_come_first_served() -> None:
    """Who holds it and comes back at once is the last."""
    lock, order = FairLock(), list[int]()

    def work(number: int) -> None:
        assert lock.acquire(30)
        order.append(number)
        lock.release()

    assert lock.acquire(0)
    threads = [queued(lock, lambda n=number: work(n)) for number in range(20)]
    lock.release()
    work(20)
    for thread in threads:
        thread.join()
    assert order == list(range(21))


def test_who_gives_up_keeps_nobody_waiting() -> None:
    lock, got = FairLock(), list[bool]()
    assert lock.acquire(0)
    assert not lock.acquire(0.01)
    threads = [
        queued(lock, lambda: got.append(lock.acquire(0.2))),
        queued(lock, lambda: got.append(lock.acquire(30))),
    ]
    threads[0].join()
    assert got == [False]
    lock.release()
    threads[1].join()
    assert got == [False, True]
    lock.release()
    assert lock.acquire(0)


def test_giving_up_in_the_moment_of_the_handing_over() -> None:
    """Many times, with times to wait about as long as it is held: it is never lost."""
    lock, stop = FairLock(), time.monotonic() + 1

    def work() -> None:
        while time.monotonic() < stop:
            if lock.acquire(0.0005):
                time.sleep(0.0002)
                lock.release()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lock.acquire(0)


def test_all_stores_of_a_file_are_in_one_queue(sqlite_url: str) -> None:
    """Whichever tenant they are of, and however the file is named."""
    other_url = sqlite_url.replace("/expresso.db", "/./expresso.db")
    with Store(sqlite_url, migrate=True) as store, Store(other_url) as other:
        views = [store, other, store.for_tenant("a"), other.for_tenant("b")]
        for view in views:
            view.inventory.head()
        lock, order = store.database._shared.queue, list[int]()

        def work(number: int) -> None:
            def note(_: Connection) -> None:
                order.append(number)

            views[number % 4].database.transact(note)

        with store.database.write():
            threads = [queued(lock, lambda n=number: work(n)) for number in range(12)]
        for thread in threads:
            thread.join()
        assert order == list(range(12))


def test_waiting_longer_than_the_busy_timeout_is_a_503(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the queue, and in the queue and at the file together."""
    monkeypatch.setattr("expresso_persist.db.engine.BUSY_TIMEOUT", 0.3)
    with Store(sqlite_url, migrate=True) as store:
        with store.database.write(), pytest.raises(DatabaseUnavailable, match="locked") as caught:
            store.inventory.commit([Put(Setting.of("a", data=1))], actor="t")
        assert (caught.value.status, caught.value.retry_after) == (503, 1)
        assert store.inventory.commit([Put(Setting.of("a", data=1))], actor="t").revision == 1


def test_a_write_that_fails_lets_the_next_one_in(sqlite_url: str) -> None:
    with Store(sqlite_url, migrate=True) as store:
        for error in (ValueError, KeyboardInterrupt, SystemExit):

            def fail(_: Connection, error: type[BaseException] = error) -> None:
                raise error

            with pytest.raises(error):
                store.database.transact(fail)
            store.inventory.commit([Put(Setting.of(error.__name__, data=1))], actor="t")
        assert store.inventory.head().revision == 3


def test_a_child_does_not_wait_for_threads_of_its_parent(sqlite_url: str) -> None:
    with Store(sqlite_url, migrate=True) as store:
        lock = store.database._shared.queue
        assert lock.acquire(0)
        thread = queued(lock, lambda: lock.acquire(30) and lock.release())
        child = os.fork()
        if child == 0:
            try:
                store.inventory.commit([Put(Setting.of("a", data=1))], actor="child")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        lock.release()
        thread.join()
        assert store.inventory.settings() == {"a": 1}


@pytest.mark.parametrize("kind", sorted(PATCHES))
def test_green_threads_wait_without_stopping_the_others(sqlite_url: str, kind: str) -> None:
    """And one that is killed while it waits leaves the queue."""
    pytest.importorskip(kind)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GREEN.format(patch=PATCHES[kind]), sqlite_url],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "well\n", done.stderr
