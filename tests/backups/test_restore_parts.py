"""The steps of a restore: who is kept out, what is committed, and how the result is judged."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
import pytest

import secret_vectors as vectors
from expresso_persist import Store
from expresso_persist.backups import restore
from expresso_persist.backups.restore import RestoreKey, differing_kinds, rewind
from expresso_persist.backups.restore_plan import Scope
from expresso_persist.commits.decision import Decision
from expresso_persist.commits.repository import InventoryRepository
from expresso_persist.commits.state import State
from expresso_persist.errors import BackupCorrupted, Busy
from expresso_persist.model.records import Change, Commit, EventItem, Put, Record, Setting


def setting(name: str, value: Any) -> Setting:
    return Setting.of(name, data=value)


def put(store: Store, *records: Record) -> None:
    store.inventory.commit([Put(record) for record in records], actor="barista")


@pytest.fixture
def backup_id(store: Store) -> str:
    """A backup of ``a`` at 1; afterwards it is 2, and there is ``b``."""
    put(store, setting("a", 1))
    made = store.backups.create().id
    put(store, setting("a", 2), setting("b", 2))
    return made


@attrs.frozen
class Step:
    """What ``rewind`` looks at in a commit."""

    revision: int
    changes: tuple[Change, ...]


def taken_back(stored: list[Record], *steps: Step) -> dict[str, Any]:
    commits: Any = steps
    return {record.parts[0]: record.data for record in rewind(stored, commits)}


def change(name: str, before: Any, after: Any) -> Change:
    sides = [None if value is None else setting(name, value) for value in (before, after)]
    return Change(setting(name, 0).key, *sides)


def test_commits_are_taken_back_newest_first_and_each_from_its_end() -> None:
    first = Step(4, (change("a", 1, 2), change("b", None, 1)))
    second = Step(5, (change("a", 2, 3), change("b", 1, None), change("c", 7, None)))
    stored = [setting("a", 3), setting("d", 0)]
    for steps in ((first, second), (second, first)):
        assert taken_back(stored, *steps) == {"a": 1, "c": 7, "d": 0}
    assert taken_back(stored, second) == {"a": 2, "b": 1, "c": 7, "d": 0}
    assert taken_back(stored) == {"a": 3, "d": 0}
    # One commit may say two things of a record; the first of them is what was before.
    twice = Step(6, (change("a", 1, 2), change("a", 2, 3)))
    assert taken_back(stored, twice) == {"a": 1, "d": 0}
    # What is gone already is not there to be taken away.
    assert taken_back([setting("d", 0)], Step(6, (change("a", None, 3),))) == {"d": 0}


def test_kinds_differ_by_a_record_too_many_too_few_or_another() -> None:
    item = EventItem.of("milk", "oat", data={"a": 1})
    wanted: list[Record] = [item, setting("a", 1)]
    assert differing_kinds(wanted[::-1], wanted) == []
    assert differing_kinds([], []) == []
    assert differing_kinds([item], wanted) == ["setting"]
    assert differing_kinds([*wanted, setting("b", 1)], wanted) == ["setting"]
    assert differing_kinds([item, setting("a", 2)], wanted) == ["setting"]
    moved = attrs.evolve(item, position=3)
    assert differing_kinds([moved, setting("a", 1)], wanted) == ["event_inventory"]
    raw = attrs.evolve(setting("a", 1), raw=" 1")
    assert differing_kinds([item, raw], wanted) == ["setting"]
    assert differing_kinds([], wanted) == ["event_inventory", "setting"]


def test_others_learn_who_restores(
    store: Store, backup_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as it takes, and not longer."""
    entered: list[dict[str, Any]] = []
    exclusive = restore.exclusive

    def noted(*arguments: Any, **options: Any) -> Any:
        entered.append(options)
        return exclusive(*arguments, **options)

    def meanwhile(*_: Any, **__: Any) -> Any:
        with pytest.raises(Busy, match=r"^Anna is restoring a backup;"):
            store.backups.restore(backup_id, actor="Bert")
        raise KeyError

    with monkeypatch.context() as patched:
        patched.setattr(restore, "exclusive", noted)
        patched.setattr(InventoryRepository, "commit", meanwhile)
        with pytest.raises(KeyError):
            store.backups.restore(backup_id, actor="Anna")
    assert entered[0] == {"actor": "Anna", "work": "restoring a backup", "ttl": 60}
    assert store.backups.restore(backup_id, actor="Bert").committed


def test_a_restore_says_what_it_did(store: Store, backup_id: str) -> None:
    """In its answer, in the trail, and in the backup of the state before."""
    done = store.backups.restore(backup_id, actor="Anna", kinds=["setting"])
    assert (done.committed, done.dry_run, done.revision, done.replayed) == (True, False, 3, False)
    assert [(record.data, after.data) for record, after in done.plan.changed] == [(2, 1)]
    assert [record.data for record in done.plan.removed] == [2]
    commit = store.inventory.commits()[2]
    assert (commit.actor, commit.source) == ("Anna", "restore")
    assert commit.note == f"Restored backup {backup_id}"
    assert commit.receipt is not None
    assert msgspec.json.decode(commit.receipt) == {**done.to_json(), "committed": True}
    safety = store.backups.get(done.safety_backup_id or "")
    assert (safety.backup_type, safety.revision, safety.actor) == ("safety", 2, "Anna")
    assert safety.notes == f"Before restoring {backup_id}"


