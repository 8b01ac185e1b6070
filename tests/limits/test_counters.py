"""Counting requests in the database: never more than allowed, over however many processes."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from expresso_persist import Store
from expresso_persist.rates import DatabaseCounters, next_free, rolled
from expresso_persist.tables import rate_counters


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
from expresso_persist.rates import DatabaseCounters
with Store(sys.argv[1]) as store:
    counters = DatabaseCounters(store.database)
    print(sum(counters.hit("default", "anna", 10, 3600) == 0 for _ in range(10)))
"""


def test_ten_are_ten_over_eight_processes(store: Store, database_url: str) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, database_url],
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        for _ in range(8)
    ]
    assert sum(int(worker.communicate()[0]) for worker in workers) == 10
    assert {worker.returncode for worker in workers} == {0}
