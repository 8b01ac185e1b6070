"""When a lease is taken and when it is free, to the second; and who is kept out."""

from __future__ import annotations

import datetime as dt
import os
import re

import pytest
import sqlalchemy as sa

from expresso_persist import Store
from expresso_persist.db import leases
from expresso_persist.db.leases import EXCLUSIVE, LONG_AGO, Lease, LeaseRow, exclusive, lock_row
from expresso_persist.db.tables import leases as table
from expresso_persist.errors import Busy, DatabaseUnavailable, InvalidInput

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
DAY = dt.timedelta(days=1)
REALM = "0123456789abcdef"


def lease(store: Store, name: str = "work", ttl: float = 60, label: str = "") -> Lease:
    return Lease(store.database, store.tenant, ttl, name=name, label=label)


def row(store: Store, name: str = "work") -> LeaseRow | None:
    with store.database.read() as connection:
        found = connection.execute(
            sa.select(table.c.holder, table.c.acquired_at, table.c.expires_at).where(
                table.c.tenant_id == store.tenant, table.c.name == name
            )
        ).first()
    return None if found is None else LeaseRow(*found)


def write(store: Store, **values: object) -> None:
    with store.database.write() as connection:
        connection.execute(sa.update(table).values(**values))


def left(
    acquired: dt.datetime, expires: dt.datetime, now: dt.datetime, **ttl: dt.timedelta
) -> float:
    return LeaseRow("Zoë#1@", acquired, expires).seconds_left(now, **ttl)


def test_a_row_is_taken_until_its_end_by_a_clock_that_goes_on() -> None:
    until = NOON + 60 * SECOND
    assert left(NOON, until, NOON) == 60
    assert left(NOON, until, until - SECOND / 2) == 0.5
    assert left(NOON, until, until) == 0
    assert left(NOON, until, until + SECOND) == 0, "never less"
    assert left(NOON + SECOND, until, NOON) == 0, "the clock went back"


def test_a_row_that_is_taken_for_too_long_is_damaged() -> None:
    """A day, or twice the time of work that is done more seldom than that."""
    assert left(NOON, NOON + 2 * DAY, NOON) == 2 * 86400
    assert left(NOON, NOON + 2 * DAY + SECOND, NOON) == 0
    assert left(NOON, NOON + DAY, NOON, ttl=SECOND) == 86400
    assert left(NOON, NOON + DAY + SECOND, NOON, ttl=SECOND) == 0
    assert left(NOON, NOON + 14 * DAY, NOON, ttl=7 * DAY) == 14 * 86400
    assert left(NOON, NOON + 14 * DAY + SECOND, NOON, ttl=7 * DAY) == 0


@pytest.mark.parametrize(
    ("holder", "error", "dead"),
    [
        (f"Zoë#1@{REALM}-4711", None, False),
        (f"Zoë#1@{REALM}-4711", PermissionError, False),
        (f"Zoë#1@{REALM}-4711", ProcessLookupError, True),
        (f"Zoë#1@{REALM}-4711", OverflowError, True),
        (f"Zoë#1@{REALM}-", None, True),
        (f"Zoë#1@{REALM}-many", None, True),
        (f"Zoë#1@{REALM}-47-11", None, True),
        (f"a@b-c#1@{REALM}-4711", ProcessLookupError, True),
        ("Zoë#1@elsewhere-4711", ProcessLookupError, False),
        ("Zoë#1@-4711", ProcessLookupError, False),
        ("", ProcessLookupError, False),
    ],
)
def test_only_a_process_of_this_machine_is_known_to_have_ended(
    monkeypatch: pytest.MonkeyPatch, holder: str, error: type[Exception] | None, dead: bool
) -> None:
    asked = []

    def kill(pid: int, signal: int) -> None:
        asked.append((pid, signal))
        if error is not None:
            raise error

    monkeypatch.setattr(leases, "_realm", lambda: REALM)
    monkeypatch.setattr(os, "kill", kill)
    assert leases._is_dead(holder) is dead
    assert set(asked) <= {(4711, 0)}, "signal 0 only asks"
    assert (LeaseRow(holder, NOON, NOON + SECOND).seconds_left(NOON) == 0) is dead


def test_a_machine_without_a_name_knows_of_none_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_realm", lambda: "")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it must not be asked"))
    assert leases._is_dead("Zoë#1@-4711") is False


def test_the_name_of_the_machine_is_of_its_boot_and_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pathlib import Path

    def realm(boot: str, namespace: str) -> str:
        monkeypatch.setattr(Path, "read_text", lambda self, *_: boot)
        monkeypatch.setattr(Path, "readlink", lambda self: Path(namespace))
        return leases._realm.__wrapped__()

    first = realm("boot", "pid:[1]")
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert len({first, realm("boot", "pid:[2]"), realm("other", "pid:[1]")}) == 3
    assert realm("boot", "pid:[1]") == first

    def unknown(self: Path) -> Path:
        raise OSError

    monkeypatch.setattr(Path, "readlink", unknown)
    assert leases._realm.__wrapped__() == ""