def test_what_was_restored_while_one_waited_is_not_restored_again(
    store: Store, backup_id: str
) -> None:
    """The same request came twice, and the other one was faster."""
    restorer, scope = store.backups._restorer, Scope.of(None, None, None)
    dry, wanted = restorer.plan(backup_id, scope)
    key = RestoreKey("k", "restore it")
    first = restorer.carry_out(dry, scope, wanted, "Anna", key)
    put(store, setting("a", 3))
    again = restorer.carry_out(dry, scope, wanted, "Anna", key)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.to_json() == first.to_json()
    assert again.scope == scope
    assert store.inventory.settings() == {"a": 3}
    assert len([b for b in store.backups.list() if b.backup_type == "safety"]) == 1
    other = restorer.carry_out(dry, scope, wanted, "Bert", key)
    assert (other.replayed, store.inventory.settings()) == (False, {"a": 1})


def test_what_was_restored_when_the_lease_had_run_out_is_not_restored_again(
    store: Store, backup_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two worked at a time; the commit itself knows the key."""
    restorer, scope = store.backups._restorer, Scope.of(["setting"], None, None)
    dry, wanted = restorer.plan(backup_id, scope)
    key = RestoreKey("k", "restore it")
    first = restorer.carry_out(dry, scope, wanted, "Anna", key)
    monkeypatch.setattr(restore.Restorer, "replay", lambda *_: None)
    again = restorer.carry_out(dry, scope, wanted, "Anna", key)
    assert (again.replayed, again.scope, again.revision) == (True, scope, first.revision)
    assert again.to_json() == first.to_json()


def test_what_became_equal_since_the_dry_run_is_no_commit(store: Store, backup_id: str) -> None:
    restorer, scope = store.backups._restorer, Scope.of(None, None, None)
    dry, wanted = restorer.plan(backup_id, scope)
    without = RestoreKey(None, "restore it")
    assert restorer.carry_out(dry, scope, wanted, "Anna", without).committed
    again = restorer.carry_out(dry, scope, wanted, "Anna", without)
    assert (again.committed, again.plan.empty, again.revision) == (False, True, 3)


def test_what_was_written_since_the_dry_run_is_in_the_plan(store: Store, backup_id: str) -> None:
    restorer, scope = store.backups._restorer, Scope.of(None, None, None)
    dry, wanted = restorer.plan(backup_id, scope)
    put(store, setting("later", 1))
    done = restorer.carry_out(dry, scope, wanted, "Anna", RestoreKey(None, "restore it"))
    assert sorted(record.parts[0] for record in done.plan.removed) == ["b", "later"]


def test_what_an_earlier_version_stored_is_given_back(store: Store) -> None:
    """It may be what is refused today; a restore loses nothing."""
    old = setting("a", {"note": vectors.jwt()})
    store.inventory.commit([Put(old)], actor="old", scanned=True)
    backup = store.backups.create()
    put(store, setting("a", 1))
    assert store.backups.restore(backup.id, actor="Anna").committed
    assert store.inventory.settings() == {"a": old.data}


def test_an_equal_state_is_only_remembered_under_its_key(store: Store) -> None:
    put(store, setting("a", 1))
    backup = store.backups.create()
    done = store.backups.restore(backup.id, actor="Anna", idempotency_key="k")
    assert (done.safety_backup_id, done.plan.empty, done.committed) == (None, True, True)
    assert done.revision == 2
    put(store, setting("a", 2))
    again = store.backups.restore(backup.id, actor="Anna", idempotency_key="k")
    assert (again.replayed, again.revision) == (True, 2)
    assert store.inventory.settings() == {"a": 2}


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_state_right_after_it_is_judged_whatever_came_later(
    store: Store, backup_id: str, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Page by page, and only what came between."""
    monkeypatch.setattr(restore, "_PAGE", 2)
    commit = InventoryRepository.commit

    def busy(self: InventoryRepository, *arguments: Any, **options: Any) -> Commit:
        made = commit(self, *arguments, **options)
        if options.get("source") == "restore":
            for number in range(count):
                commit(self, [Put(setting("a", number)), Put(setting("c", number))], actor="b")
        return made

    with monkeypatch.context() as patched:
        patched.setattr(InventoryRepository, "commit", busy)
        done = store.backups.restore(backup_id, actor="Anna")
    assert done.revision == 3
    assert store.inventory.settings() == {"a": count - 1, "c": count - 1}


def test_only_what_was_restored_is_judged(store: Store, backup_id: str) -> None:
    """Others may differ, and go on."""
    put(store, EventItem.of("milk", "oat", data={"a": 1}))
    assert store.backups.restore(backup_id, actor="Anna", kinds=["setting"]).committed
    assert len(store.inventory.records("event_inventory")) == 1


@pytest.mark.parametrize("writers", [0, 2])
def test_a_result_that_is_not_the_backups_is_said(
    store: Store, backup_id: str, monkeypatch: pytest.MonkeyPatch, writers: int
) -> None:
    """Also when what came later looks like what was wanted."""
    commit = InventoryRepository.commit

    def forgetful(self: InventoryRepository, operations: Any, **options: Any) -> Commit:
        if options.get("source") != "restore":
            return commit(self, operations, **options)

        def decide(state: State) -> Decision:
            decision = operations(state)
            return attrs.evolve(decision, operations=[*decision.operations][:1])

        made = commit(self, decide, **options)
        for number in range(writers):
            commit(self, [Put(setting("b", number))], actor="b")
        return made

    with monkeypatch.context() as patched:
        patched.setattr(InventoryRepository, "commit", forgetful)
        with pytest.raises(BackupCorrupted, match="as revision 3, but setting is not") as caught:
            store.backups.restore(backup_id, actor="Anna")
    assert caught.value.context == {"revision": 3}
    (safety,) = [b.id for b in store.backups.list() if b.backup_type == "safety"]
    assert safety in caught.value.message
