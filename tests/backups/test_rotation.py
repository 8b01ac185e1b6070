"""Which backups stay, against an oracle that was written another way."""

from __future__ import annotations

import datetime as dt

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expresso_persist.backups.rotation import Rotation, plan
from expresso_persist.errors import InvalidConfiguration

START = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@attrs.frozen
class Made:
    id: str
    created_at: dt.datetime
    backup_type: str = "automatic"
    backup_status: str = "completed"
    revision: int = 0
    verified_at: dt.datetime | None = None
    pinned: bool = False


def every(minutes: float, count: int) -> list[Made]:
    return [Made(f"b{i:03}", START + dt.timedelta(minutes=minutes * i)) for i in range(count)]


def kept(backups: list[Made], rule: Rotation, now: dt.datetime | None = None) -> set[str]:
    return {decision.backup_id for decision in plan(backups, rule, now=now) if decision.keep}


def test_the_50_newest_stay_by_default() -> None:
    """Of 60 automatic backups the 10 oldest go."""
    backups = every(5, 60)
    assert kept(backups, Rotation()) == {backup.id for backup in backups[10:]}


def test_each_decision_has_its_reason() -> None:
    """The reason names the rule that keeps or drops."""
    backups = [
        *every(5, 3),
        Made("manual", START, "manual"),
        Made("safety", START, "safety"),
        Made("pinned", START, pinned=True),
    ]
    reasons = {d.backup_id: d.reason for d in plan(backups, Rotation(keep_last=2))}
    assert reasons == {
        "b002": "newest: 1 of 2",
        "b001": "newest: 2 of 2",
        "b000": "beyond the rule (the 2 newest)",
        "manual": "made by hand",
        "safety": "made before a restore",
        "pinned": "pinned",
    }


def test_tiers_are_utc() -> None:
    """A day is a UTC day, whatever zone a time is given in."""
    zone = dt.timezone(dt.timedelta(hours=10))
    late = Made("late", dt.datetime(2026, 3, 2, 9, 30, tzinfo=zone))  # 1 March 23:30 UTC
    early = Made("early", dt.datetime(2026, 3, 2, 0, 30, tzinfo=dt.UTC))
    morning = Made("morning", dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC))
    decisions = {d.backup_id: d for d in plan([late, early, morning], Rotation(0, daily=2))}
    assert decisions["early"].reason == "newest of day 2026-03-02: 1 of 2"
    assert decisions["late"].reason == "newest of day 2026-03-01: 2 of 2"
    assert not decisions["morning"].keep


def test_the_newest_verified_one_stays() -> None:
    """Newer ones that nobody verified do not push it out."""
    backups = every(5, 10)
    backups[2] = attrs.evolve(backups[2], verified_at=START)
    assert kept(backups, Rotation(keep_last=3)) == {"b002", "b007", "b008", "b009"}


def test_the_future_costs_nothing() -> None:
    """Backups made while the clock was ahead stay, and push no other one out."""
    backups = every(5, 10)
    ahead = [Made(f"ahead{i}", START + dt.timedelta(days=1, minutes=i)) for i in range(60)]
    now = START + dt.timedelta(hours=2)
    assert kept(backups + ahead, Rotation(keep_last=10), now) == {
        backup.id for backup in backups + ahead
    }


def test_a_failure_goes_once_a_later_backup_completed() -> None:
    """Until then it stays, so that it is seen."""
    failed = Made("failed", START + dt.timedelta(minutes=7), backup_status="failed")
    backups = [*every(5, 2), failed]
    assert "failed" in kept(backups, Rotation())
    assert "failed" not in kept([*backups, *every(5, 3)[2:]], Rotation())


@pytest.mark.parametrize(
    "counts", [{"keep_last": 0}, {"keep_last": -1}, {"daily": True}, {"weekly": 1.5}]
)
def test_a_rule_that_cannot_work_is_refused(counts: dict[str, int]) -> None:
    """An empty rule would drop everything; a negative or broken count is a mistake."""
    with pytest.raises(InvalidConfiguration):
        Rotation(**counts)


