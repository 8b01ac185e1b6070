"""Exactly one runner, by the database's clock; a scheduler that never dies."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import os
import random
import threading
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.backups import BackupManager, Rotation
from expresso_persist.backups.catalog import iso
from expresso_persist.backups.making import Draft, Writer
from expresso_persist.backups.scheduler import RUNNER, DueMark, Scheduler
from expresso_persist.db.database import Database
from expresso_persist.db.leases import Lease
from expresso_persist.db.tables import leases
from expresso_persist.errors import DatabaseUnavailable
from expresso_persist.model.records import Put, Setting


def manager(store: Store, interval: float = 300) -> BackupManager:
    return BackupManager(store.database, store.inventory, interval=interval)


def lease(store: Store, ttl: float = 60) -> Lease:
    return Lease(store.database, "default", ttl, name=RUNNER)


def write(store: Store, value: int) -> None:
    store.inventory.commit([Put(Setting.of("n", data=value))], actor="test")


def shift(store: Store, name: str, by: dt.timedelta) -> None:
    """Move a row's times, as if the clock had been moved the other way."""
    with store.database.write() as connection:
        row = connection.execute(sa.select(leases).where(leases.c.name == name)).one()
        connection.execute(
            sa.update(leases)
            .where(leases.c.name == name)
            .values(acquired_at=row.acquired_at + by, expires_at=row.expires_at + by)
        )


# -- the lease ----------------------------------------------------------------------------


def test_one_holder_at_a_time(store: Store) -> None:
    """The first takes it and may renew it; the second waits until it is released."""
    first, second = lease(store), lease(store)
    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    second.release()  # not its own: nothing happens
    assert not second.acquire()
    first.release()
    assert second.acquire()
    with store.database.read() as connection:
        view = first.view(connection)
    assert view.holder == second.holder
    assert 50 < view.seconds_left <= 60


def test_a_lease_expires(store: Store) -> None:
    """A holder that was killed or hangs is replaced."""
    first, second = lease(store), lease(store)
    assert first.acquire()
    shift(store, "backup-runner", dt.timedelta(seconds=-61))
    with store.database.read() as connection:
        assert not first.view(connection).live
    assert second.acquire()
    assert not first.acquire()


def test_a_lease_from_the_future_is_free(store: Store) -> None:
    """The clock went back by hours: a dead holder must not block for hours."""
    assert lease(store).acquire()
    shift(store, "backup-runner", dt.timedelta(hours=5))
    assert lease(store).acquire()


def test_tenants_have_leases_of_their_own(store: Store) -> None:
    """One shop's runner does not keep another's from its backups."""
    assert lease(store).acquire()
    assert Lease(store.database, "other", 60, name=RUNNER).acquire()


