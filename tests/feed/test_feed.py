"""store.feed: in order, none missed, none twice, whatever happens to the database."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.db.tables import changes, commits, tenants
from expresso_persist.feed import Encoded, Recent, hub
from expresso_persist.model.records import Put, Setting
from live import WAIT, eventually
from postgres_server import private_server


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes its time for the sake of the machine takes less of it here."""
    monkeypatch.setattr(hub, "_LOST", 0.1)


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """The same database, opened by somebody else: nothing in this process connects the two."""
    with Store(store.database.engine.url.render_as_string(hide_password=False)) as opened:
        yield opened


def commit(store: Store, value: Any = None) -> int:
    """One more commit; its revision."""
    value = random.random() if value is None else value
    return store.inventory.commit([Put(Setting.of("x", data=value))], actor="test").revision


def older_copy(store: Store, revision: int) -> None:
    """Put the database back to what a backup of an earlier revision holds."""
    with store.database.write() as connection:
        head = connection.scalar(sa.select(commits.c.hash).where(commits.c.revision == revision))
        connection.execute(sa.delete(changes).where(changes.c.revision > revision))
        connection.execute(sa.delete(commits).where(commits.c.revision > revision))
        connection.execute(sa.update(tenants).values(revision=revision, head_hash=head))


def test_every_subscriber_gets_every_commit_in_order(store: Store, other: Store) -> None:
    total, writers = 60, (store, other, other)
    starts = [0, 0, 7]
    for _ in range(7):
        commit(store)
    cursors = [0, 0, store.inventory.head().cursor]
    found: list[list[int]] = [[] for _ in starts]

    def listen(place: int) -> None:
        with store.feed.subscribe(cursors[place], timeout=WAIT) as events:
            for event in events:
                assert event.commit is not None
                found[place].append(event.commit.revision)
                if event.commit.revision == 7 + total:
                    return

    listeners = [threading.Thread(target=listen, args=(place,)) for place in range(len(starts))]
    writing = [
        threading.Thread(target=lambda s=s: [commit(s) for _ in range(total // len(writers))])
        for s in writers
    ]
    for thread in (*listeners, *writing):
        thread.start()
    for thread in (*listeners, *writing):
        thread.join()
    assert found == [list(range(start + 1, 7 + total + 1)) for start in starts]


def test_it_begins_now_and_goes_on_where_it_was(store: Store, other: Store) -> None:
    commit(store)
    events = store.feed.subscribe(timeout=WAIT)
    commit(other, "after")
    assert next(events).commit.changes[0].after.data == "after"  # type: ignore[union-attr]
    cursor = events.cursor
    events.close()
    assert list(events) == []
    commit(other, "while away")
    commit(other, "while away too")
    again = store.feed.subscribe(cursor, timeout=WAIT)
    assert [next(again).commit.revision for _ in range(2)] == [3, 4]  # type: ignore[union-attr]
    assert list(store.feed.subscribe(again.cursor, timeout=0)) == []


def test_another_thread_can_close_it(store: Store) -> None:
    events = store.feed.subscribe()
    reading = threading.Thread(target=lambda: list(events))
    reading.start()
    eventually(lambda: store.feed.hub.channel(store.tenant).interests, "somebody waits")
    events.close()
    reading.join(WAIT)
    assert not reading.is_alive()


def test_an_older_copy_of_the_database_is_told(store: Store, other: Store) -> None:
    for _ in range(4):
        commit(store)
    events = store.feed.subscribe(timeout=WAIT)
    shared = store.feed.hub.enter(store.tenant, self := object())
    eventually(lambda: shared.recent, "the hub has looked")
    older_copy(other, 2)
    event = next(events)
    assert event.reset
    assert event.cursor == store.inventory.head().cursor
    # The same revision again, with another content: known by its hash alone.
    commit(other, "another third")
    assert next(events).commit.revision == 3  # type: ignore[union-attr]
    store.feed.hub.leave(shared, self)


def test_tenants_hear_only_their_own(store: Store, other: Store) -> None:
    mine = store.for_tenant("mine").feed.subscribe(timeout=WAIT)
    for n in range(3):
        commit(other.for_tenant("theirs"))
        commit(other.for_tenant("mine"), n)
    assert [next(mine).commit.changes[0].after.data for _ in range(3)] == [0, 1, 2]  # type: ignore[union-attr]
    assert list(store.for_tenant("mine").feed.subscribe(mine.cursor, timeout=0.3)) == []


def test_nobody_looks_while_nobody_waits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "LINGER", 0.1)
    assert list(store.feed.subscribe(timeout=0.01)) == []
    eventually(lambda: store.feed.hub._thread is None, "the thread ends")
    looks = store.feed.hub.looks
    commit(store)
    assert store.feed.hub.looks == looks
    event = next(store.feed.subscribe(0, timeout=WAIT))  # and it begins again
    assert event.commit is not None


def test_a_database_in_memory_tells_its_own_commits() -> None:
    with Store("sqlite://", migrate=True) as store:
        events = store.feed.subscribe(timeout=WAIT)
        threading.Timer(0.1, commit, [store]).start()
        assert next(events).commit is not None


def test_notify_wakes_and_a_lost_one_is_found(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(postgresql_url, migrate=True) as store, Store(postgresql_url) as other:
        store.feed.hub.safety = 3600  # nothing but NOTIFY wakes
        events = store.feed.subscribe(timeout=WAIT)
        threading.Timer(0.3, commit, [other]).start()
        assert next(events).commit is not None
        assert store.feed.hub.notified
        # A server with an older version of the library does not announce what it commits.
        monkeypatch.setattr(other.inventory.database, "announcing", lambda update, *_: update)
        store.feed.hub.safety = 0.3
        store.feed.hub._dirty = None
        store.feed.hub.enter(store.tenant, object())
        commit(other)
        assert next(events).commit is not None
        eventually(lambda: not store.feed.hub.notified, "who loses one is not relied upon")
        commit(other)
        assert next(events).commit is not None


def test_a_rolled_back_commit_is_not_told(store: Store, other: Store) -> None:
    events = store.feed.subscribe(timeout=0.5)

    def fail(_: object) -> list[Any]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        other.inventory.commit(fail, actor="test")
    assert list(events) == []


def test_a_restart_of_postgresql_is_waited_out() -> None:
    with private_server() as server, Store(server.url, migrate=True) as store:
        events = store.feed.subscribe(timeout=WAIT)
        commit(store, "before")
        assert next(events).commit is not None
        waiting: list[Any] = []
        reading = threading.Thread(target=lambda: waiting.append(next(events)))
        reading.start()
        eventually(lambda: store.feed.hub.notified, "it listens")
        server.stop_at_once()
        eventually(lambda: not store.feed.hub.notified, "it notices")
        server.start()
        with Store(server.url) as other:
            commit(other, "after")
            reading.join(WAIT)
            assert waiting[0].commit.changes[0].after.data == "after"
            store.feed.hub.enter(store.tenant, object())
            eventually(lambda: store.feed.hub.notified, "it listens again")
            commit(other, "once more")
            assert next(events).commit.revision == 3  # type: ignore[union-attr]


FORKED = """
import os, sys
from expresso_persist import Store
from expresso_persist.model.records import Put, Setting

def commit(store, value):
    store.inventory.commit([Put(Setting.of("x", data=value))], actor="test")

with Store(sys.argv[1], migrate=True) as store:
    events = store.feed.subscribe(timeout=20)
    commit(store, 1)
    assert next(events).commit.revision == 1
    assert store.feed.hub._thread is not None
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        # A subscription goes on in the child as well, over connections of its own.
        inherited = next(events).commit.revision
        os.write(told, b"!")
        fresh = store.feed.subscribe(events.cursor, timeout=20)
        assert next(fresh).commit.revision == 3
        os._exit(inherited)
    commit(store, 2)
    assert next(events).commit.revision == 2
    os.read(ready, 1)
    commit(store, 3)
    assert next(events).commit.revision == 3
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 2, status
    commit(store, 4)  # the child's end left our connections alone
    assert next(events).commit.revision == 4
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_it_survives_a_fork(database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, database_url],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_behind_pgbouncer_it_looks_by_the_clock(postgresql_url: str, pgbouncer_url: str) -> None:
    Store(postgresql_url, migrate=True).close()
    with Store(pgbouncer_url) as store, Store(pgbouncer_url) as other:
        events = store.feed.subscribe(timeout=WAIT)
        for n in range(5):
            threading.Timer(0.05, commit, [other]).start()
            assert next(events).commit.revision == n + 1  # type: ignore[union-attr]
            assert not store.feed.hub.notified


def test_what_is_kept_for_all_is_bounded() -> None:
    recent = Recent("base")
    for n in range(2_000):
        recent = recent.extended([Encoded(f"c{n}", b"x" * 40_000)])
    kept = recent.after("c1990")
    assert kept is not None
    assert [entry.cursor for entry in kept] == [f"c{n}" for n in range(1991, 2000)]
    assert recent.after("c1800") is None
    assert recent.after("base") is None
    assert recent.extended([Encoded("huge", b"x" * 5_000_000)]).after("c1999") is None
    assert recent.extended([Encoded("huge", b"x" * 5_000_000)]).after("huge") == ()
