"""A commit is all or nothing, has one revision, and says what was before and after."""

from __future__ import annotations

import pytest

from expresso_persist import Store
from expresso_persist.errors import ExpressoPersistError, InvalidInput, NotFound, RevisionConflict
from expresso_persist.model.records import (
    Adjust,
    Delete,
    Operation,
    Patch,
    Put,
    RecordKey,
    Setting,
    StationQuantity,
)
from shorthand import PutQuantity

OAT = RecordKey("station_quantity", ("1", "milk", "oat"))


def quantity(value: object) -> StationQuantity:
    return StationQuantity.of(*OAT.parts, data=value)  # type: ignore[arg-type]


def test_a_commit_has_the_next_revision_and_what_was_before(store: Store, put: PutQuantity) -> None:
    first, second = put("oat", 1), put("oat", 2)
    assert (first.revision, second.revision) == (1, 2)
    (change,) = store.inventory.commits()[1].changes
    assert change.key == OAT
    assert change.before is not None
    assert change.before.data == {"quantity": 1}
    assert change.after is not None
    assert change.after.data == {"quantity": 2}
    stored = store.inventory.get(*OAT[:1], *OAT.parts)
    assert stored is not None
    assert (stored.revision, stored.updated_by) == (2, "test")


def test_operations_see_what_earlier_ones_did(store: Store) -> None:
    commit = store.inventory.commit(
        [
            Put(quantity({"quantity": 1})),
            Patch(OAT, {"unit": "l"}),
            Adjust(OAT, "quantity", 0.1),
            Adjust(OAT, "quantity", 0.2),
        ],
        actor="test",
    )
    (change,) = commit.changes
    assert change.before is None
    assert change.after is not None
    assert change.after.text == '{"quantity":1.3,"unit":"l"}'


def test_what_ends_as_it_was_is_no_commit(store: Store, put: PutQuantity) -> None:
    put("oat", 1)
    commit = store.inventory.commit(
        [Patch(OAT, {"quantity": 5}), Put(quantity({"quantity": 1}))], actor="test"
    )
    assert not commit.stored
    assert store.inventory.head().revision == 1


def test_a_deleted_record_is_gone_and_remembered(store: Store, put: PutQuantity) -> None:
    put("oat", 1)
    commit = store.inventory.commit([Delete(OAT)], actor="test")
    assert commit.changes[0].after is None
    assert store.inventory.records() == []
    assert store.inventory.verify().ok


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Adjust(RecordKey("station_quantity", ("9", "milk", "none")), "quantity", 1), NotFound),
        (Adjust(RecordKey("setting", ("name",)), "quantity", 1), InvalidInput),
        (Patch(RecordKey("setting", ("name",)), {"a": 1}), InvalidInput),
        (Adjust(OAT, "quantity", -50, floor=0), InvalidInput),
        (Adjust(OAT, "quantity", 1e16), InvalidInput),
        (Put(quantity({}), expected_revision=7), RevisionConflict),
        (Put(quantity({}), expected_revision=0), RevisionConflict),
    ],
)
def test_one_bad_operation_and_nothing_is_stored(
    store: Store, put: PutQuantity, bad: Operation, error: type[ExpressoPersistError]
) -> None:
    put("oat", 1)
    store.inventory.commit([Put(Setting.of("name", data="Fair"))], actor="test")
    before = store.inventory.snapshot()
    with pytest.raises(error):
        store.inventory.commit(
            [Put(Setting.of("other", data=1)), Patch(OAT, {"quantity": 9}), bad]
            if error is not RevisionConflict
            else [Put(Setting.of("other", data=1)), bad],
            actor="test",
        )
    assert store.inventory.snapshot() == before
    assert store.inventory.verify().ok


def test_a_commit_can_insist_on_the_revision_it_was_decided_from(
    store: Store, put: PutQuantity
) -> None:
    put("oat", 1)
    put("oat", 2, expected_revision=1)
    with pytest.raises(RevisionConflict) as caught:
        put("oat", 3, expected_revision=1)
    assert caught.value.context["revision"] == 2


def test_a_decision_that_fails_stores_nothing_and_frees_the_lock(
    store: Store, put: PutQuantity
) -> None:
    def decide(state: object) -> list[Operation]:
        raise KeyError("a bug of the caller")

    with pytest.raises(KeyError):
        store.inventory.commit(decide, actor="test")
    assert put("oat", 1).revision == 1
