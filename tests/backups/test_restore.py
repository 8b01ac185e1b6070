"""Restoring: told before, done as one commit, proved afterwards."""

from __future__ import annotations

import json

import attrs
import pytest

from expresso_persist import Store
from expresso_persist.db.leases import EXCLUSIVE, Lease
from expresso_persist.errors import BackupCorrupted, Busy, InvalidInput
from expresso_persist.model.records import (
    Delete,
    EventItem,
    Layout,
    Patch,
    Put,
    Record,
    RecordKey,
    Setting,
    StationQuantity,
    StationStock,
)


def item(name: str, **data: object) -> Record:
    return EventItem.of("milk", name, data={"name": name, **data})  # type: ignore[arg-type]


@pytest.fixture
def backup_id(store: Store) -> str:
    """A backup, and a state that has moved on since."""
    store.inventory.commit(
        [
            *(Put(item(name, z=1, a=0.125)) for name in ("oat", "soy", "cow")),
            Put(Setting.of("branding", data={"name": "Before"})),
            Put(StationQuantity.of("1", "milk", "oat", data={"quantity": 4})),
        ],
        actor="organiser",
    )
    backup = store.backups.create()
    store.inventory.commit(
        [
            Delete(RecordKey("event_inventory", ("milk", "soy"))),
            Patch(RecordKey("event_inventory", ("milk", "oat")), {"a": 2}),
            Put(item("almond")),
        ],
        actor="barista",
        note="spilled",
    )
    store.inventory.commit(
        [
            Put(Setting.of("branding", data={"name": "After"})),
            Put(Setting.of("later", data=True)),
        ],
        actor="organiser",
    )
    return backup.id


def contents(store: Store) -> list[tuple[RecordKey, str, int, str | None]]:
    return [(r.key, r.text, r.position, r.raw) for r in store.inventory.snapshot().records]


def test_the_dry_run_tells_what_would_happen(store: Store, backup_id: str) -> None:
    """Numbers by kind, and the commits that would be undone; nothing is written."""
    before = contents(store)
    plan = store.backups.plan_restore(backup_id)
    assert plan == store.backups.restore(backup_id, actor="test", dry_run=True)
    assert contents(store) == before
    assert len(store.backups.list()) == 1
    told = plan.to_json()
    assert told["dry_run"] is True
    assert told["committed"] is False
    assert told["records"] == {"added": 1, "changed": 2, "removed": 2, "unchanged": 2}
    assert told["by_kind"] == {
        "event_inventory": {"added": 1, "changed": 1, "removed": 1, "unchanged": 1},
        "setting": {"added": 0, "changed": 1, "removed": 1, "unchanged": 0},
        "station_quantity": {"added": 0, "changed": 0, "removed": 0, "unchanged": 1},
    }
    assert [(c.revision, c.actor, c.note) for c in plan.undone] == [
        (3, "organiser", ""),
        (2, "barista", "spilled"),
    ]
    assert plan.undone_count == 2
    assert any("would be" in sentence for sentence in plan.summary)
    json.dumps(told)


def test_a_restore_brings_everything_back(store: Store, backup_id: str) -> None:
    """As one commit that equals the dry run: settings made later go too."""
    dry = store.backups.plan_restore(backup_id)
    done = store.backups.restore(backup_id, actor="organiser")
    assert done.plan.counts == dry.plan.counts
    assert done.committed
    assert done.revision == 4
    (commit,) = store.inventory.commits(since=3)
    assert (commit.source, commit.actor) == ("restore", "organiser")
    assert backup_id in commit.note
    assert len(commit.changes) == 5
    assert json.loads(commit.receipt or "")["safety_backup_id"] == done.safety_backup_id
    assert store.inventory.settings() == {"branding": {"name": "Before"}}
    found = store.inventory.get("event_inventory", "milk", "oat")
    assert found is not None
    assert found.text == '{"name":"oat","z":1,"a":0.125}'
    again = store.backups.create()
    assert again.payload_sha256 == store.backups.get(backup_id).payload_sha256
    assert store.inventory.verify().ok


def test_a_safety_backup_takes_the_restore_back(store: Store, backup_id: str) -> None:
    """The state before the restore is kept, and survives rotation."""
    before = contents(store)
    done = store.backups.restore(backup_id, actor="test")
    assert contents(store) != before
    assert done.safety_backup_id is not None
    safety = store.backups.get(done.safety_backup_id)
    assert safety.backup_type == "safety"
    assert backup_id in safety.notes
    store.backups.rotate()
    store.backups.restore(safety.id, actor="test")
    assert contents(store) == before


