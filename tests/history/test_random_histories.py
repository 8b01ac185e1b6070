"""Random histories: the past is what was recorded then, undo is what a model says it is."""

from __future__ import annotations

import itertools
import os
from typing import Any

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from expresso_persist import LocalStorageImporter, Store
from expresso_persist.errors import HistoryForgotten, InvalidInput, UndoConflict
from expresso_persist.model.records import Delete, Patch, Put, Record, RecordKey, StationStock

# EXPRESSO_TEST_HISTORIES=300 tries longer; see docs/history.md.
EXAMPLES = int(os.environ.get("EXPRESSO_TEST_HISTORIES", "6"))

items = st.sampled_from(["oat", "Oat", "Müller's", "__proto__", "a/b", "%_", '"']).map(
    lambda item: RecordKey("station_stock", ("1", "milk", item))
)
numbers = st.integers(-9, 9)
DUMPS = [
    {"coffee_stock_station_1": '{"milk": [{"id":"oat","amount":1},{"id":"%_","amount":2.50}]}'},
    {"coffee_stock_station_1": '{"tea":{},"milk":{"oat":3,"new":4}}', "event_menu": "[ 1]"},
    {"event_menu": '{"b":1,"a":2}', "branding_settings": '{"x": 1}', "broken": "{"},
    {"event_menu": "plain", "last_used_station_id": "1"},
]


@attrs.frozen
class Moment:
    """All there was at a revision, to the letter."""

    inventory: bytes
    dump: dict[str, Any]
    records: list[tuple[Any, ...]]


def moment(store: Store, as_of: int | None = None) -> Moment:
    inventory = store.inventory
    records = [attrs.astuple(record) for record in inventory.records(as_of=as_of)]
    shown = inventory.inventory_json(as_of=as_of)[1]
    return Moment(shown, inventory.dump(as_of=as_of), records)


def contents(store: Store) -> dict[RecordKey, Record]:
    return {record.key: record for record in store.inventory.records()}


class Past(RuleBasedStateMachine):
    """Writes, imports, undoes and forgets; keeps what was there after each revision."""

    opened: Store

    @initialize()
    def begin(self) -> None:
        self.store = self.opened.for_tenant(f"t{next(_tenants)}")
        self.states = [contents(self.store)]
        self.moments = [moment(self.store)]
        self.horizon = 0

    def committed(self) -> None:
        """Remember what is there, if there was a commit."""
        if self.store.inventory.head().revision == len(self.states):
            self.states.append(contents(self.store))
            self.moments.append(moment(self.store))
        assert self.store.inventory.head().revision == len(self.states) - 1

    def touched(self, revision: int) -> set[RecordKey]:
        before, after = self.states[revision - 1], self.states[revision]
        return {key for key in {*before, *after} if before.get(key) != after.get(key)}

    @rule(writes=st.lists(st.tuples(items, numbers), min_size=1, max_size=3))
    def put(self, writes: list[tuple[RecordKey, int]]) -> None:
        self.store.inventory.commit(
            [
                Put(StationStock(key.parts, f'{{"amount":{n}}}', position=abs(n)))
                for key, n in writes
            ],
            actor="put",
        )
        self.committed()

    @rule(key=items, number=numbers)
    def patch(self, key: RecordKey, number: int) -> None:
        try:
            self.store.inventory.commit([Patch(key, {"x": number})], actor="patch")
        except InvalidInput:
            hypothesis.reject()  # an import made it a bare number
        self.committed()

    @rule(key=items)
    def delete(self, key: RecordKey) -> None:
        self.store.inventory.commit([Delete(key)], actor="delete")
        self.committed()

    @rule(dump=st.sampled_from(DUMPS), mode=st.sampled_from(["merge", "replace"]))
    def take_in(self, dump: dict[str, str], mode: Any) -> None:
        importer = LocalStorageImporter(self.store.inventory)  # without safety backups: fast
        importer.import_({"localStorage": dump}, mode=mode, actor="import")
        self.committed()

    @precondition(lambda self: len(self.states) > 1)
    @rule(data=st.data(), force=st.booleans())
    def undo(self, data: st.DataObject, force: bool) -> None:
        inventory, newest = self.store.inventory, len(self.states) - 1
        revision = data.draw(st.integers(1, newest))
        if revision <= self.horizon:
            with pytest.raises(HistoryForgotten):
                inventory.undo(revision, actor="undo", force=force)
            return
        mine = self.touched(revision)
        if not mine:
            with pytest.raises(InvalidInput):
                inventory.undo(revision, actor="undo", force=force)
            return
        later = {
            key: max(n for n in range(revision + 1, newest + 1) if key in self.touched(n))
            for key in mine
            if any(key in self.touched(n) for n in range(revision + 1, newest + 1))
        }
        planned = inventory.undo(revision, actor="undo", dry_run=True)
        told = {problem.path: problem.message for problem in planned.plan.conflicts}
        assert set(told) == {str(key) for key in later}
        for key, number in later.items():
            assert f"revision {number} " in told[str(key)]
        assert inventory.head().revision == newest
        if later and not force:
            with pytest.raises(UndoConflict) as refused:
                inventory.undo(revision, actor="undo")
            assert refused.value.problems == planned.plan.conflicts
            return
        expected = {key: record for key, record in self.states[-1].items() if key not in mine}
        before = self.states[revision - 1]
        expected |= {key: before[key] for key in mine if key in before}
        inventory.undo(revision, actor="undo", force=force)
        assert contents(self.store) == expected
        self.committed()

    @rule(data=st.data())
    def undo_and_undo_that(self, data: st.DataObject) -> None:
        newest = len(self.states) - 1
        if newest <= self.horizon or not self.touched(newest):
            return
        state = self.states[-1]
        for _ in range(2):
            self.store.inventory.undo(len(self.states) - 1, actor="undo")
            self.committed()
        assert contents(self.store) == state
        assert moment(self.store).inventory == self.moments[newest].inventory

    @precondition(lambda self: len(self.states) > 3)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        before = data.draw(st.integers(1, len(self.states)))
        dry = self.store.inventory.forget_history(before, actor="forget", dry_run=True)
        done = self.store.inventory.forget_history(before, actor="forget")
        assert (dry.through, dry.commits, dry.changes, dry.kept) == (
            done.through, done.commits, done.changes, done.kept,
        )  # fmt: skip
        self.horizon = max(self.horizon, before - 1)
        assert done.through == self.horizon
        assert moment(self.store).inventory == self.moments[-1].inventory
        self.committed()

    def teardown(self) -> None:
        if not hasattr(self, "states"):
            return
        for revision, recorded in enumerate(self.moments):
            if revision < self.horizon:
                with pytest.raises(HistoryForgotten):
                    moment(self.store, as_of=revision)
            else:
                assert moment(self.store, as_of=revision) == recorded
        report = self.store.inventory.verify()
        assert report.ok, report.problems


_tenants = itertools.count()


def test_random_histories(store: Store) -> None:
    class Here(Past):
        opened = store

    hypothesis.stateful.run_state_machine_as_test(
        Here,
        settings=hypothesis.settings(max_examples=EXAMPLES, stateful_step_count=12, deadline=None),
    )