@pytest.mark.parametrize("attempt", range(10))
def test_threads_race_for_one_lease(store: Store, attempt: int) -> None:
    """Of many that try at once, one gets it, whether the row is new or was released."""
    contenders = [lease(store) for _ in range(5)]
    won: list[Lease] = []
    barrier = threading.Barrier(len(contenders))
    if attempt % 2:
        contenders[0].acquire()
        contenders[0].release()

    def contend(contender: Lease) -> None:
        barrier.wait()
        if contender.acquire():
            won.append(contender)

    threads = [threading.Thread(target=contend, args=(c,)) for c in contenders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


# -- run_once -----------------------------------------------------------------------------


def test_a_backup_is_made_once_per_interval(store: Store) -> None:
    """However often and from however many managers it is asked for."""
    write(store, 1)
    made = manager(store).run_once()
    assert made is not None
    assert made.backup_type == "automatic"
    write(store, 2)
    assert manager(store).run_once() is None
    assert manager(store).run_once() is None
    shift(store, "backup-due", dt.timedelta(seconds=-301))
    again = manager(store).run_once()
    assert again is not None
    assert again.id != made.id


def test_a_confirmation_counts_as_a_run(store: Store) -> None:
    """An unchanged state is looked at once per interval as well."""
    first = manager(store).run_once()
    shift(store, "backup-due", dt.timedelta(seconds=-301))
    second = manager(store).run_once()
    assert first is not None
    assert second is not None
    assert second.id == first.id
    assert second.confirmed_at is not None
    assert manager(store).run_once() is None
    assert store.backups.status()["last_success_at"] > first.to_json()["created_at"]


def test_a_clock_that_went_back_does_not_stop_the_backups(store: Store) -> None:
    """The last backup lies in the future: the next one is made now, and then in time."""
    manager(store).run_once()
    shift(store, "backup-due", dt.timedelta(hours=5))
    write(store, 1)
    assert manager(store).run_once() is not None
    assert manager(store).run_once() is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the database's clock some hours ahead; the machine's own belongs to others."""
    real, ahead = Database.now, dt.timedelta()

    def now(database: Database, connection: sa.Connection) -> dt.datetime:
        return real(database, connection) + ahead

    def move(hours: float) -> None:
        nonlocal ahead
        ahead = dt.timedelta(hours=hours)

    monkeypatch.setattr(Database, "now", now)
    return move


def test_a_clock_that_jumps_makes_no_backup_twice_and_drops_none(
    store: Store, clock: Callable[[float], None]
) -> None:
    """Back and forth by hours: one backup each time, and the future pushes nothing out."""
    chance = random.Random(4)
    runners = [manager(store) for _ in range(3)]
    for runner in runners:
        runner.rotation = Rotation(keep_last=3)
    expected: dict[str, tuple[int, dt.datetime]] = {}
    jumps = [0, 5, 0, -5, -4.9, 26, 0, *(chance.uniform(-30, 30) for _ in range(6))]
    for number, hours in enumerate(itertools.chain(jumps, (31, 31.1, 31.2, 31.3))):
        clock(hours)
        write(store, number)
        status = store.backups.status()
        assert status["next_due_at"] <= iso(clock_of(store))
        chance.shuffle(runners)
        (made,) = [backup for runner in runners if (backup := runner.run_once()) is not None]
        assert made.verified_at is not None
        assert [runner.run_once() for runner in runners] == [None] * 3
        assert store.backups.list()[0].id == made.id, "revisions order them"
        assert store.backups.status()["latest_backup"]["id"] == made.id
        past = {**expected, made.id: (made.revision, made.created_at)}
        now = clock_of(store)
        kept = sorted((number, name) for name, (number, at) in past.items() if at <= now)[-3:]
        expected = {
            name: (number, at)
            for name, (number, at) in past.items()
            if at > now or (number, name) in kept
        }
        assert {backup.id for backup in store.backups.list()} == expected.keys()
    assert len(expected) == 3  # every wrong time is over by now
    assert all(store.backups.verify(backup_id).ok for backup_id in expected)


def test_hours_that_were_skipped_are_not_caught_up(store: Store) -> None:
    """The clock went forth, or the machine slept: one backup, not one for each interval."""
    assert manager(store).run_once() is not None
    for name in ("backup-due", "backup-runner"):
        shift(store, name, dt.timedelta(hours=-5))
    write(store, 1)
    assert manager(store).run_once() is not None
    assert [manager(store).run_once() for _ in range(3)] == [None] * 3


def test_a_clock_that_went_back_is_told_as_due_now(store: Store) -> None:
    """Not as due in five hours, when nobody is there to make it."""
    manager(store).run_once()
    shift(store, "backup-due", dt.timedelta(hours=5))
    assert store.backups.status()["next_due_at"] <= iso(clock_of(store))


def clock_of(store: Store) -> dt.datetime:
    with store.database.read() as connection:
        return store.database.now(connection)


def test_the_duty_of_another_process_is_respected(store: Store) -> None:
    """While somebody holds the lease, nobody else makes the backup."""
    other = lease(store)
    assert other.acquire()
    assert manager(store).run_once() is None
    assert store.backups.status()["backup_running"] is True
    other.release()
    assert store.backups.status()["backup_running"] is False
    assert manager(store).run_once() is not None


def hang_while_packing(
    store: Store, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]
) -> None:
    """Let the next backup hang until its lease is over; then comes ``meanwhile``."""
    writer = type(store.backups._writer)
    pack = writer.pack

    def hang(self: Writer, draft: Draft) -> object:
        packed = pack(self, draft)
        monkeypatch.undo()
        shift(store, "backup-runner", dt.timedelta(hours=-1))
        meanwhile()
        return packed

    monkeypatch.setattr(writer, "pack", hang)


def test_a_slow_runner_that_was_replaced_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state too large for one lease would never be backed up if each gave up for the next."""
    write(store, 1)
    slow, other = manager(store), manager(store)
    hang_while_packing(store, monkeypatch, other._runner.lease.acquire)
    made = slow.run_once()
    assert made is not None
    assert other.run_once() is None  # it was on duty, and the other one was faster
    assert [backup.id for backup in store.backups.list()] == [made.id]


def test_a_runner_that_hung_stores_no_old_state(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wakes up when the next backup is due; what it read is older than the newest one."""
    write(store, 1)
    slow, other = manager(store), manager(store)

    def meanwhile() -> None:
        write(store, 2)
        assert other.run_once() is not None
        shift(store, "backup-due", dt.timedelta(hours=-1))

    hang_while_packing(store, monkeypatch, meanwhile)
    assert slow.run_once() is None
    assert [backup.revision for backup in store.backups.list()] == [2]


def test_a_backup_made_meanwhile_is_not_made_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark is looked at again in the transaction that stores the backup."""
    write(store, 1)
    runner = manager(store)
    pack = runner._writer.pack

    def meanwhile(_: object, draft: object) -> object:
        packed = pack(draft)  # type: ignore[arg-type]
        with store.database.write() as connection:
            mark = DueMark(store.database, "default", dt.timedelta(seconds=300))
            mark.lock(connection)
            mark.move(connection, store.database.now(connection))
        return packed

    monkeypatch.setattr(type(runner._writer), "pack", meanwhile)
    assert runner.run_once() is None
    assert store.backups.list() == []


def test_a_backup_whose_maker_died_is_verified_by_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stored and its maker was killed before the check."""
    write(store, 1)
    monkeypatch.setattr(
        "expresso_persist.backups.verification.Verifier.verify",
        lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
    )
    with pytest.raises(KeyboardInterrupt):
        manager(store).run_once()
    monkeypatch.undo()
    (unverified,) = store.backups.list()
    assert unverified.verified_at is None
    assert "The newest backup is not verified." in store.backups.status()["warnings"]
    assert manager(store).run_once() is None
    assert store.backups.get(unverified.id).verified_at is not None


# -- the scheduler ------------------------------------------------------------------------


def wait_for(condition: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_start_and_stop(store: Store) -> None:
    """Both can be repeated; after a stop others can take over at once."""
    write(store, 1)
    with manager(store) as backups:
        backups.start()
        wait_for(lambda: store.backups.list() and store.backups.list()[0].verified_at)
        status = backups.status()
        assert status["backup_running"] is True
        # Seen by any other process as well, between two backups too.
        assert store.backups.status()["backup_running"] is True
        names = [t.name for t in threading.enumerate() if t.name.startswith("expresso")]
        assert len(names) == 1
    backups.stop()
    assert backups.status()["backup_running"] is False
    assert lease(store).acquire()
    assert not [t for t in threading.enumerate() if t.name.startswith("expresso")]


def test_two_schedulers_make_one_backup_per_interval(store: Store) -> None:
    """And the second takes over when the first stops."""
    first, second = manager(store, 1), manager(store, 1)
    count = 0
    first.start()
    second.start()
    try:
        end = time.monotonic() + 4
        while time.monotonic() < end:
            count += 1
            write(store, count)
            time.sleep(0.05)
        first.stop()
        made = len(store.backups.list())
        end = time.monotonic() + 3
        while time.monotonic() < end:
            count += 1
            write(store, count)
            time.sleep(0.05)
    finally:
        first.stop()
        second.stop()
    times = sorted(backup.created_at for backup in store.backups.list())
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
    assert len(times) > made
    assert len(times) >= 5
    assert all(1 <= gap <= 2 for gap in gaps), gaps


def test_errors_are_logged_in_one_line_and_do_not_end_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are shown in the status until a backup succeeds."""
    backups = manager(store, 1)
    read = backups._writer.read
    broken = True

    def sometimes(_: object, *, reuse: bool) -> object:
        if broken:
            raise DatabaseUnavailable("It is\ndown.")
        return read(reuse=reuse)

    monkeypatch.setattr(type(backups._writer), "read", sometimes)
    with caplog.at_level(logging.WARNING), backups:
        backups.start()
        wait_for(lambda: len(caplog.records) >= 2)
        assert backups.status()["last_error"] == "It is down."
        broken = False
        wait_for(lambda: backups.status()["last_error"] is None)
    assert all("\n" not in record.getMessage() for record in caplog.records)
    assert any(backup.backup_status == "completed" for backup in backups.list())


def test_a_foreign_error_is_named_and_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    """Its text may hold anything, such as a password."""
    seen: list[BaseException] = []

    def tick() -> float:
        raise RuntimeError("secret")

    scheduler = Scheduler(tick, interval=1, on_error=seen.append)
    scheduler.start()
    wait_for(lambda: len(seen) >= 2)
    assert scheduler.stop()
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_a_stop_waits_no_longer_than_its_grace() -> None:
    """Work that hangs is left to end by itself."""
    release, entered = threading.Event(), threading.Event()

    def tick() -> float:
        entered.set()
        release.wait(10)
        return 1

    scheduler = Scheduler(tick, interval=1, on_error=lambda _: None)
    scheduler.start()
    assert entered.wait(5)
    assert not scheduler.stop(grace=0.1)
    assert not scheduler.alive
    release.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_worker_does_not_think_that_it_runs(sqlite_url: str) -> None:
    """gunicorn's preload: the thread stays with the parent; the child may start its own."""
    with Store(sqlite_url, migrate=True) as store:
        backups = manager(store)
        backups.start()
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            code = 1
            try:
                alone = not backups._runner.alive
                other = backups._runner.lease.holder
                backups.start()
                started = backups._runner.alive
                backups.stop()
                code = 0 if alone and started and other.endswith(str(os.getpid())) else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert backups._runner.alive
        backups.stop()
