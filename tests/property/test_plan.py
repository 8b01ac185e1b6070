"""The difference of two states, applied to the first, is the second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from expresso_persist.model.operations import apply
from expresso_persist.model.plan import diff
from expresso_persist.model.records import Record, RecordKey, Setting, StationQuantity

records = st.builds(
    lambda kind, name, value, position: kind.of(
        *([name] if kind is Setting else ["1", "milk", name]), data=value, position=position
    ),
    st.sampled_from([Setting, StationQuantity]),
    st.sampled_from("abcdef"),
    st.integers(0, 2),
    st.integers(0, 2),
)
states = st.lists(records, max_size=10).map(lambda found: {record.key: record for record in found})


@given(old=states, new=states)
def test_a_plan_leads_from_one_state_to_the_other(
    old: dict[RecordKey, Record], new: dict[RecordKey, Record]
) -> None:
    plan = diff(old.values(), new.values())
    result = dict(old)
    for change in apply(plan.operations(), old.get):
        assert change.before == old.get(change.key)
        if change.after is None:
            del result[change.key]
        else:
            result[change.key] = change.after
    assert result == new
    assert plan.empty == (old == new)
    counts = plan.counts
    assert counts.added + counts.changed + counts.unchanged == len(new)
    assert counts.removed + counts.changed + counts.unchanged == len(old)
    total = [0, 0, 0, 0]
    for of_kind in plan.counts_by_kind().values():
        for index, number in enumerate(of_kind.to_json().values()):
            total[index] += number
    assert total == list(counts.to_json().values())


@given(state=states)
def test_nothing_is_planned_where_nothing_differs(state: dict[RecordKey, Record]) -> None:
    plan = diff(state.values(), state.values())
    assert plan.empty
    assert plan.operations() == []
