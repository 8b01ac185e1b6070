"""Equal look-ups of several threads are one look-up, and nobody is told of the past."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from expresso_persist.db.singleflight import Singleflight


def test_threads_that_wait_share_the_next_call_and_not_the_running_one() -> None:
    calls = Singleflight()
    begun, go_on = threading.Event(), threading.Event()
    runs: list[int] = []

    def action() -> int:
        runs.append(len(runs))
        number = runs[-1]
        if number == 0:
            begun.set()
            assert go_on.wait(10)
        return number

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(calls.call, "key", action)
        assert begun.wait(10)
        asked = threading.Barrier(7)

        def ask() -> int:
            asked.wait(10)
            return calls.call("key", action)

        later = [pool.submit(ask) for _ in range(6)]
        asked.wait(10)
        # The first of them has its place before the running call may end.
        while "key" not in calls._next:
            pass
        go_on.set()
        assert first.result(10) == 0
        # Those that were in the queue when the second began share it; stragglers share later ones.
        assert all(future.result(10) >= 1 for future in later)
    assert len(runs) <= 7
    assert not calls._next


def test_another_key_does_not_wait() -> None:
    calls = Singleflight()
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert go_on.wait(10)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(calls.call, "slow", slow)
        assert begun.wait(10)
        assert calls.call("other", lambda: "at once") == "at once"
        go_on.set()
        future.result(10)


def test_an_error_reaches_the_caller_and_leaves_nothing_locked() -> None:
    calls = Singleflight()

    def fail() -> None:
        raise OSError("no")

    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            calls.call("key", fail)
    assert calls.call("key", lambda: 1) == 1


def test_every_answer_is_of_after_the_question() -> None:
    calls = Singleflight()
    clock = iter(range(10**9)).__next__  # a call of a C function: atomic among threads

    def ask(_: int) -> None:
        asked = clock()
        assert calls.call("key", clock) > asked

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(5_000)))
