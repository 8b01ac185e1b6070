"""Which backups stay, against an oracle that was written another way."""

from __future__ import annotations

import collections
import datetime as dt
import random
from collections.abc import Iterable

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


def test_of_those_made_before_imports_the_20_newest_stay() -> None:
    """They take no place from the others; a pinned one stays longer."""
    before = [
        attrs.evolve(backup, id=f"i{backup.id}", backup_type="preimport", pinned=number == 0)
        for number, backup in enumerate(every(5, 30))
    ]
    automatic = every(5, 10)
    rule = Rotation(keep_last=3)
    expected = {b.id for b in (before[0], *before[10:], *automatic[-3:])}
    assert kept([*before, *automatic], rule) == expected
    reasons = {d.backup_id: d.reason for d in plan(before, rule)}
    assert reasons["ib005"] == "made before an import, and 20 newer ones are kept"


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


def test_a_failure_stays_as_long_as_those_of_its_age() -> None:
    """It is seen meanwhile, and may be mended; it takes no other one's place."""
    failed = Made("failed", START + dt.timedelta(minutes=7), backup_status="failed")
    backups = [*every(5, 2), failed]
    assert kept(backups, Rotation(keep_last=2)) == {"b000", "b001", "failed"}
    assert "failed" in kept([*backups, *every(5, 3)[2:]], Rotation(keep_last=2))
    assert "failed" not in kept([*backups, *every(5, 4)[2:]], Rotation(keep_last=2))


def test_revisions_order_what_clocks_do_not() -> None:
    """The clock was a day ahead for an hour: those made afterwards are newer all the same."""
    ahead = [
        attrs.evolve(
            made, id=f"ahead{i}", created_at=made.created_at + dt.timedelta(days=1), revision=i
        )
        for i, made in enumerate(every(5, 12))
    ]
    after = [attrs.evolve(made, revision=100 + i) for i, made in enumerate(every(5, 12))]
    later = START + dt.timedelta(days=2)  # when none is dated in the future any more
    assert kept([*ahead, *after], Rotation(keep_last=12), later) == {made.id for made in after}
    tiers = kept([*ahead, *after], Rotation(keep_last=0, daily=2), later)
    assert tiers == {"ahead11", "b011"}


@pytest.mark.parametrize(
    "counts", [{"keep_last": 0}, {"keep_last": -1}, {"daily": True}, {"weekly": 1.5}]
)
def test_a_rule_that_cannot_work_is_refused(counts: dict[str, int]) -> None:
    """An empty rule would drop everything; a negative or broken count is a mistake."""
    with pytest.raises(InvalidConfiguration):
        Rotation(**counts)


# -- the oracle ---------------------------------------------------------------------------


def oracle(
    backups: list[Made], rule: Rotation, now: dt.datetime | None
) -> list[tuple[str, bool, str]]:
    """The documentation, word by word: a table of reasons, filled in from the weakest up."""
    newest_first = sorted(backups, key=lambda b: b.id, reverse=True)
    newest_first.sort(key=lambda b: utc(b), reverse=True)
    newest_first.sort(key=lambda b: b.revision, reverse=True)
    past = [b for b in newest_first if now is None or b.created_at <= now]
    completed = [b for b in past if b.backup_status == "completed"]
    turning = [b for b in completed if b.backup_type == "automatic" and not b.pinned]
    reasons: dict[str, str] = {}

    verified = [b for b in completed if b.backup_type == "automatic" and b.verified_at]
    reasons |= {b.id: "the newest verified one" for b in verified[:1]}
    for name, count, label in (
        ("month", rule.monthly, month_of),
        ("week", rule.weekly, week_of),
        ("day", rule.daily, lambda t: t[:10]),
        ("hour", rule.hourly, lambda t: t[:13] + ":00"),
    ):
        newest_of: dict[str, Made] = {}
        for backup in reversed(turning):
            newest_of[label(utc(backup))] = backup
        labels = sorted(newest_of, reverse=True)
        for place in range(min(count, len(labels))):
            period = labels[place]
            reasons[newest_of[period].id] = f"newest of {name} {period}: {place + 1} of {count}"
    for place in range(min(rule.keep_last, len(turning))):
        reasons[turning[place].id] = f"newest: {place + 1} of {rule.keep_last}"

    for backup in backups:
        if backup.backup_type != "automatic":
            continue
        before = newest_first[: newest_first.index(backup)]
        if backup.backup_status != "completed" and sum(b in turning for b in before) < max(
            rule.keep_last, 1
        ):
            reasons[backup.id] = "as new as those that stay, though failed or damaged"
        if now is not None and backup.created_at > now:
            reasons[backup.id] = "dated in the future"
    for backup in backups:
        if backup.backup_type == "manual":
            reasons[backup.id] = "made by hand"
        if backup.backup_type == "safety":
            reasons[backup.id] = "made before a restore"
        if backup.backup_type == "preimport" and now is not None and backup.created_at > now:
            reasons[backup.id] = "dated in the future"
        if backup.pinned:
            reasons[backup.id] = "pinned"
    imports = [b for b in newest_first if b.backup_type == "preimport" and b.id not in reasons]
    for backup in imports[:20]:
        reasons[backup.id] = "one of the 20 newest made before an import"

    dropped = {
        b.id: "made before an import, and 20 newer ones are kept"
        if b.backup_type == "preimport"
        else f"beyond the rule ({rule})"
        if b.backup_status == "completed"
        else "failed or damaged, and older than those that stay"
        for b in backups
    }
    return [(b.id, b.id in reasons, reasons.get(b.id, dropped[b.id])) for b in newest_first]


