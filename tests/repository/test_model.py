"""Random histories against a plain dictionary."""

from __future__ import annotations

from decimal import Decimal

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from expresso_persist import Store
from expresso_persist.errors import NotFound
from expresso_persist.model.records import Adjust, Delete, Operation, Patch, Put, StationQuantity

items = st.sampled_from(["oat", "soy", "Müller's", "__proto__", "a/b", "'; DROP TABLE x --"])
cents = st.integers(-100_000, 100_000).map(lambda n: n / 100)


class Histories(RuleBasedStateMachine):
    """Commits of random operations; a dictionary of decimals knows what should be there."""

    @initialize()
    def begin(self) -> None:
        self.store = Store("sqlite://", migrate=True)
        self.model: dict[str, Decimal] = {}
        self.past: list[dict[str, Decimal]] = [{}]

    def commit(self, operations: list[Operation], after: dict[str, Decimal]) -> None:
        changed = after != self.model
        commit = self.store.inventory.commit(operations, actor="test")
        assert commit.stored is changed
        if changed:
            self.model = after
            self.past.append(dict(after))
        assert commit.revision == len(self.past) - 1

    @rule(item=items, quantity=cents)
    def put(self, item: str, quantity: float) -> None:
        record = StationQuantity.of("1", "milk", item, data={"quantity": quantity})
        self.commit([Put(record)], {**self.model, item: Decimal(str(quantity))})

    @rule(item=items, quantity=cents)
    def patch(self, item: str, quantity: float) -> None:
        key = StationQuantity(("1", "milk", item), "").key
        self.commit(
            [Patch(key, {"quantity": quantity})], {**self.model, item: Decimal(str(quantity))}
        )

    @rule(item=items, deltas=st.lists(cents, min_size=1, max_size=4))
    def adjust(self, item: str, deltas: list[float]) -> None:
        key = StationQuantity(("1", "milk", item), "").key
        operations: list[Operation] = [Adjust(key, "quantity", delta) for delta in deltas]
        if item not in self.model:
            try:
                self.store.inventory.commit(operations, actor="test")
            except NotFound:
                return
            raise AssertionError("adjusted what is not there")
        total = self.model[item] + sum((Decimal(str(d)) for d in deltas), Decimal())
        self.commit(operations, {**self.model, item: total})

    @rule(item=items)
    def delete(self, item: str) -> None:
        key = StationQuantity(("1", "milk", item), "").key
        self.commit([Delete(key)], {k: v for k, v in self.model.items() if k != item})

    @invariant()
    def agree(self) -> None:
        found = {
            record.parts[2]: Decimal(str(record.data["quantity"]))  # type: ignore[index,call-overload]
            for record in self.store.inventory.records("station_quantity")
        }
        assert found == self.model

    def teardown(self) -> None:
        replayed: dict[str, str] = {}
        for commit in self.store.inventory.commits(limit=1000):
            for change in commit.changes:
                name = change.key.parts[2]
                before = None if change.before is None else change.before.text
                assert replayed.get(name) == before
                replayed.pop(name, None)
                if change.after is not None:
                    replayed[name] = change.after.text
            assert replayed.keys() == self.past[commit.revision].keys()
        assert self.store.inventory.verify().ok
        self.store.close()


TestHistories = Histories.TestCase
TestHistories.settings = hypothesis.settings(max_examples=25, stateful_step_count=15, deadline=None)
