"""Counting requests for all processes together, in the database and in Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from expresso_persist import Store
from expresso_persist.db.tables import rate_counters
from expresso_persist.errors import TooManyRequests
from expresso_persist.http.access import limits
from expresso_persist.http.access.rates import DatabaseCounters, next_free, rolled
from redis_server import PASSWORD, RedisServer


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(1, 50),
    st.fractions(0, 1).filter(lambda share: share < 1),
)
def test_who_waits_as_long_as_told_is_let_in(
    hits: int, previous: int, amount: int, elapsed: Fraction
) -> None:
    """And who comes earlier is not: the wait is neither too short nor too long."""
    hits, previous = min(hits, amount), min(previous, amount)
    wait = next_free(hits, previous, amount, elapsed)  # type: ignore[arg-type]

    def fits(at: Fraction) -> bool:
        slot, share = divmod(at, 1)
        now, before = rolled(0, hits, previous, int(slot))
        return before * (1 - share) + now + 1 <= amount

    arrival = elapsed + Fraction(wait)
    assert fits(arrival + Fraction(1, 10**6))
    assert wait == 0 or not fits(max(elapsed, arrival - Fraction(1, 10**6)))


@given(st.integers(0, 100), st.integers(0, 9), st.integers(0, 9), st.integers(-3, 5))
def test_windows_roll(window: int, hits: int, previous: int, passed: int) -> None:
    """A clock that goes back frees nobody."""
    expected = (hits, previous) if passed <= 0 else (0, hits) if passed == 1 else (0, 0)
    assert rolled(window, hits, previous, window + passed) == expected


def test_ten_are_ten(store: Store) -> None:
    """Each name, tenant and period by itself; refused ones are not counted."""
    counters = DatabaseCounters(store.database)
    told = [counters.hit("a", "anna", 10, 3600) for _ in range(14)]
    assert told[:10] == [0.0] * 10
    assert all(0 < wait <= 7200 for wait in told[10:])
    assert counters.hit("a", "bert", 10, 3600) == 0
    assert counters.hit("b", "anna", 10, 3600) == 0
    with store.database.read() as connection:
        rows = connection.execute(sa.select(rate_counters.c.name, rate_counters.c.hits)).all()
    assert sorted(map(tuple, rows)) == [("anna", 1), ("anna", 10), ("bert", 1)]


WORKER = """
import sys
from expresso_persist import Store
from expresso_persist.errors import TooManyRequests
from expresso_persist.http.access.limits import Limits, Rate, RateLimiter
with Store(sys.argv[1]) as store:
    limiter = RateLimiter(Limits(heavy="10/hour", storage=sys.argv[2]), store)
    let_in = 0
    for _ in range(10):
        try:
            limiter.count(Rate.HEAVY, "default", "anna")
            let_in += 1
        except TooManyRequests:
            pass
    print(let_in)
"""


def over_eight_processes(database_url: str, storage: str) -> int:
    """How many of eighty requests are let in."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, database_url, storage],
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        for _ in range(8)
    ]
    let_in = sum(int(worker.communicate()[0]) for worker in workers)
    assert {worker.returncode for worker in workers} == {0}
    return let_in


@pytest.mark.usefixtures("store")
def test_ten_are_ten_over_eight_processes(database_url: str) -> None:
    assert over_eight_processes(database_url, "database") == 10


def test_ten_are_ten_over_eight_processes_in_redis(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    url = f"sqlite:///{tmp_path / 'event.db'}"
    Store(url, migrate=True).close()
    assert over_eight_processes(url, redis_server.url) == 10
    assert not [key for key in redis_server.names() if "anna" in key], "nobody is named there"


@pytest.mark.parametrize("fault", ["kill", "hang"])
def test_redis_does_not_answer(
    redis_server: RedisServer,
    fault: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each process counts by itself, asks again after a pause, and says so once."""
    monkeypatch.setattr(limits._Elsewhere, "_PAUSE", 0.2)
    counters = limits._Elsewhere(redis_server.url, limits._InLibrary(limits.MEMORY))

    def let_in() -> int:
        return [counters.hit("default", "anna", 3, 3600) for _ in range(5)].count(0.0)

    assert let_in() == 3
    getattr(redis_server, fault)()
    started = time.monotonic()
    assert let_in() == 3, "of its own count"
    assert time.monotonic() - started < 5, "without waiting for each"
    time.sleep(0.3)
    assert let_in() == 0, "asked again, in vain"
    assert len(caplog.messages) == 1
    assert "cannot be counted in redis now" in caplog.text
    assert PASSWORD not in caplog.text
    if fault == "kill":
        redis_server.start()
        expected = 3  # it forgot, and has room again
    else:
        redis_server.go_on()
        expected = 0  # it still knows
    time.sleep(0.3)
    assert let_in() == expected
    assert len(redis_server.names()) == 1
    redis_server.kill()
    let_in()
    assert len(caplog.messages) == 2, "the next time it is told again"


def test_redis_is_not_there_at_the_start(
    store: Store, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.kill()
    limiter = limits.RateLimiter(limits.Limits(read="1/hour", storage=redis_server.url), store)
    limiter.count(limits.Rate.READ, "default", "anna")
    with pytest.raises(TooManyRequests):
        limiter.count(limits.Rate.READ, "default", "anna")
    assert "ConnectionError" in caplog.text
