"""A request that is sent again is done once, however often it is sent at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from expresso_persist import Store
from expresso_persist.errors import IdempotencyMismatch
from shorthand import PutQuantity


def test_a_repetition_gets_the_first_answer(store: Store, put: PutQuantity) -> None:
    first = put("oat", 1, idempotency_key="k", request=b"one")
    put("oat", 2)
    again = put("oat", 1, idempotency_key="k", request=b"one")
    assert again.replayed
    assert (again.revision, again.hash, again.changes) == (1, first.hash, first.changes)
    assert store.inventory.records()[0].data == {"quantity": 2}


def test_another_request_under_the_same_key_is_refused(store: Store, put: PutQuantity) -> None:
    put("oat", 1, idempotency_key="k", request=b"one")
    with pytest.raises(IdempotencyMismatch):
        put("oat", 2, idempotency_key="k", request=b"two")
    with pytest.raises(IdempotencyMismatch):
        put("oat", 2, idempotency_key="k")
    assert store.inventory.head().revision == 1


def test_keys_belong_to_an_actor_and_a_tenant(store: Store, put: PutQuantity) -> None:
    put("oat", 1, idempotency_key="k", request=b"one")
    assert put("oat", 2, idempotency_key="k", request=b"two", actor="other").revision == 2
    other = store.for_tenant("other").inventory
    assert other.commit([], actor="test", idempotency_key="k", request=b"three").revision == 1


def test_a_named_request_that_changes_nothing_is_remembered(store: Store, put: PutQuantity) -> None:
    """Its repetition must not undo what came after it."""
    put("oat", 1)
    assert put("oat", 1, idempotency_key="k", request=b"one").stored
    put("oat", 2)
    assert put("oat", 1, idempotency_key="k", request=b"one").replayed
    assert store.inventory.records()[0].data == {"quantity": 2}


def test_the_same_request_by_many_threads_is_one_commit(store: Store, put: PutQuantity) -> None:
    with ThreadPoolExecutor(8) as pool:
        commits = list(
            pool.map(
                lambda number: put("oat", 1, idempotency_key=f"k{number % 4}", request=b"one"),
                range(32),
            )
        )
    assert sorted({commit.revision for commit in commits}) == [1, 2, 3, 4]
    assert sum(not commit.replayed for commit in commits) == 4
    assert store.inventory.verify().ok