# -- the oracle ---------------------------------------------------------------------------


def oracle(backups: list[Made], rule: Rotation, now: dt.datetime) -> set[str]:
    """Keep by looking at each backup alone: how many better ones are there?"""

    def newer(a: Made, b: Made) -> bool:
        return (a.created_at, a.revision, a.id) > (b.created_at, b.revision, b.id)

    turning = [
        b
        for b in backups
        if b.backup_type == "automatic"
        and not b.pinned
        and b.backup_status == "completed"
        and b.created_at <= now
    ]
    keep = {b.id for b in backups if b.backup_type != "automatic" or b.pinned}
    keep |= {b.id for b in backups if b.created_at > now}
    completed = [b for b in backups if b.backup_status == "completed"]
    keep |= {
        b.id
        for b in backups
        if b.backup_status == "failed" and not any(c.created_at >= b.created_at for c in completed)
    }
    verified = [b for b in completed if b.backup_type == "automatic" and b.verified_at]
    keep |= {b.id for b in verified if not any(newer(o, b) for o in verified)}
    for backup in turning:
        if sum(newer(other, backup) for other in turning) < rule.keep_last:
            keep.add(backup.id)
    epoch = dt.datetime(1969, 12, 29, tzinfo=dt.UTC)  # a Monday
    tiers = [
        (rule.hourly, lambda t: (t - epoch) // dt.timedelta(hours=1)),
        (rule.daily, lambda t: (t - epoch) // dt.timedelta(days=1)),
        (rule.weekly, lambda t: (t - epoch) // dt.timedelta(days=7)),
        (rule.monthly, lambda t: t.year * 12 + t.month),
    ]
    for count, period in tiers:
        for backup in turning:
            mine = period(backup.created_at)
            best = not any(newer(o, backup) for o in turning if period(o.created_at) == mine)
            later = {period(o.created_at) for o in turning if period(o.created_at) > mine}
            if best and len(later) < count:
                keep.add(backup.id)
    return keep


made = st.builds(
    Made,
    id=st.uuids().map(str),
    created_at=st.integers(0, 60 * 24 * 400).map(lambda m: START + dt.timedelta(minutes=m)),
    backup_type=st.sampled_from(["automatic"] * 6 + ["manual", "safety"]),
    backup_status=st.sampled_from(["completed"] * 6 + ["failed"]),
    revision=st.integers(0, 3),
    verified_at=st.sampled_from([None, START]),
    pinned=st.sampled_from([False] * 6 + [True]),
)
counts = st.integers(0, 8)
rules = st.tuples(counts, counts, counts, counts, counts).filter(any).map(lambda c: Rotation(*c))


@settings(max_examples=300)
@given(
    st.lists(made, max_size=60, unique_by=lambda backup: backup.id),
    rules,
    st.integers(0, 60 * 24 * 400),
)
def test_the_plan_equals_the_oracle(backups: list[Made], rule: Rotation, minutes: int) -> None:
    """Any history, any rule, any clock: the same ones stay, and all are decided once."""
    now = START + dt.timedelta(minutes=minutes)
    decisions = plan(backups, rule, now=now)
    assert [d.backup_id for d in decisions] == [
        d.backup_id for d in plan(reversed(backups), rule, now=now)
    ]
    assert sorted(d.backup_id for d in decisions) == sorted(b.id for b in backups)
    assert {d.backup_id for d in decisions if d.keep} == oracle(backups, rule, now)
    assert all(decision.reason for decision in decisions)


@given(st.lists(made, max_size=40, unique_by=lambda backup: backup.id), rules)
def test_rotating_twice_drops_nothing_more(backups: list[Made], rule: Rotation) -> None:
    """What a rule keeps, it keeps when it is asked again."""
    once = kept(backups, rule)
    assert kept([backup for backup in backups if backup.id in once], rule) == once
