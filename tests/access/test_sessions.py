"""A link is exchanged once; who lost the answer asks again under the same key."""

from __future__ import annotations

import datetime as dt

import pytest
import time_machine

from expresso_persist.errors import IdempotencyMismatch, Unauthorized
from expresso_persist.http import OneTimeTokens
from expresso_persist.http.access.auth import REPEATED


def test_a_lost_answer_is_given_again() -> None:
    used: list[int] = []
    links = OneTimeTokens(on_used=lambda: used.append(1))
    link, other = links.issue(), links.issue()
    first = links.exchange(link, "k")
    again = links.exchange(link, "k")
    assert (again.token, again.until, again.replayed) == (first.token, first.until, True)
    assert used == [1]
    for key in (None, "other"):
        with pytest.raises(Unauthorized):
            links.exchange(link, key)
    with pytest.raises(IdempotencyMismatch):
        links.exchange(other, "k")
    assert links.exchange(other).token != first.token
    assert first.token not in repr(first)


def test_it_is_not_given_again_for_long() -> None:
    links = OneTimeTokens()
    link = links.issue()
    now = dt.datetime.now(dt.UTC)
    with time_machine.travel(now, tick=False):
        links.exchange(link, "k")
    with time_machine.travel(now + dt.timedelta(seconds=REPEATED + 1)), pytest.raises(Unauthorized):
        links.exchange(link, "k")
