"""Preferences are a device's own: which devices there are, and which one an answer is from."""

from __future__ import annotations

import io

import pytest

from expresso_persist import Store
from expresso_persist.errors import InvalidInput

TAB = "coffee_cue_active_tab"
BROKEN = '{"half": '


def visit(store: Store, device: str, tab: str, **more: str) -> None:
    dump = {"localStorage": {TAB: tab, **more}, "device_id": device}
    store.importer.import_(dump, actor="test")


@pytest.fixture
def used(store: Store) -> Store:
    """Three devices; the one in the middle of the alphabet wrote last."""
    visit(store, "zeta", '"stock"', coffee_cue_app_mode='"demo"')
    visit(store, "alpha", '"orders"')
    visit(store, "mid", '"menu"', connectionMode=BROKEN)
    visit(store, "alpha", '"orders"')  # says nothing new
    return store


def test_each_key_is_of_the_device_that_wrote_it_last(used: Store) -> None:
    dump = used.inventory.dump()
    assert dump["localStorage"][TAB] == '"menu"'
    assert dump["from_devices"] == {
        TAB: "mid", "coffee_cue_app_mode": "zeta", "connectionMode": "mid",
    }  # fmt: skip
    devices = [(d.device_id, d.documents, d.newest) for d in used.inventory.devices()]
    assert devices == [("alpha", 1, 0), ("mid", 1, 1), ("zeta", 2, 1)]
    assert [d["device_id"] for d in dump["devices"]] == ["alpha", "mid", "zeta"]
    own = used.inventory.dump("alpha")
    assert (own["localStorage"], own["from_devices"]) == ({TAB: '"orders"'}, {TAB: "alpha"})
    nobody = used.inventory.dump("nobody")
    assert (nobody["localStorage"], nobody["from_devices"]) == ({}, {})
    assert len(nobody["devices"]) == 3


def test_a_restore_keeps_what_was_newest(used: Store) -> None:
    """In the same database, where all records then have one revision, and in a new one."""
    before = used.inventory.dump()
    backup = used.backups.create()
    for device in ("zeta", "alpha"):
        visit(used, device, f'"{device}"', connectionMode=f"{BROKEN} {device}")
    assert used.inventory.dump()["from_devices"][TAB] == "alpha"
    done = used.backups.restore(backup.id, actor="test")
    after = used.inventory.dump()
    for name in ("localStorage", "quarantined", "from_devices"):
        assert after[name] == before[name]
    assert used.inventory.dump(as_of=done.revision - 1)["from_devices"][TAB] == "alpha"
    assert used.inventory.verify().ok

    archive = io.BytesIO()
    used.backups.export(backup.id, archive)
    archive.seek(0)
    with Store("sqlite://", migrate=True) as elsewhere:
        elsewhere.backups.restore(elsewhere.backups.import_(archive).id, actor="test")
        found = elsewhere.inventory.dump()
        assert found["localStorage"] == before["localStorage"]
        assert found["from_devices"] == before["from_devices"]


def test_the_same_preferences_again_are_no_commit(used: Store) -> None:
    again = {"localStorage": {TAB: '"menu"'}, "device_id": "mid"}
    receipt = used.importer.import_(again, actor="test")
    assert (receipt.committed, receipt.totals["unchanged"]) == (False, 1)
    receipt = used.importer.import_({**again, "device_id": "new"}, actor="test")
    (key,) = receipt.keys
    assert (key.outcome, key.exact) == ("stored", True)


def test_whole_restores_of_a_first_version_take_the_revision(store: Store) -> None:
    """Where no order was kept with the records, revisions give it."""
    from expresso_persist.model.records import Put, StoredDocument

    for device in ("b", "c", "a"):
        record = StoredDocument.of(TAB, device, data=device)
        store.inventory.commit([Put(record)], actor="test")
    assert store.inventory.dump()["from_devices"] == {TAB: "a"}


def test_an_export_that_comes_back_keeps_whose_preferences_they_are(store: Store) -> None:
    """Into the same database it changes nothing; into a new one it names the devices."""
    for device, value in (("A", "1"), ("B", "2")):
        dump = {"localStorage": {"coffee_cue_selected_station": value}, "device_id": device}
        store.importer.import_(dump, actor=device)
    exported = store.inventory.dump()
    assert not store.importer.import_(exported, actor="anna").committed
    fresh = store.for_tenant("fresh")
    fresh.importer.import_(exported, actor="anna")
    again = fresh.inventory.dump()
    assert (again["localStorage"], again["from_devices"]) == (
        exported["localStorage"], {"coffee_cue_selected_station": "B"},
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="from_devices"):
        store.importer.import_({**exported, "from_devices": ["A"]}, actor="anna")
    named = fresh.importer.import_({**exported, "device_id": "C"}, actor="anna")
    assert named.device_id == "C"
