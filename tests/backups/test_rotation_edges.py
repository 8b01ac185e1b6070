"""Which backups stay, at the moments and counts where it tips over."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import attrs
import pytest

from expresso_persist.backups.rotation import Rotation, plan
from expresso_persist.errors import InvalidConfiguration

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
MOMENT = dt.timedelta(microseconds=1)


@attrs.frozen
class Made:
    id: str
    created_at: dt.datetime = NOON
    backup_type: str = "automatic"
    backup_status: str = "completed"
    revision: int = 0
    verified_at: dt.datetime | None = None
    pinned: bool = False


def reasons(
    backups: list[Made], rule: Rotation, now: dt.datetime | None = None
) -> dict[str, tuple[bool, str]]:
    return {d.backup_id: (d.keep, d.reason) for d in plan(backups, rule, now=now)}


def test_what_is_made_at_this_moment_is_not_of_the_future() -> None:
    """It takes its place; what is dated a microsecond later stays beside it."""
    backups = [
        Made("past", NOON - MOMENT, revision=1),
        Made("now", NOON, revision=2),
        Made("ahead", NOON + MOMENT, revision=3),
    ]
    assert reasons(backups, Rotation(keep_last=1), NOON) == {
        "ahead": (True, "dated in the future"),
        "now": (True, "newest: 1 of 1"),
        "past": (False, "beyond the rule (the 1 newest)"),
    }
    assert reasons(backups, Rotation(keep_last=1))["ahead"] == (True, "newest: 1 of 1")


def test_the_newest_verified_one_is_completed_automatic_and_not_of_the_future() -> None:
    checked = {"verified_at": NOON}
    backups = [
        Made("newest", revision=9),
        Made("ahead", NOON + MOMENT, revision=8, **checked),
        Made("manual", backup_type="manual", revision=7, **checked),
        Made("failed", backup_status="failed", revision=6, **checked),
        Made("import", backup_type="preimport", revision=5, **checked),
        Made("first", revision=4, **checked),
        Made("second", revision=3, **checked),
    ]
    found = reasons(backups, Rotation(keep_last=1), NOON)
    assert found["first"] == (True, "the newest verified one")
    assert not found["second"][0]
    assert found["import"] == (True, "one of the 20 newest made before an import")
    assert found["failed"] == (False, "failed or damaged, and older than those that stay")
    # One that is dated at this very moment counts.
    assert reasons([Made("newer", revision=2), Made("old", **checked)], Rotation(1), NOON) == {
        "newer": (True, "newest: 1 of 1"),
        "old": (True, "the newest verified one"),
    }
    # A reason that it has already is the one that is shown.
    assert reasons([Made("old", **checked)], Rotation(1)) == {"old": (True, "newest: 1 of 1")}


@pytest.mark.parametrize(("keep_last", "stay"), [(0, 1), (1, 1), (2, 2), (3, 3)])
def test_failures_stay_beside_as_many_as_the_rule_keeps(keep_last: int, stay: int) -> None:
    """At least while nothing newer completed."""
    backups = []
    for number in range(4):  # newest first: failed3, done3, failed2, …
        done, failed = f"done{number}", f"failed{number}"
        backups += [
            Made(done, revision=2 * number),
            Made(failed, backup_status="failed", revision=2 * number + 1),
        ]
    found = reasons(backups, Rotation(keep_last=keep_last, monthly=1))
    kept = [name for name, (keep, _) in found.items() if keep and name.startswith("failed")]
    assert kept == ["failed3", "failed2", "failed1", "failed0"][:stay]
    assert found["failed3"][1] == "as new as those that stay, though failed or damaged"


def test_the_newer_of_two_is_that_of_the_later_revision_then_time_then_name() -> None:
    backups = [
        Made("b", NOON + MOMENT, revision=1),
        Made("a", NOON, revision=2),
        Made("d", NOON, revision=1),
        Made("c", NOON, revision=1),
    ]
    assert [d.backup_id for d in plan(backups, Rotation())] == ["a", "b", "d", "c"]
    assert [d.backup_id for d in plan(backups[::-1], Rotation())] == ["a", "b", "d", "c"]


def test_each_tier_has_its_own_periods() -> None:
    """The newest of each of the newest ones, named by UTC."""
    times = {
        "same hour": NOON + dt.timedelta(minutes=59),
        "noon": NOON,
        "an hour before": NOON - dt.timedelta(hours=1),
        "a day before": NOON - dt.timedelta(days=1),
        "a week before": NOON - dt.timedelta(days=7),
        "a month before": NOON - dt.timedelta(days=35),
    }
    backups = [Made(name, time) for name, time in times.items()]

    def tier(**counts: int) -> dict[str, str]:
        found = reasons(backups, Rotation(0, **counts))
        return {name: reason for name, (keep, reason) in found.items() if keep}

    assert tier(hourly=2) == {
        "same hour": "newest of hour 2026-03-01 12:00: 1 of 2",
        "an hour before": "newest of hour 2026-03-01 11:00: 2 of 2",
    }
    assert tier(daily=2) == {
        "same hour": "newest of day 2026-03-01: 1 of 2",
        "a day before": "newest of day 2026-02-28: 2 of 2",
    }
    assert tier(weekly=2) == {
        "same hour": "newest of week 2026-W09: 1 of 2",
        "a week before": "newest of week 2026-W08: 2 of 2",
    }
    assert tier(monthly=9) == {
        "same hour": "newest of month 2026-03: 1 of 9",
        "a day before": "newest of month 2026-02: 2 of 9",
        "a month before": "newest of month 2026-01: 3 of 9",
    }
    # The strongest reason is shown.
    found = reasons(backups, Rotation(1, hourly=2, daily=1, weekly=1, monthly=1))
    assert found["same hour"][1] == "newest: 1 of 1"
    assert found["an hour before"][1] == "newest of hour 2026-03-01 11:00: 2 of 2"


def test_the_zone_of_the_machine_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Pacific/Kiritimati")  # 14 hours ahead
        time.tzset()
        found = reasons([Made("noon")], Rotation(0, daily=1))
    time.tzset()
    assert found["noon"][1] == "newest of day 2026-03-01: 1 of 1"


def test_what_does_not_rotate_says_why() -> None:
    ahead = NOON + MOMENT
    backups = [
        Made("manual", backup_type="manual", backup_status="failed"),
        Made("safety", backup_type="safety", backup_status="failed"),
        Made("pinned", pinned=True, backup_type="manual"),
        Made("other", backup_type="upload"),
        Made("import ahead", ahead, backup_type="preimport"),
        Made("manual ahead", ahead, backup_type="manual"),
    ]
    assert reasons(backups, Rotation(1), NOON) == {
        "manual": (True, "made by hand"),
        "safety": (True, "made before a restore"),
        "pinned": (True, "pinned"),
        "other": (True, "of type upload, which does not rotate"),
        "import ahead": (True, "dated in the future"),
        "manual ahead": (True, "made by hand"),
    }


def test_twenty_before_imports_stay() -> None:
    backups = [Made(f"{n:02}", backup_type="preimport", revision=n) for n in range(22)]
    found = reasons(backups, Rotation(1))
    assert [name for name, (keep, _) in found.items() if not keep] == ["01", "00"]
    assert found["02"] == (True, "one of the 20 newest made before an import")
    assert found["01"] == (False, "made before an import, and 20 newer ones are kept")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"keep_last": -1}, "Rotation.keep_last is a number of backups, 0 or more; got -1"),
        ({"hourly": True}, "Rotation.hourly .* got True"),
        ({"daily": 1.5}, "Rotation.daily .* got 1.5"),
        ({"weekly": "7"}, "Rotation.weekly .* got '7'"),
        ({"monthly": None}, "Rotation.monthly .* got None"),
        ({"keep_last": 0}, "would keep no backup at all"),
    ],
)
def test_what_is_no_count_is_refused(counts: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfiguration, match=message):
        Rotation(**counts)


def test_a_rule_says_what_it_keeps() -> None:
    for tier in ("keep_last", "hourly", "daily", "weekly", "monthly"):
        Rotation(**{"keep_last": 0, tier: 1})
    assert str(Rotation()) == "the 50 newest"
    assert str(Rotation(0, daily=7)) == "7 daily"
    rule = Rotation(keep_last=3, hourly=24, daily=7, weekly=4, monthly=12)
    assert str(rule) == "the 3 newest, 24 hourly, 7 daily, 4 weekly, 12 monthly"
