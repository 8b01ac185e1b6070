"""The same import twice is one, also when the first found nothing to do."""

from __future__ import annotations

from typing import Any

import pytest

from expresso_persist import Store
from expresso_persist.errors import IdempotencyMismatch
from expresso_persist.stock.movements import update_operations
from expresso_persist.stock.requests import read_update
from shapes import FRONT_END, held


def sell(store: Store) -> None:
    data = {"category": "milk", "item_id": "milk_1", "total_quantity": 3}
    store.inventory.commit(update_operations([read_update("event_stock", data)]), actor="till")


@pytest.mark.parametrize("mode", ["merge", "replace"])
def test_a_repetition_never_overwrites_a_later_change(store: Store, mode: Any) -> None:
    """An import that found everything stored is remembered with its receipt all the same."""
    store.importer.import_(FRONT_END, actor="anna")
    first = store.importer.import_(FRONT_END, actor="anna", mode=mode, idempotency_key="k")
    assert not first.committed
    assert first.revision == 1, "what was stored already is no commit"
    assert {key.outcome for key in first.keys} == {"unchanged"}
    sell(store)
    sold = held(store)
    again = store.importer.import_(FRONT_END, actor="anna", mode=mode, idempotency_key="k")
    assert again.replayed
    assert again.to_json() == first.to_json()
    assert held(store) == sold
    assert store.inventory.head().revision == 2
    assert store.backups.list() == []
    assert store.inventory.verify().ok


def test_a_repetition_gives_the_first_receipt(store: Store) -> None:
    """Not one of the state as it is by then: same classes, conflicts, backup and revision."""
    store.importer.import_(FRONT_END, actor="anna")
    dump = {"event_stock_levels": {"milk": {"milk_1": {"quantity": 1, "unit": ""}}}}
    first = store.importer.import_(dump, actor="anna", idempotency_key="k")
    assert first.committed
    assert first.safety_backup_id is not None
    sell(store)
    again = store.importer.import_(dump, actor="anna", idempotency_key="k")
    assert again.replayed
    assert again.to_json() == first.to_json()
    assert [(c.path, c.existing, c.incoming) for c in again.conflicts] == [
        (("quantity",), 20, 1), (("unit",), "L", ""),
    ]  # fmt: skip
    assert len(store.backups.list()) == 1


def test_without_a_key_nothing_is_remembered(store: Store) -> None:
    store.importer.import_(FRONT_END, actor="anna")
    for _ in range(2):
        receipt = store.importer.import_(FRONT_END, actor="anna")
        assert (receipt.committed, receipt.replayed, receipt.revision) == (False, False, 1)
    assert store.inventory.head().revision == 1


@pytest.mark.parametrize(
    "other",
    [
        {"mode": "replace"},
        {"on_conflict": "existing"},
        {"on_conflict": "fail"},
        {"include": ["caches"]},
        {"device_id": "till"},
        {"dump": {**FRONT_END, "event_menu": 1}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_every_option_belongs_to_the_request(store: Store, other: dict[str, Any]) -> None:
    """The same key with another one of them is another request."""
    dump = {**FRONT_END, "html_etag": "e"}
    store.importer.import_(dump, actor="anna", idempotency_key="k")
    changed = {"dump": dump, **other}
    with pytest.raises(IdempotencyMismatch):
        store.importer.import_(actor="anna", idempotency_key="k", **changed)
    assert store.importer.import_(dump, actor="anna", idempotency_key="k").replayed