def utc(backup: Made) -> str:
    """Its time as text that sorts: the local time less what the zone is ahead."""
    ahead = backup.created_at.utcoffset()
    assert ahead is not None
    return (backup.created_at.replace(tzinfo=None) - ahead).isoformat(" ", "microseconds")


def month_of(time: str) -> str:
    return time[:7]


def week_of(time: str) -> str:
    """An ISO week belongs to the year that its Thursday is in."""
    day = dt.date.fromisoformat(time[:10])
    thursday = day + dt.timedelta(days=3 - day.weekday())
    return f"{thursday.year}-W{(thursday - dt.date(thursday.year, 1, 1)).days // 7 + 1:02}"


def decided(
    backups: Iterable[Made], rule: Rotation, now: dt.datetime | None
) -> list[tuple[str, bool, str]]:
    return [(d.backup_id, d.keep, d.reason) for d in plan(backups, rule, now=now)]


EDGES = [
    dt.datetime(2020, 12, 31, 23, tzinfo=dt.UTC),  # in week 53 of 2020, as is 3 January 2021
    dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC),
    dt.datetime(2024, 12, 30, tzinfo=dt.UTC),  # the first day of week 1 of 2025
    dt.datetime(2026, 3, 29, 1, tzinfo=dt.UTC),  # Europe's clocks go forward,
    dt.datetime(2026, 10, 25, 1, tzinfo=dt.UTC),  # and back
    dt.datetime(2026, 12, 31, 23, 59, tzinfo=dt.UTC),
    START,
]
ZONES = [dt.UTC] * 4 + [dt.timezone(dt.timedelta(hours=h)) for h in (-11, -3.5, 1, 2, 14)]
STEPS = [
    dt.timedelta(microseconds=1),
    dt.timedelta(minutes=5),
    dt.timedelta(minutes=30),
    dt.timedelta(hours=1),
    dt.timedelta(hours=11),
    dt.timedelta(days=1),
    dt.timedelta(days=6.5),
    dt.timedelta(days=29),
]


def history(chance: random.Random) -> list[Made]:
    """Backups on both sides of an edge, some at the same moment, in any order."""
    step, edge = chance.choice(STEPS), chance.choice(EDGES)
    count = 80 if chance.random() < 0.02 else chance.randrange(25)
    backups = []
    for _ in range(count):
        time = edge + step * chance.randint(-count // 2, count // 2)
        if chance.random() < 0.3:
            time += chance.choice([1, -1]) * step * chance.random()
        backups.append(
            Made(
                id=f"{chance.getrandbits(64):016x}",
                created_at=time.astimezone(chance.choice(ZONES)),
                backup_type=chance.choice(["automatic"] * 8 + ["manual", "safety"]),
                backup_status=chance.choice(["completed"] * 6 + ["failed"]),
                revision=chance.randrange(4),
                verified_at=chance.choice([None, START]),
                pinned=chance.random() < 0.1,
            )
        )
    return backups


def test_ten_thousand_histories_are_decided_as_documented() -> None:
    """Reason by reason, for any rule and any clock; and the future changes nothing."""
    chance = random.Random(42)
    reasons: collections.Counter[str] = collections.Counter()
    for number in range(10_000):
        backups = history(chance)
        counts = [chance.choice([0, 0, 1, 2, 3, 7]) for _ in range(5)]
        rule = Rotation(*counts) if any(counts) else Rotation()
        times = [backup.created_at for backup in backups]
        now = chance.choice([None, max(times), chance.choice(times)]) if times else START
        decisions = decided(backups, rule, now)
        assert decisions == oracle(backups, rule, now), (number, backups, rule, now)
        if now is not None:
            past = [backup for backup in backups if backup.created_at <= now]
            ids = {backup.id for backup in past}
            assert decided(past, rule, now) == [d for d in decisions if d[0] in ids], number
        reasons.update(reason.partition(":")[0].partition("(")[0][:14] for *_, reason in decisions)
    assert len(reasons) == 13, reasons  # each one came up
    assert min(reasons.values()) > 100, reasons


made = st.builds(
    Made,
    id=st.uuids().map(str),
    created_at=st.integers(0, 60 * 24 * 400).map(lambda m: START + dt.timedelta(minutes=m)),
    backup_type=st.sampled_from(["automatic"] * 6 + ["manual", "safety", "preimport"]),
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
    assert decided(backups, rule, now) == oracle(backups, rule, now)


@given(st.lists(made, max_size=40, unique_by=lambda backup: backup.id), rules)
def test_rotating_twice_drops_nothing_more(backups: list[Made], rule: Rotation) -> None:
    """What a rule keeps, it keeps when it is asked again."""
    once = kept(backups, rule)
    assert kept([backup for backup in backups if backup.id in once], rule) == once
