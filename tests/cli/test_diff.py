"""`backup diff`: counts per kind, and the members of the records that changed."""

from __future__ import annotations

import pytest

from expresso_persist import Store
from expresso_persist.backups import BackupManager
from expresso_persist.errors import BackupNotFound, InvalidInput
from expresso_persist.model.records import Delete, EventItem, Put, RecordKey, Setting


def put(store: Store, *records: EventItem | Setting) -> None:
    store.inventory.commit([Put(record) for record in records], actor="test")


def oat(**data: object) -> EventItem:
    return EventItem.of("milk", "oat", data=data)  # type: ignore[arg-type]


@pytest.fixture
def two(store: Store) -> tuple[Store, str, str]:
    """Two backups with one record added, one changed, one removed and one left alone."""
    put(
        store,
        oat(name="Oat", stock={"left": 3, "unit": "l"}, old=True),
        Setting.of("theme", data="dark"),
        Setting.of("queue", data=4),
    )
    first = store.backups.create().id
    put(
        store,
        oat(name="Oat", stock={"left": 2.5, "unit": "l"}, new=None),
        EventItem.of("milk", "soy", data={"enabled": True}, position=1),
    )
    store.inventory.commit([Delete(RecordKey("setting", ("theme",)))], actor="test")
    return store, first, store.backups.create().id


def test_between_two_backups(two: tuple[Store, str, str]) -> None:
    """The plan that turns one into the other, in either direction."""
    store, first, second = two
    plan = store.backups.diff(first, second)
    assert [record.key.parts for record in plan.added] == [("milk", "soy")]
    assert [after.key.parts for _, after in plan.changed] == [("milk", "oat")]
    assert [record.key.parts for record in plan.removed] == [("theme",)]
    assert plan.counts.unchanged == 1
    back = store.backups.diff(second, first)
    assert (back.added, back.removed) == (plan.removed, plan.added)
    assert store.backups.diff(second, second).empty
    with pytest.raises(BackupNotFound):
        store.backups.diff(first, "nope")
    with pytest.raises(InvalidInput):
        store.backups.diff(first, second, ["nope"])


@pytest.mark.parametrize("kinds", [None, ["setting"], ["event_inventory"]])
def test_from_now_to_a_backup_is_what_a_restore_does(
    two: tuple[Store, str, str], kinds: list[str] | None
) -> None:
    """Of these kinds, the layouts that go with them included."""
    store, first, _ = two
    put(store, Setting.of("queue", data=5))
    assert store.backups.diff(None, first, kinds) == store.backups.plan_restore(first, kinds).plan


def test_tenants_are_not_compared(two: tuple[Store, str, str]) -> None:
    """Another tenant's backup is no backup."""
    store, first, _ = two
    other = BackupManager(store.database, store.for_tenant("other").inventory)
    with pytest.raises(BackupNotFound):
        other.diff(first)


def test_the_verb_counts_by_kind(two: tuple[Store, str, str], run, answer) -> None:
    """As a table for people, as numbers for scripts; no contents unless asked."""
    _, first, second = two
    data = answer("backup", "diff", first, second)
    assert data["records"] == {"added": 1, "changed": 1, "removed": 1, "unchanged": 1}
    assert data["by_kind"]["setting"] == {"added": 0, "changed": 0, "removed": 1, "unchanged": 1}
    assert "changes" not in data
    text = run("backup", "diff", first, second).stdout
    assert text.splitlines()[-1].split() == ["all", "1", "1", "1", "1"]
    assert "dark" not in text
    only = answer("backup", "diff", first, second, "--kind", "setting")
    assert list(only["by_kind"]) == ["setting"]


def test_the_verb_names_the_members_that_changed(two, run, answer) -> None:
    """Before and after of each, whole in JSON, shortened for people."""
    store, first, second = two
    data = answer("backup", "diff", first, second, "--records")
    assert data["more"] == 0
    assert [(c["change"], c["kind"], c["key"]) for c in data["changes"]] == [
        ("changed", "event_inventory", ["milk", "oat"]),
        ("added", "event_inventory", ["milk", "soy"]),
        ("removed", "setting", ["theme"]),
    ]
    assert data["changes"][0]["members"] == [
        {"name": "stock.left", "before": 3, "after": 2.5},
        {"name": "old", "before": True},
        {"name": "new", "after": None},
    ]
    text = run("backup", "diff", first, second, "--records").stdout
    assert (
        "changed  event_inventory milk/oat: stock.left 3 → 2.5, old true → (none), "
        "new (none) → null" in text
    )
    assert 'removed  setting theme: "dark"' in text

    put(store, Setting.of("long", data="x" * 500), Setting.of("evil", data="\x1b[2J"))
    text = run("backup", "diff", second, "now", "--records").stdout
    assert "x" * 38 + "…" in text
    assert "x" * 41 not in text
    assert "\x1b" not in text


def test_a_long_list_says_how_much_is_missing(two, run, answer) -> None:
    """--limit is about records."""
    store, _, second = two
    put(store, *(Setting.of(f"s{number:03}", data=number) for number in range(250)))
    text = run("backup", "diff", "latest", "--records").stdout  # to now
    assert text.count("added  ") == 200
    assert "… and 50 more; see --limit." in text
    data = answer("backup", "diff", second, "--records", "--limit", "3")
    assert (len(data["changes"]), data["more"]) == (3, 247)


def test_what_no_member_shows_is_told_too(store: Store, answer) -> None:
    """Order of members, place in the document, raw text."""
    put(store, Setting.of("a", data={"x": 1, "y": 2}), Setting.of("b", data=1, raw="1"))
    put(store, Setting.of("c", data=1, position=1))
    store.backups.create()
    put(store, Setting.of("a", data={"y": 2, "x": 1}), Setting.of("b", data=1, raw="1.0"))
    put(store, Setting.of("c", data=1, position=7))
    changes = answer("backup", "diff", "latest", "--records")["changes"]
    assert [change["members"] for change in changes] == [
        [{"name": "(spelling)", "before": '{"x":1,"y":2}', "after": '{"y":2,"x":1}'}],
        [{"name": "(raw text)", "before": "1", "after": "1.0"}],
        [{"name": "(position)", "before": 1, "after": 7}],
    ]


def test_equal_ones_are_called_equal(two, run) -> None:
    """In a sentence, not in a table of zeros."""
    _, _, second = two
    assert run("backup", "diff", second).stdout == "The two are equal: 3 records.\n"