def test_an_equal_state_is_left_alone(store: Store, backup_id: str) -> None:
    """Restoring twice commits once; the second makes no safety backup either."""
    store.backups.restore(backup_id, actor="test")
    count = len(store.backups.list())
    again = store.backups.restore(backup_id, actor="test")
    assert not again.committed
    assert again.revision == 4
    assert len(store.backups.list()) == count
    assert "nothing to restore" in again.summary[0]


def test_some_kinds_can_be_restored(store: Store, backup_id: str) -> None:
    """The others stay as they are, and are not counted."""
    done = store.backups.restore(backup_id, actor="test", kinds=["event_inventory"])
    assert done.scope.kinds == ("event_inventory",)
    assert set(done.plan.counts_by_kind()) == {"event_inventory"}
    assert [commit.revision for commit in done.undone] == [2]
    assert store.inventory.settings() == {"branding": {"name": "After"}, "later": True}
    assert store.inventory.get("event_inventory", "milk", "soy") is not None
    assert store.inventory.get("event_inventory", "milk", "almond") is None


def test_a_layout_goes_with_its_records(store: Store) -> None:
    """Records of a document without the shape they had could not be written back."""

    def shape(key: str, name: str) -> Record:
        return Layout.of(key, data={"layout": name})

    store.inventory.commit(
        [
            Put(item("oat")),
            Put(shape("event_inventory", "list")),
            Put(shape("event_stock_levels", "map")),
        ],
        actor="test",
    )
    backup = store.backups.create()
    store.inventory.commit(
        [
            Put(item("oat", n=2)),
            Put(shape("event_inventory", "map")),
            Put(shape("event_stock_levels", "flat")),
        ],
        actor="test",
    )
    store.backups.restore(backup.id, actor="test", kinds=["event_inventory"])
    layouts = {r.parts[0]: r.data for r in store.inventory.records("layout")}
    assert layouts == {
        "event_inventory": {"layout": "list"},
        "event_stock_levels": {"layout": "flat"},
    }


def test_one_station_can_be_restored(store: Store) -> None:
    """With the shape of its document; the other stations stay as they are."""
    mine = StationStock.of("1", "milk", "oat", data={"amount": 5})
    shape = Layout.of("coffee_stock_station_1", data={"layout": "map"})
    other = StationStock.of("2", "milk", "oat", data={"amount": 7})
    store.inventory.commit([Put(mine), Put(shape), Put(other), Put(item("oat"))], actor="test")
    backup = store.backups.create()
    store.inventory.commit([Delete(mine.key), Delete(shape.key)], actor="barista")
    store.inventory.commit([Put(item("oat", n=2)), Delete(other.key)], actor="organiser")

    done = store.backups.restore(backup.id, actor="test", stations=["1"])

    assert [record.key for record in done.plan.added] == [shape.key, mine.key]
    assert [commit.actor for commit in done.undone] == ["barista"]
    assert done.to_json()["stations"] == ["1"]
    assert store.inventory.get("station_stock", "1", "milk", "oat") == mine
    assert store.inventory.get("station_stock", "2", "milk", "oat") is None
    assert store.inventory.get("event_inventory", "milk", "oat") == item("oat", n=2)


@pytest.mark.parametrize(
    ("keys", "back"),
    [
        (["event_inventory:milk/soy"], {"soy"}),
        (["event_inventory:milk/soy", "event_inventory:milk/oat"], {"soy", "oat"}),
        (["event_inventory:milk"], {"soy", "oat", "almond"}),
    ],
)
def test_some_records_can_be_restored(
    store: Store, backup_id: str, keys: list[str], back: set[str]
) -> None:
    """By their keys, or by what they lie below; two ways of asking join."""
    plan = store.backups.plan_restore(backup_id, keys=keys, stations=["1"])
    changed = [*plan.plan.added, *plan.plan.removed, *(new for _, new in plan.plan.changed)]
    assert {record.parts[1] for record in changed} == back
    assert [commit.revision for commit in plan.undone] == [2]
    done = store.backups.restore(backup_id, actor="test", keys=keys)
    assert done.plan.counts.unchanged + 1 == plan.plan.counts.unchanged  # the station's record
    assert store.inventory.settings() == {"branding": {"name": "After"}, "later": True}


