"""What is copied to a mirror and what is removed there, for any two collections of backups."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import attrs
from hypothesis import given
from hypothesis import strategies as st

from expresso_persist.backups.rotation import Rotation, plan, plan_sync

START = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
NOW = START + dt.timedelta(days=3)


@attrs.frozen
class Made:
    id: str
    created_at: dt.datetime
    backup_type: str
    pinned: bool = False
    backup_status: str = "completed"
    revision: int = 0

    @property
    def verified_at(self) -> dt.datetime | None:
        return self.created_at


@st.composite
def backups(draw: st.DrawFn) -> list[Made]:
    """Backups with ids of their own; a copy of one of them has its id, and no pin."""
    return [
        Made(
            f"{number:02}",
            START + dt.timedelta(minutes=draw(st.integers(0, 5000))),
            draw(st.sampled_from(["automatic", "automatic", "manual", "safety", "imported"])),
            draw(st.booleans()),
            revision=draw(st.integers(0, 9)),
        )
        for number in range(draw(st.integers(0, 14)))
    ]


rules = st.builds(
    Rotation,
    keep_last=st.integers(1, 5),
    hourly=st.integers(0, 3),
    daily=st.integers(0, 2),
)


def keeps(made: Iterable[Made], rule: Rotation) -> set[str]:
    """What the order of revisions or that of times keeps: either may be wrong at a mirror."""
    by_revision = [*made]
    by_time = [attrs.evolve(each, revision=0) for each in by_revision]
    return {d.backup_id for m in (by_revision, by_time) for d in plan(m, rule, now=NOW) if d.keep}


@given(everything=backups(), data=st.data(), rule=rules)
def test_one_sync_makes_a_mirror_complete(
    everything: list[Made], data: st.DataObject, rule: Rotation
) -> None:
    here = [made for made in everything if data.draw(st.booleans())]
    there = [attrs.evolve(made, pinned=False) for made in everything if data.draw(st.booleans())]
    todo = plan_sync(here, there, rule, NOW)

    copied = {made.id for made in todo.copy}
    deleted = {copy.id for copy in todo.delete}
    assert copied <= {made.id for made in here} - {copy.id for copy in there}
    assert deleted <= {copy.id for copy in there}

    after = [*todo.copy, *(copy for copy in there if copy.id not in deleted)]
    pins = {made.id for made in here if made.pinned}
    union = {made.id: made for made in [*there, *here]}
    kept = keeps(union.values(), rule)
    assert {made.id for made in after} == kept
    assert pins <= kept
    assert {made.id for made in here if made.backup_type != "automatic"} <= kept

    again = plan_sync(here, [attrs.evolve(made, pinned=False) for made in after], rule, NOW)
    assert not again.copy
    assert not again.delete


@given(there=backups(), rule=rules)
def test_an_empty_database_removes_nothing_by_being_empty(
    there: list[Made], rule: Rotation
) -> None:
    """Somebody who starts again on a lost database still has the copies."""
    todo = plan_sync([], there, rule, NOW)
    kept = keeps(there, rule)
    assert {copy.id for copy in there} - {copy.id for copy in todo.delete} == kept
    if there:
        assert kept
