"""What an import is given goes where it belongs: the plan, the commit, the backup before."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from expresso_persist import LocalStorageImporter, Store
from expresso_persist.errors import Busy, ConflictRefused, Problem, StorageFull
from expresso_persist.importing import importer
from expresso_persist.model.records import Put, Setting
from shapes import FRONT_END, held

TAB = "coffee_cue_active_tab"
MENU = {"event_menu": {"a": 1}}


def test_a_plan_says_what_would_be_and_does_nothing(store: Store) -> None:
    """Of this tenant, with every option, at its revision."""
    store.for_tenant("a").importer.import_({"event_menu": {"a": 9}}, actor="anna")
    store.importer.import_(MENU, actor="anna")
    before = store.inventory.head()
    dump = {"localStorage": {TAB: '"x"', "event_menu": '{"a":2}', "html_etag": '"e"'}}
    options: dict[str, Any] = {
        "mode": "replace", "on_conflict": "existing", "include": ["caches"], "device_id": "till",
    }  # fmt: skip
    plan = store.importer.plan(dump, **options)
    assert store.inventory.head() == before
    assert (plan.dry_run, plan.committed, plan.revision) == (True, False, 1)
    assert (plan.mode, plan.on_conflict, plan.device_id) == ("replace", "existing", "till")
    assert [(c.existing, c.incoming) for c in plan.conflicts] == [({"a": 1}, {"a": 2})]
    assert {key.key: key.outcome for key in plan.keys} == {
        TAB: "stored", "event_menu": "kept", "html_etag": "stored",
    }  # fmt: skip
    done = store.importer.import_(dump, actor="anna", **options)
    assert (done.dry_run, done.committed, done.revision) == (False, True, 2)
    assert (done.keys, done.conflicts, done.records) == (plan.keys, plan.conflicts, plan.records)
    with pytest.raises(ConflictRefused):
        store.importer.plan({"event_menu": {"a": 2}}, on_conflict="fail")


def test_a_commit_says_who_imported_and_why(store: Store) -> None:
    store.importer.import_(MENU, actor="anna", note="from the bar", idempotency_key="k")
    store.importer.import_({"event_menu": {"b": 1}}, actor="anna")
    first, second = store.inventory.commits()
    assert (first.actor, first.source, first.note, first.idempotency_key) == (
        "anna", "import", "from the bar", "k",
    )  # fmt: skip
    assert (second.note, second.idempotency_key) == ("", None)
    assert first.receipt is not None
    assert first.receipt.isascii()


def test_others_learn_who_imports(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[dict[str, Any]] = []
    exclusive = importer.exclusive

    def noted(*arguments: Any, **options: Any) -> Any:
        entered.append(options)
        return exclusive(*arguments, **options)

    def meanwhile(note: str, actor: str) -> str:
        with pytest.raises(Busy, match=r"^anna is importing;"):
            store.importer.import_(MENU, actor="bert")
        return "none"

    monkeypatch.setattr(importer, "exclusive", noted)
    store.importer.import_(MENU, actor="bert")
    imports = LocalStorageImporter(store.inventory, before_change=meanwhile)
    receipt = imports.import_({"event_menu": {"a": 2}}, actor="anna")
    assert receipt.safety_backup_id == "none"
    assert entered[1] == {"actor": "anna", "work": "importing", "ttl": importer._TTL}
    assert importer._TTL >= 60


def test_a_failed_backup_before_is_said_with_all_that_is_known(store: Store) -> None:
    store.importer.import_(FRONT_END, actor="anna")
    before = held(store)
    asked: list[tuple[str, str]] = []

    def full(note: str, actor: str) -> str:
        asked.append((note, actor))
        raise StorageFull(
            "The disk is full.",
            problems=[Problem("disk", "full")],
            retry_after=7,
            context={"free": 0},
        )

    imports = LocalStorageImporter(store.inventory, before_change=full)
    with pytest.raises(StorageFull) as caught:
        imports.import_({**FRONT_END, "event_menu": {"a": 1}}, actor="anna", mode="replace")
    assert asked == [("Before an import (mode=replace)", "anna")]
    error = caught.value
    assert error.message.startswith("Nothing was imported, because the safety backup before it")
    assert error.message.endswith("The disk is full.")
    assert [(p.path, p.message) for p in error.problems] == [("disk", "full")]
    assert (error.retry_after, error.context) == (7, {"free": 0})
    assert held(store) == before
    # Without anything to make a backup with, there is none.
    assert (
        LocalStorageImporter(store.inventory)
        .import_({"event_menu": {"a": 1}}, actor="anna", mode="replace")
        .committed
    )


def test_what_changed_while_the_backup_was_made_is_in_the_receipt(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision is made again under the lock."""
    store.importer.import_(MENU, actor="anna")

    def meanwhile(note: str, actor: str) -> str:
        store.importer.import_({"event_menu": {"a": 5}}, actor="bert")
        store.inventory.commit([Put(Setting.of("x", data=1))], actor="bert")
        return "made"

    slow = LocalStorageImporter(store.inventory, before_change=meanwhile)
    monkeypatch.setattr(importer, "exclusive", lambda *_, **__: contextlib.nullcontext())
    receipt = slow.import_({"event_menu": {"a": 2}}, actor="anna")
    assert [(c.existing, c.incoming) for c in receipt.conflicts] == [(5, 2)]
    assert receipt.safety_backup_id == "made"
    assert receipt.revision == store.inventory.head().revision