@pytest.mark.parametrize(
    "scope",
    [
        {"stations": []},
        {"stations": ["9"]},
        {"keys": ["event_inventory:milk/goat"]},
        {"keys": ["event_inventory:mil"]},
        {"keys": ["milk/oat"]},
        {"keys": [""]},
        {"kinds": ["setting"], "keys": ["event_inventory:milk"]},
        {"kinds": ["setting"], "stations": ["1"]},
    ],
)
def test_what_names_nothing_is_refused(
    store: Store, backup_id: str, scope: dict[str, list[str]]
) -> None:
    """A typing error must not look like success."""
    with pytest.raises(InvalidInput):
        store.backups.restore(backup_id, actor="test", **scope)  # type: ignore[arg-type]
    assert store.inventory.head().revision == 3


@pytest.mark.parametrize("kinds", [["nothing"], [], ["host:orders"]])
def test_kinds_that_do_not_exist_are_refused(
    store: Store, backup_id: str, kinds: list[str]
) -> None:
    """So are the host's tables, which a restore never writes."""
    with pytest.raises(InvalidInput):
        store.backups.restore(backup_id, actor="test", kinds=kinds)


def test_writers_may_go_on(store: Store, backup_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written during a restore is neither lost from the trail nor a false alarm."""
    make, backups = store.backups.create, []

    def slow(*arguments: str) -> object:
        safety = make(*arguments)
        if not backups:
            store.inventory.commit([Put(item("during"))], actor="barista")
        backups.append(safety)
        return safety

    restore = store.inventory.commit

    def busy(*arguments: object, **options: object) -> object:
        commit = restore(*arguments, **options)  # type: ignore[arg-type]
        if options.get("source") == "restore":
            restore([Put(item("oat", a=9)), Put(item("after"))], actor="barista")
            restore([Delete(RecordKey("event_inventory", ("milk", "cow")))], actor="barista")
        return commit

    monkeypatch.setattr(
        store.backups,
        "_restorer",
        attrs.evolve(store.backups._restorer, make_safety_backup=lambda *a: slow("safety", *a)),
    )
    monkeypatch.setattr(store.inventory, "commit", busy)
    done = store.backups.restore(backup_id, actor="test")
    monkeypatch.undo()
    assert done.plan.counts.removed == 3  # almond, the later setting, and the one made during
    assert store.backups.get(done.safety_backup_id or "").revision == done.revision - 1
    assert done.undone_count == done.revision - 1 - store.backups.get(backup_id).revision
    names = {record.parts[1] for record in store.inventory.records("event_inventory")}
    assert names == {"oat", "soy", "after"}


def test_a_restore_that_went_wrong_is_told(
    store: Store, backup_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state afterwards is compared with the backup, never assumed."""
    commit = store.inventory.commit

    def forgetful(operations: object, **options: object) -> object:
        if options.get("source") == "restore":

            def decide(state: object) -> object:
                decision = operations(state)  # type: ignore[operator]
                return attrs.evolve(decision, operations=[*decision.operations][1:])

            return commit(decide, **options)  # type: ignore[arg-type]
        return commit(operations, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(store.inventory, "commit", forgetful)
    with pytest.raises(BackupCorrupted, match="safety backup"):
        store.backups.restore(backup_id, actor="test")


def test_two_restores_do_not_mix(store: Store, backup_id: str) -> None:
    """One wins, the other learns who holds it; a restore that died blocks a minute at most."""
    other = Lease(store.database, "default", 60, name=EXCLUSIVE, label="Zoë is restoring a backup")
    assert other.acquire()
    before = contents(store)
    with pytest.raises(Busy, match="Zoë") as refusal:
        store.backups.restore(backup_id, actor="test")
    assert refusal.value.retry_after is not None
    assert contents(store) == before
    other.release()
    assert store.backups.restore(backup_id, actor="test").committed


def test_a_backup_of_another_copy_of_the_database_says_so(store: Store, backup_id: str) -> None:
    """Revisions of two copies cannot be compared, so no commits are listed."""
    import sqlalchemy as sa

    from expresso_persist.db.tables import tenants

    with store.database.write() as connection:
        connection.execute(sa.update(tenants).values(epoch="another"))
    plan = store.backups.plan_restore(backup_id)
    assert plan.undone == ()
    assert any("another copy" in note for note in plan.notes)
