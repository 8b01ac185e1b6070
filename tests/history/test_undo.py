"""Undoing a commit, by example; the random histories try the rest."""

from __future__ import annotations

from expresso_persist import Put, Store
from expresso_persist.model.records import Setting


def test_an_undo_that_finds_everything_as_it_was_changes_nothing(store: Store) -> None:
    """It was undone already, by hand: the plan is given, and nothing is committed."""
    inventory = store.inventory
    for value in (1, 2, 1):
        inventory.commit([Put(Setting.of("theme", data=value))], actor="anna")
    undone = inventory.undo(2, actor="bert", force=True)
    assert undone.commit is not None
    assert not undone.commit.stored
    assert [str(problem.path) for problem in undone.plan.conflicts] == ["setting:theme"]
    assert inventory.head().revision == 3
    assert inventory.settings() == {"theme": 1}