def test_a_lease_is_taken_renewed_and_given_back(store: Store) -> None:
    anna, bert = lease(store, label="Anna works"), lease(store, label="Bert works")
    assert row(store) is None
    with store.database.read() as connection:
        view = anna.view(connection)
        assert (view.holder, view.seconds_left, view.live, view.label) == ("", 0, False, "")
    assert anna.acquire()
    taken = row(store)
    assert taken is not None
    assert taken.holder == anna.holder
    assert re.fullmatch(rf"Anna works#[0-9a-f]{{16}}@[0-9a-f]*-{os.getpid()}", taken.holder)
    assert taken.expires_at - taken.acquired_at == 60 * SECOND == anna.ttl
    assert not bert.acquire()
    assert row(store) == taken
    bert.release()
    assert row(store) == taken, "only who took it gives it back"
    with store.database.read() as connection:
        view = bert.view(connection)
    assert (view.holder, view.label, view.live) == (anna.holder, "Anna works", True)
    assert 50 < view.seconds_left <= 60
    assert anna.acquire()
    renewed = row(store)
    assert renewed is not None
    assert renewed.acquired_at >= taken.acquired_at
    anna.release()
    over = row(store)
    assert over == LeaseRow("", renewed.acquired_at, renewed.acquired_at)
    assert bert.acquire()


def test_leases_are_of_one_work_of_one_tenant(store: Store) -> None:
    south = store.for_tenant("south")
    held = [lease(store), lease(store, "other"), lease(south)]
    assert all(one.acquire() for one in held)
    assert not lease(store).acquire()
    held[0].release()
    assert [not lease(store, "other").acquire(), not lease(south).acquire()] == [True, True]
    with store.database.read() as connection:
        assert held[1].view(connection).live
        assert held[2].view(connection).live
        assert not held[0].view(connection).live
    assert lease(store).acquire()


def test_an_expired_lease_is_taken_over(store: Store) -> None:
    anna, bert = lease(store), lease(store)
    assert anna.acquire()
    past = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    write(store, acquired_at=past, expires_at=past + SECOND)
    assert bert.acquire()
    assert not anna.acquire()


def test_work_that_is_done_once_a_week_is_taken_for_a_week(store: Store) -> None:
    week = 7 * 86400.0
    assert lease(store, ttl=week).acquire()
    other = Lease(store.database, store.tenant, week, name="work")
    assert not other.acquire()
    with store.database.read() as connection:
        view = other.view(connection)
    assert (view.live, view.label) == (True, "")
    assert other.holder.startswith("#"), "without a label"


def test_a_lease_is_taken_to_its_last_moment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lease(store).acquire()
    for left, free in ((0.001, False), (0.0, True)):
        monkeypatch.setattr(LeaseRow, "seconds_left", lambda *_, left=left: left)
        assert lease(store).acquire() is free


def test_two_leases_of_one_process_are_two(store: Store) -> None:
    assert lease(store).holder != lease(store).holder


def test_a_locked_row_is_made_free_and_once(store: Store) -> None:
    with store.database.write() as connection:
        assert lock_row(store.database, connection, store.tenant, "x") == ("", LONG_AGO, LONG_AGO)
    assert row(store, "x") == ("", LONG_AGO, LONG_AGO)
    one = lease(store, "x")
    assert one.acquire()
    with store.database.write() as connection:
        assert lock_row(store.database, connection, store.tenant, "x").holder == one.holder


def test_exclusive_work_keeps_others_out_and_says_whose_it_is(store: Store) -> None:
    def work(actor: str, work: str) -> None:
        with exclusive(store.database, store.tenant, actor=actor, work=work, ttl=60):
            pass

    with exclusive(store.database, store.tenant, actor="Anna", work="importing", ttl=60):
        held = row(store, EXCLUSIVE)
        assert held is not None
        assert held.expires_at - held.acquired_at == 60 * SECOND
        with pytest.raises(Busy, match=r"^Anna is importing; try again in a moment") as caught:
            work("Bert", "restoring")
        assert caught.value.retry_after == 2
        with exclusive(store.database, "south", actor="Bert", work="importing", ttl=60):
            pass
    work("Bert", "restoring")
    with (
        exclusive(store.database, store.tenant, actor="", work="importing", ttl=60),
        pytest.raises(Busy, match=r"^Somebody is importing;"),
    ):
        work("Bert", "restoring")
    with pytest.raises(InvalidInput):
        work("a\0b", "importing")


def test_exclusive_work_that_fails_lets_others_in(store: Store) -> None:
    with (
        pytest.raises(KeyError),
        exclusive(store.database, store.tenant, actor="Anna", work="importing", ttl=60),
    ):
        raise KeyError
    assert lease(store, EXCLUSIVE).acquire()


def test_who_was_faster_and_is_gone_already_has_no_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lease, "acquire", lambda self: False)
    with (
        pytest.raises(Busy, match=r"^Somebody else was faster;"),
        exclusive(store.database, store.tenant, actor="Anna", work="importing", ttl=60),
    ):
        pass


def test_what_is_done_stays_done_when_the_lease_cannot_be_given_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(self: Lease) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(Lease, "release", unavailable)
    done = []
    with exclusive(store.database, store.tenant, actor="Anna", work="importing", ttl=60):
        done.append("all of it")
    assert done == ["all of it"]
